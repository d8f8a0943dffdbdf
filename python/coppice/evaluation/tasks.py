"""Classification and retrieval from a file of the user's own: one JSON object a line."""

import json
from pathlib import Path

import torch

KEYS = {"classification": ("text", "label"), "retrieval": ("query", "document")}


def read_task(path):
    """(kind, rows). Lines have "text" and "label" (and "text_pair", if they are pairs), or "query" and "document"."""
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"'{path}', line {number}: not JSON: {error}") from None
        rows.append((number, row))
    kinds = [kind for kind, keys in KEYS.items() if rows and isinstance(rows[0][1], dict) and all(k in rows[0][1] for k in keys)]
    if not kinds:
        raise ValueError(f"'{path}': needs lines with \"text\" and \"label\", or with \"query\" and \"document\"")
    for number, row in rows:
        if not isinstance(row, dict) or not all(key in row for key in KEYS[kinds[0]]):
            raise ValueError(f"'{path}', line {number}: needs {' and '.join(KEYS[kinds[0]])}, as the first line has")
    return kinds[0], [row for _, row in rows]


def batches_of(tokenizer, texts, length, size, pairs=None):
    """Tokens of texts of about the same length together, with the texts' places; what is longer than `length` is cut."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for begin in range(0, len(order), size):
        places = order[begin : begin + size]
        second = None if pairs is None else [pairs[i] for i in places]
        yield places, tokenizer([texts[i] for i in places], second, padding=True, truncation=True, max_length=length,
                                return_tensors="pt")


def classification(model, tokenizer, rows, length, device, size=32):
    """Share of texts that get their label: a number, or a name that config.json knows."""
    names = {str(name): int(number) for name, number in (model.config.label2id or {}).items()}
    labels = [label_of(row["label"], names) for row in rows]
    pairs = [row["text_pair"] for row in rows] if all("text_pair" in row for row in rows) else None
    right = 0
    with torch.no_grad():
        for places, batch in batches_of(tokenizer, [row["text"] for row in rows], length, size, pairs):
            found = model(**batch.to(device)).logits.argmax(-1).tolist()
            right += sum(labels[i] == answer for i, answer in zip(places, found))
    return {"accuracy": right / len(rows), "samples": len(rows)}


def label_of(label, names):
    if isinstance(label, int) and not isinstance(label, bool):
        return label
    if str(label) not in names:
        raise ValueError(f"label '{label}': the model has {', '.join(sorted(names))}")
    return names[str(label)]


def pooling_of(model_dir):
    """How the directory says that token vectors become one: "mean", "cls" or "last"; mean where it says nothing."""
    path = Path(model_dir) / "1_Pooling" / "config.json"
    if path.is_file():
        chosen = json.loads(path.read_text(encoding="utf-8"))
        for key, name in (("pooling_mode_cls_token", "cls"), ("pooling_mode_lasttoken", "last")):
            if chosen.get(key):
                return name
    return "mean"


def embed(model, tokenizer, texts, length, device, pooling, size=64):
    """[texts, features], fp32, of length 1."""
    found = [None] * len(texts)
    with torch.no_grad():
        for places, batch in batches_of(tokenizer, texts, length, size):
            batch = batch.to(device)
            states = model(**batch, output_hidden_states=True).hidden_states[-1].float()
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


def retrieval(model, tokenizer, rows, length, device, pooling="mean", size=64):
    """Of all documents of the file, is the query's own the first, or among the first ten, by cosine?"""
    documents = list(dict.fromkeys(row["document"] for row in rows))
    place = {document: i for i, document in enumerate(documents)}
    queries = embed(model, tokenizer, [row["query"] for row in rows], length, device, pooling, size)
    against = embed(model, tokenizer, documents, length, device, pooling, size)
    own = torch.tensor([place[row["document"]] for row in rows])
    similar = queries @ against.T
    rank = (similar > similar.gather(1, own[:, None])).sum(1)  # documents before it
    return {"recall@1": float((rank < 1).double().mean()), "recall@10": float((rank < 10).double().mean()),
            "mrr": float((1 / (rank + 1).double()).mean()), "queries": len(rows), "documents": len(documents), "pooling": pooling}
