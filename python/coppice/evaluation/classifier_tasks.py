"""Labels of texts, of their words and of images."""

import torch

from ..models.images import pixels_of, processor_of
from .batches import batches_of


def classification(task, size=32):
    """Share of texts that get their label: a number, or a name that config.json knows."""
    labels = labels_of(task, [row["label"] for row in task.rows])
    pairs = [row["text_pair"] for row in task.rows] if all("text_pair" in row for row in task.rows) else None
    right = 0
    with torch.no_grad():
        for places, batch in batches_of(task.tokenizer, [row["text"] for row in task.rows], task.length, size, pairs):
            found = task.model(**batch.to(task.device)).logits.argmax(-1).tolist()
            right += sum(labels[i] == answer for i, answer in zip(places, found))
    return {"accuracy": right / len(labels), "samples": len(labels)}


def images(task, size=32):
    """The same of images."""
    labels = labels_of(task, [row["label"] for row in task.rows])
    processor, right, among = processor_of(task.model_dir), 0, 0
    with torch.no_grad():
        for begin in range(0, len(labels), size):
            pixels = pixels_of(processor, [row["image"] for row in task.rows[begin : begin + size]])
            logits = task.model(pixel_values=pixels.to(task.device, task.model.dtype)).logits
            best = logits.topk(min(5, logits.shape[-1]), dim=-1).indices.tolist()
            right += sum(label == found[0] for label, found in zip(labels[begin:], best))
            among += sum(label in found for label, found in zip(labels[begin:], best))
    top5 = {"top5_accuracy": among / len(labels)} if task.model.config.num_labels > 5 else {}
    return {"accuracy": right / len(labels), **top5, "samples": len(labels)}


def tokens(task, size=32):
    """Share of words that get their label, by the first token of each; and F1 over the labels other than "O", if there is one. Words
    behind the length are left out."""
    outside = (task.model.config.label2id or {}).get("O")
    wanted, found = [], []
    labels = [labels_of(task, row["labels"]) for row in task.rows]
    for i, row in enumerate(task.rows):
        if len(row["tokens"]) != len(labels[i]):
            raise ValueError(f"\"tokens\" and \"labels\" of sample {i + 1} are {len(row['tokens'])} and {len(labels[i])}")
    with torch.no_grad():
        for places, batch in batches_of(task.tokenizer, [row["tokens"] for row in task.rows], task.length, size, words=True):
            answers = task.model(**batch.to(task.device)).logits.argmax(-1).tolist()
            for of_sample, (place, answer) in enumerate(zip(places, answers)):
                before = None
                for token, word in enumerate(batch.word_ids(of_sample)):
                    if word is not None and word != before:
                        wanted.append(labels[place][word])
                        found.append(answer[token])
                    before = word
    result = {"accuracy": sum(a == b for a, b in zip(wanted, found)) / max(1, len(wanted)), "words": len(wanted)}
    if outside is not None:
        result["f1"] = f1(wanted, found, int(outside))
    return result


def f1(wanted, found, outside):
    right = sum(a == b != outside for a, b in zip(wanted, found))
    both = sum(a != outside for a in wanted) + sum(b != outside for b in found)
    return 2 * right / both if both else 1.0


def labels_of(task, labels):
    names = {str(name): int(number) for name, number in (task.model.config.label2id or {}).items()}
    return [label_of(label, names) for label in labels]


def label_of(label, names):
    if isinstance(label, int) and not isinstance(label, bool):
        return label
    if str(label) not in names:
        known = sorted(names)
        raise ValueError(f"label '{label}': the model has {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}")
    return names[str(label)]
