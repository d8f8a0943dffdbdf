"""Masks by tensor operations against the library's."""

import pytest

from torch_support import torch

import coppice
from coppice.training import masks
from coppice.training.masks import _rank, select_mask, tensor_masks

SHAPES = [(1, 1), (3, 7), (64, 96), (70, 90), (130, 257)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pattern", ["2:4", "2:8", "8:32", "3:5", "1:4", "70:100", "vw32/8:32", "bw4x4/1:4", "bw32x32/1:2"])
def test_the_librarys_choice(pattern, shape):
    weight = torch.randn(shape)
    weight[:, ::3] = weight[:, ::3].round()  # ties
    want = torch.from_numpy(coppice.score_mask(weight, pattern))
    assert torch.equal(tensor_masks([weight], coppice.Pattern(pattern))[0], want)
    assert torch.equal(select_mask(weight.requires_grad_(), pattern), want)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pattern", ["64:2:5", "64:2:8", "16:2:16", "32:3/6:8", "4:2/2:8", "8:2:40"])
def test_columns_of_vnm(pattern, shape):
    weight = torch.randn(shape)
    kept = tensor_masks([weight], coppice.Pattern(pattern))[0]
    coppice.compress(weight, kept.numpy(), pattern)  # refuses what is not of the pattern
    exact, greedy = (coppice.score_mask(weight, pattern, columns=columns) for columns in ("exact", "greedy"))
    score, best, worst = (weight.abs().double()[torch.as_tensor(mask)].sum() for mask in (kept, exact, greedy))
    assert (1 - 5e-3) * best <= score <= (1 + 1e-6) * best
    assert score >= (1 - 1e-6) * worst


def test_large_groups_are_ranked_by_sorting():
    scores = torch.randint(0, 9, (5, 65)).float()
    want = [[sum((b > a) or (b == a and j < i) for j, b in enumerate(row)) for i, a in enumerate(row)] for row in scores.tolist()]
    assert _rank(scores).tolist() == want
    assert _rank(scores[:, :64].contiguous())[0].tolist() == _rank(torch.cat([scores[:1, :64], torch.full((1, 1), -1.0)], 1))[0, :64].tolist()


def test_nothing_to_choose():
    assert tensor_masks([torch.randn(3, 5)], coppice.Pattern("dense"))[0].all()
    assert tensor_masks([torch.randn(0, 5)], coppice.Pattern("2:4"))[0].shape == (0, 5)
    assert tensor_masks([torch.randn(3, 2)], coppice.Pattern("bw4x4/1:4"))[0].all()


@pytest.mark.parametrize("pattern", ["2:4", "vw32/8:32", "bw4x4/1:4", "16:2:8"])
def test_together_as_one_by_one(pattern, monkeypatch):
    weights = [torch.randn(shape) for shape in SHAPES]
    pattern = coppice.Pattern(pattern)
    want = [tensor_masks([weight], pattern)[0] for weight in weights]
    assert all(map(torch.equal, tensor_masks(weights, pattern), want))
    monkeypatch.setattr(masks, "TOGETHER", 7000)
    lists = masks._together(weights)
    assert [id(weight) for some in lists for weight in some] == list(map(id, weights))
    assert [sum(map(torch.numel, some)) for some in lists] == [22 + 64 * 96, 70 * 90, 130 * 257]
