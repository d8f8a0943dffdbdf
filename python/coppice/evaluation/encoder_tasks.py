"""Vectors of texts: how near are those that belong together?"""

import json
from pathlib import Path

import torch

from ..models.loading import kind_of
from .batches import batches_of


def pooling_of(model_dir):
    """How the directory says that token vectors become one: "mean", "cls" or "last"; mean where it says nothing."""
    path = Path(model_dir) / "1_Pooling" / "config.json"
    if path.is_file():
        chosen = json.loads(path.read_text(encoding="utf-8"))
        for key, name in (("pooling_mode_cls_token", "cls"), ("pooling_mode_lasttoken", "last")):
            if chosen.get(key):
                return name
    return "mean"


def embed(task, texts, size=64):
    """[texts, features], fp32, of length 1."""
    found, pooling = [None] * len(texts), task.pooling or pooling_of(task.model_dir)
    with torch.no_grad():
        for places, batch in batches_of(task.tokenizer, texts, task.length, size):
            batch = batch.to(task.device)
            states = task.model(**batch, output_hidden_states=True).hidden_states[-1].float()
            vectors = torch.nn.functional.normalize(pool(states, batch["attention_mask"], pooling), dim=-1).cpu()
            for place, vector in zip(places, vectors):
                found[place] = vector
    return torch.stack(found)


def pool(states, mask, pooling):
    if pooling == "mean":
        weights = mask[:, :, None].float()
        return (states * weights).sum(1) / weights.sum(1)
    places = torch.arange(mask.shape[1], device=mask.device) * mask  # padding may be on either side
    chosen = mask.argmax(1) if pooling == "cls" else places.argmax(1)
    return states[torch.arange(len(states), device=states.device), chosen]


def retrieval(task):
    """Of all documents of the file, is the query's own the first, or among the first ten, by cosine?"""
    documents = list(dict.fromkeys(row["document"] for row in task.rows))
    place = {document: i for i, document in enumerate(documents)}
    queries, against = embed(task, [row["query"] for row in task.rows]), embed(task, documents)
    own = torch.tensor([place[row["document"]] for row in task.rows])
    similar = queries @ against.T
    rank = (similar > similar.gather(1, own[:, None])).sum(1)  # documents before it
    return {"recall@1": float((rank < 1).double().mean()), "recall@10": float((rank < 10).double().mean()),
            "mrr": float((1 / (rank + 1).double()).mean()), "queries": len(task.rows), "documents": len(documents),
            "pooling": task.pooling or pooling_of(task.model_dir)}


def similarity(task):
    """Spearman's correlation between the scores of pairs and their cosines, or the number that a model with one output gives them."""
    texts, pairs = ([row[key] for row in task.rows] for key in ("text", "text_pair"))
    scores = torch.tensor([float(row["score"]) for row in task.rows], dtype=torch.float64)
    if kind_of(task.model) == "classifier":
        found = outputs(task, texts, pairs)
    else:
        found = (embed(task, texts) * embed(task, pairs)).sum(1)
    return {"spearman": float(torch.corrcoef(torch.stack([ranks(scores), ranks(found)]))[0, 1]), "pairs": len(scores)}


def outputs(task, texts, pairs, size=32):
    if task.model.config.num_labels != 1:
        raise ValueError(f"--task: scores need a model of one output, this one has {task.model.config.num_labels}")
    found = torch.empty(len(texts))
    with torch.no_grad():
        for places, batch in batches_of(task.tokenizer, texts, task.length, size, pairs):
            found[places] = task.model(**batch.to(task.device)).logits[:, 0].float().cpu()
    return found


def ranks(values):
    """Equal values share the mean of their places."""
    _, inverse, counts = values.double().unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    return (ends - (counts.double() - 1) / 2)[inverse]
