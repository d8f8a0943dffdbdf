"""Which of several continuations does a model expect?"""

import torch


def choice(task):
    """Share of texts whose answer (its number) is the choice of the largest probability, of all its characters, and of one in the
    mean. A text and a choice are put together as they stand; too long ones lose their beginning."""
    likely = per_character = 0
    with torch.no_grad():
        for number, row in enumerate(task.rows, 1):
            if not isinstance(row["answer"], int) or not 0 <= row["answer"] < len(row["choices"]):
                raise ValueError(f"\"answer\" of sample {number}: got {row['answer']!r}, needs 0 to {len(row['choices']) - 1}")
            sums = [log_probability(task, row["text"], text) for text in row["choices"]]
            means = [value / max(1, len(text)) for value, text in zip(sums, row["choices"])]
            likely += max(range(len(sums)), key=sums.__getitem__) == row["answer"]
            per_character += max(range(len(means)), key=means.__getitem__) == row["answer"]
    return {"accuracy": likely / len(task.rows), "accuracy_per_character": per_character / len(task.rows), "samples": len(task.rows)}


def log_probability(task, text, choice):
    """Of the tokens in which text + choice differs from text alone."""
    alone, whole = (task.tokenizer(part, verbose=False)["input_ids"] for part in (text, text + choice))
    same = next((i for i, (a, b) in enumerate(zip(alone, whole)) if a != b), min(len(alone), len(whole)))
    cut = max(0, len(whole) - task.length)
    same = max(1, same - cut)  # the first token is given
    ids = torch.tensor([whole[cut:]], device=task.device)
    logits = task.model(input_ids=ids).logits[0, same - 1 : -1].float().log_softmax(-1)
    return float(logits.gather(1, ids[0, same:, None]).sum())
