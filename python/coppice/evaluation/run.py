"""coppice.evaluate: one model's numbers."""

import torch

from ..models.loading import check_device, kind_of, load_model, longest, takes_images
from ..models.text import tokenizer_of, windows
from .costs import latency, linear_bytes, model_bytes
from .tasks import measure_task
from .words import perplexity, pseudo_perplexity

# Lengths of one sequence at which a model is timed, as far as it takes them.
TOKENS = (1, 256)
# Of models of images, how many at once.
IMAGES = (1,)
# Of masked models every token takes a forward pass of its own.
MASKED_SAMPLES = 16


def evaluate(model_dir, *, text=(), task=None, samples=None, length=None, tokens=(), device="cpu", dtype=None, pooling=None):
    """Loads a checkpoint directory (dense, pruned or packed) and measures it; a dict that JSON can hold.

    text: files; perplexity of causal models over all of their windows of `length` tokens, or over `samples` of them spread evenly;
    pseudo-perplexity of masked models. task: a file of JSON lines, or a folder of images (evaluation/task_file.py). tokens: lengths of one
    sequence whose forward pass is timed; None: 1 and 256. Of models of images: numbers of images; None: 1. length: of windows and of
    what is cut of a task's texts; None: 512, or what the model takes. pooling: "mean", "cls" or "last", of texts' vectors; None: what
    the directory says.
    """
    check_device(device)
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    model = load_model(model_dir, dtype, device)
    most = longest(model)
    length = min(512, most or 512) if length is None else length
    images = takes_images(model)
    if tokens is None:
        tokens = IMAGES if images else [count for count in TOKENS if most is None or count <= most]
    for asked in (length, *tokens):
        if most is not None and asked > most:
            raise ValueError(f"{asked} tokens: the model takes {most} at most")
    found = {"directory": str(model_dir), "class": type(model).__name__, "device": str(device),
             "dtype": str(model.dtype).removeprefix("torch."), "linear_weight_bytes": linear_bytes(model),
             "model_bytes": model_bytes(model)}
    if text:
        found["words"] = measure_words(model, tokenizer_of(model_dir), text, samples, length, device)
    if task is not None:
        found["task"] = measure_task(model, model_dir, task, length, device, pooling)
    if tokens:
        found["latency"] = {str(count): latency(model, count, device) for count in tokens}
        found["latency_of"] = "images" if images else "tokens"
        found["threads"] = torch.get_num_threads()
    if torch.device(device).type == "cuda":
        found["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)  # of everything above
    return found


def measure_words(model, tokenizer, text, samples, length, device):
    kind = kind_of(model)
    if kind == "causal":
        ids = windows(tokenizer, text, samples, length)
        return {"measure": "perplexity", "value": perplexity(model, ids, device), "length": length, "windows": len(ids)}
    if kind == "masked":
        if tokenizer.mask_token_id is None:
            raise ValueError("--text: the tokenizer has no mask token")
        ids = windows(tokenizer, text, samples or MASKED_SAMPLES, length, special=True)
        value = pseudo_perplexity(model, ids, device, tokenizer.mask_token_id, set(tokenizer.all_special_ids))
        return {"measure": "pseudo-perplexity", "value": value, "length": length, "windows": len(ids)}
    raise ValueError(f"--text: a {type(model).__name__} predicts no words; use --task")
