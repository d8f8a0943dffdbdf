"""Masks of weights that are being trained: the library's choice for tensors on the CPU, tensor operations for those on a GPU."""

import torch
from torch.nn.functional import pad

from .. import Pattern, score_mask

# Exchanges of columns that V:N:M tries after the greedy choice; few blocks want more.
SWAPS = 16


def select_mask(weight, pattern):
    """bool [rows, cols] on the weight's device: the weights of largest total magnitude that the pattern allows.

    On the CPU this is `coppice.score_mask`. On a GPU the same choice by tensor operations, but for V:N:M the columns are found by exchanges
    (`columns="swaps"`, within 0.05 % of the best: docs/pruning.md), and sums are taken in another order.
    """
    pattern = Pattern(pattern) if isinstance(pattern, str) else pattern
    if weight.device.type == "cpu":
        return torch.from_numpy(score_mask(weight.detach().contiguous(), pattern))
    return tensor_mask(weight, pattern)


@torch.no_grad()
def tensor_mask(weight, pattern):
    """select_mask by tensor operations, on any device."""
    mask = torch.ones_like(weight, dtype=torch.bool)
    whole = mask.shape[1] - mask.shape[1] % pattern.block_cols  # columns that fill no block are always kept
    scores = weight.detach()[:, :whole].abs().float()
    if pattern.is_dense or scores.numel() == 0:
        return mask
    blocks = _blocks(scores, pattern)  # [vectors, groups, vec_rows, group, block_cols]
    if pattern.inner_kept:
        chosen = _vnm(blocks[..., 0].flatten(0, 1), pattern.kept, pattern.inner_kept).view(blocks.shape)
    else:
        sums = blocks.sum((2, 4), dtype=torch.float64) if pattern.vec_rows * pattern.block_cols > 1 else blocks[:, :, 0, :, 0]
        chosen = (_rank(sums) < pattern.kept)[:, :, None, :, None].expand(blocks.shape)
    vectors, groups, vec_rows, group, block_cols = blocks.shape
    chosen = chosen.permute(0, 2, 1, 3, 4).reshape(vectors * vec_rows, groups * group * block_cols)
    mask[:, :whole] = chosen[: scores.shape[0], :whole]
    return mask


def _blocks(scores, pattern):
    """Groups of vectors; rows and columns that fill up the last ones come behind all others in every choice."""
    rows, cols = scores.shape
    wide = pattern.group * pattern.block_cols
    scores = pad(scores, (0, -cols % wide), value=-1.0)
    scores = pad(scores, (0, 0, 0, -rows % pattern.vec_rows))
    return scores.view(-1, pattern.vec_rows, scores.shape[1] // wide, pattern.group, pattern.block_cols).transpose(1, 2)


def _rank(scores):
    """How many of the last axis come before each: larger ones, and equal ones of a lower index."""
    size = scores.shape[-1]
    if size > 64:
        return scores.sort(dim=-1, descending=True, stable=True).indices.argsort(-1)
    rank = torch.zeros(scores.shape, dtype=torch.uint8, device=scores.device)
    for distance in range(1, size):
        first = scores[..., :-distance] >= scores[..., distance:]
        rank[..., distance:] += first
        rank[..., :-distance] += ~first
    return rank


def _vnm(blocks, kept, inner):
    """blocks [n, vec_rows, group] -> bool: `kept` columns for all rows of a block, `inner` of those for each row."""
    kept = min(kept, blocks.shape[2])
    sums = blocks.sum(1, dtype=torch.float64)
    columns = _exchange(blocks, (_rank(sums) < kept).nonzero()[:, 1].view(-1, kept), inner).sort(1).values
    places = columns[:, None, :].expand(-1, blocks.shape[1], -1)
    chosen = torch.zeros(blocks.shape, dtype=torch.bool, device=blocks.device)
    return chosen.scatter_(2, places, _rank(blocks.gather(2, places)) < inner)


def _exchange(blocks, columns, inner):
    """Exchanges a chosen column for another, the best exchange of each block first, until none gains."""
    n, _, group = blocks.shape
    kept = columns.shape[1]
    every = torch.arange(n, device=blocks.device)
    for _ in range(SWAPS if kept < group else 0):
        values = blocks.gather(2, columns[:, None, :].expand(-1, blocks.shape[1], -1))
        score = values.topk(inner, dim=2).values.sum((1, 2))
        gains = torch.stack([_with_another(blocks, values, out, inner) for out in range(kept)], 1)  # [n, kept, group]
        gains.scatter_(2, columns[:, None, :].expand(-1, kept, -1), -torch.inf)
        best, place = gains.flatten(1).max(1)
        better = best > score * (1 + 1e-6)
        if not better.any():
            break
        out, new = place // group, place % group
        columns[every[better], out[better]] = new[better]
    return columns


def _with_another(blocks, values, out, inner):
    """[n, group]: the score of the chosen columns with each other column in the place of the one numbered `out`."""
    rest = torch.cat([values[:, :, :out], values[:, :, out + 1 :]], 2)
    if rest.shape[2] < inner:
        return rest.sum((1, 2))[:, None] + blocks.sum(1)
    top = rest.topk(inner, dim=2).values
    return top[:, :, :-1].sum((1, 2))[:, None] + torch.maximum(blocks, top[:, :, -1:]).sum(1)
