"""Which measure a task of the user's own asks for, of which models."""

import dataclasses
import functools

from ..models.loading import kind_of
from ..models.text import tokenizer_of
from .causal_tasks import choice
from .classifier_tasks import classification, images, tokens
from .encoder_tasks import retrieval, similarity
from .task_file import read_task


@dataclasses.dataclass
class Task:
    """A model and what it is asked."""

    model: object
    model_dir: object
    rows: list
    length: int
    device: object
    pooling: str | None = None

    @functools.cached_property
    def tokenizer(self):
        tokenizer = tokenizer_of(self.model_dir)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer


# kind of a task -> its measure, the kinds of models that can (none: all), and what such a class is called
MEASURES = {
    "classification": (classification, ("classifier",), "...ForSequenceClassification"),
    "tokens": (tokens, ("tokens",), "...ForTokenClassification"),
    "images": (images, ("images",), "...ForImageClassification"),
    "choice": (choice, ("causal",), "...ForCausalLM"),
    "similarity": (similarity, (), ""),
    "retrieval": (retrieval, (), ""),
}


def measure_task(model, model_dir, path, length, device, pooling=None):
    kind, rows = read_task(path)
    measure, models, name = MEASURES[kind]
    if models and kind_of(model) not in models:
        raise ValueError(f"--task: '{path}' is a task of the kind \"{kind}\", which a {type(model).__name__} does not do; needs a {name}")
    found = measure(Task(model, model_dir, rows, length, device, pooling))
    return {"kind": kind, **({} if kind == "images" else {"length": length}), **found}
