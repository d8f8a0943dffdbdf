"""Masks of weights that are being trained: the library's choice for tensors on the CPU, tensor operations for those on a GPU."""

import torch
from torch.nn.functional import pad

from .. import Pattern, score_mask

# Exchanges of columns that V:N:M tries after the greedy choice; few blocks want more.
SWAPS = 16
# Of those exchanges, after how many it looks whether any gains still: a GPU waits for nothing in between.
LOOKS = 4
# Weights whose masks are chosen in one go: a layer by itself is too small for a GPU.
TOGETHER = 1 << 26


def select_mask(weight, pattern):
    """bool [rows, cols] on the weight's device: the weights of largest total magnitude that the pattern allows.

    On the CPU this is `coppice.score_mask`. On a GPU the same choice by tensor operations, but for V:N:M the columns are found by exchanges
    (`columns="swaps"`, within 0.05 % of the best: docs/pruning.md), and sums are taken in another order.
    """
    return select_masks([weight], pattern)[0]


def select_masks(weights, pattern):
    """select_mask of several weights on one device, in fewer and larger operations."""
    pattern = Pattern(pattern) if isinstance(pattern, str) else pattern
    if all(weight.device.type == "cpu" for weight in weights):
        return [torch.from_numpy(score_mask(weight.detach().contiguous(), pattern)) for weight in weights]
    return [mask for some in _together(weights) for mask in tensor_masks(some, pattern)]


def _together(weights):
    """Lists of consecutive weights of at most TOGETHER numbers, or of one weight."""
    lists, size = [[]], 0
    for weight in weights:
        size += weight.numel()
        if lists[-1] and size > TOGETHER:
            lists.append([])
            size = weight.numel()
        lists[-1].append(weight)
    return lists


@torch.no_grad()
def tensor_masks(weights, pattern):
    """select_masks by tensor operations, on any device."""
    if pattern.is_dense:
        return [torch.ones_like(weight, dtype=torch.bool) for weight in weights]
    blocks = [_blocks(weight.detach(), pattern) for weight in weights]
    chosen = _choose(torch.cat(blocks), pattern)
    parts = chosen.split([len(part) for part in blocks])
    return [_unblocked(part, weight, pattern) for part, weight in zip(parts, weights)]


def _blocks(weight, pattern):
    """[vectors * groups, vec_rows, group, block_cols]; rows and columns that fill up the last ones come behind all others in every
    choice. Columns that fill no block are left out: they are always kept."""
    rows, cols = weight.shape
    cols -= cols % pattern.block_cols
    wide = pattern.group * pattern.block_cols
    scores = pad(weight[:, :cols].abs().float(), (0, -cols % wide), value=-1.0)
    scores = pad(scores, (0, 0, 0, -rows % pattern.vec_rows))
    vectors, groups = scores.shape[0] // pattern.vec_rows, scores.shape[1] // wide
    split = scores.view(vectors, pattern.vec_rows, groups, pattern.group, pattern.block_cols)
    return split.transpose(1, 2).flatten(0, 1)


def _unblocked(chosen, weight, pattern):
    """The mask of a weight from what was chosen of its blocks."""
    mask = torch.ones_like(weight, dtype=torch.bool)
    rows, cols = weight.shape
    cols -= cols % pattern.block_cols
    vectors = -(-rows // pattern.vec_rows)
    if chosen.numel():
        split = chosen.view(vectors, -1, *chosen.shape[1:]).transpose(1, 2)
        mask[:, :cols] = split.reshape(vectors * pattern.vec_rows, -1)[:rows, :cols]
    return mask


def _choose(blocks, pattern):
    """bool of the blocks' shape."""
    if pattern.inner_kept:
        return _vnm(blocks[..., 0], pattern.kept, pattern.inner_kept)[..., None]
    single = pattern.vec_rows * pattern.block_cols == 1
    sums = blocks[:, 0, :, 0] if single else blocks.sum((1, 3), dtype=torch.float64)
    return (_rank(sums) < pattern.kept)[:, None, :, None].expand(blocks.shape)


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
    group, kept = blocks.shape[2], columns.shape[1]
    for turn in range(SWAPS if kept < group else 0):
        score, gains = _exchanges(blocks, columns, inner)
        best, place = gains.flatten(1).max(1)
        better = best > score * (1 + 1e-6)
        if turn % LOOKS == 0 and not better.any():
            break
        out = better[:, None] & (torch.arange(kept, device=columns.device) == (place // group)[:, None])
        columns = torch.where(out, (place % group)[:, None], columns)
    return columns


def _exchanges(blocks, columns, inner):
    """The score [n] of the chosen columns, and [n, kept, group] with any other in the place of each; -inf for those that are chosen."""
    kept = columns.shape[1]
    places = columns[:, None, :].expand(-1, blocks.shape[1], -1)
    values = blocks.gather(2, places)  # [n, vec_rows, kept]
    rank = _rank(values)
    total = values.masked_fill(rank >= inner, 0).sum(2)
    last, next_one = (values.masked_fill(rank != place, 0).sum(2) for place in (inner - 1, inner))  # next_one: 0 if all are kept
    scores = []
    for out in range(kept):
        counts = rank[:, :, out] < inner  # without the column a row keeps the next one, or may give up its last
        rest = total - torch.where(counts, values[:, :, out], last)
        scores.append(rest.sum(1)[:, None] + torch.maximum(blocks, torch.where(counts, next_one, last)[:, :, None]).sum(1))
    chosen = columns[:, None, :].expand(-1, kept, -1)
    return total.sum(1), torch.stack(scores, 1).scatter_(2, chosen, -torch.inf)
