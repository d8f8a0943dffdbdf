"""Arrays of PyTorch, read and written in place."""

import pytest

import coppice
from torch_support import torch


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3fn", "int8"])
def test_weights_are_exact(dtype):
    dtype = getattr(torch, dtype)
    weight = (torch.randn(70, 90) * 10).to(dtype)
    mask = torch.from_numpy(coppice.magnitude_mask(weight, "64:2:8"))
    sparse = coppice.compress(weight, mask, "64:2:8")
    out = torch.empty(70, 90, dtype=dtype)
    assert sparse.to_dense(out=out) is out
    want = torch.where(mask, weight.float(), torch.zeros(())).to(dtype)
    assert torch.equal(out.view(torch.uint8), want.view(torch.uint8))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_products(dtype):
    weight = torch.randn(70, 90).to(getattr(torch, dtype))
    mask = torch.from_numpy(coppice.magnitude_mask(weight, "2:4"))
    sparse = coppice.compress(weight, mask, "2:4")
    x, bias, out = torch.randn(5, 90), torch.randn(70), torch.empty(5, 70)
    coppice.multiply(sparse, x, bias=bias, activation="relu", out=out)
    want = torch.relu(x.double() @ (weight.double() * mask).T + bias)
    assert torch.linalg.norm(out - want) < 1e-6 * torch.linalg.norm(want)
    by_features = torch.from_numpy(coppice.multiply(sparse, x.T, layout="feature", bias=bias, activation="relu"))
    assert torch.linalg.norm(by_features.T - want) < 1e-6 * torch.linalg.norm(want)


def test_parameters_are_read_and_other_tensors_refused():
    parameter = torch.nn.Linear(8, 8).weight
    assert coppice.magnitude_mask(parameter, "2:4").sum() == 32
    for bad in (torch.empty(8, 8, device="meta"), torch.empty(8, 8).to_sparse(), torch.empty(8, 8).double()):
        with pytest.raises(coppice.InvalidArgument, match="weight"):
            coppice.magnitude_mask(bad, "2:4")
