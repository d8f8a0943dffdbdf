"""How well a model predicts words."""

import math

import torch


def perplexity(model, windows, device):
    """exp of the mean cross entropy of every window's tokens but its first, each given those before it in its window."""
    total, count = 0.0, 0
    with torch.no_grad():
        for window in windows:
            ids = window[None].to(device)
            logits = model(input_ids=ids).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").double().item()
            count += len(window) - 1
    return math.exp(total / count)


def pseudo_perplexity(model, windows, device, mask_token, special_ids, batch=32):
    """exp of the mean cross entropy of every token that is not special, hidden alone, given all others of its window."""
    total, count = 0.0, 0
    with torch.no_grad():
        for window in windows:
            places = [i for i, token in enumerate(window.tolist()) if token not in special_ids]
            for begin in range(0, len(places), batch):
                rows = torch.tensor(places[begin : begin + batch])
                ids = window.repeat(len(rows), 1)
                ids[torch.arange(len(rows)), rows] = mask_token
                logits = model(input_ids=ids.to(device)).logits[torch.arange(len(rows)), rows].float()
                total += torch.nn.functional.cross_entropy(logits, window[rows].to(device), reduction="sum").double().item()
                count += len(rows)
    return math.exp(total / count)
