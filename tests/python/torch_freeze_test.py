"""Freezing, by everything that needs no GPU: a stand-in takes the place of the packing. torch_cuda_test.py has the rest."""

import copy

import pytest

import coppice
from torch_support import torch

import coppice.torch as ct
from coppice.torch import _cache, _cuda, _freeze
from torch import nn

PATTERNS = ["2:4", "64:2:8", "2:8", "vw32/8:32"]


class Packing:
    """Says that every weight was packed, into memory of the CPU."""

    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr(_cuda, "refusal", lambda pattern, dtype: "")
        monkeypatch.setattr(_cache, "freeze", self.freeze)
        monkeypatch.setattr(_cache, "freeze_again", self.freeze_again)
        monkeypatch.setattr(_cuda, "lasting", lambda shape, dtype, device: torch.empty(shape, dtype=dtype))
        monkeypatch.setattr(_cuda, "synchronize", lambda device: self.calls.append(("synchronize",)))

    def freeze(self, tensors, layout, dtype, device):
        self.calls.append(("freeze", dtype, device))
        return torch.randint(256, (sum(t.nbytes for t in tensors if t is not None) + 256,), dtype=torch.uint8)

    def freeze_again(self, memory, tensors, layout, dtype):
        assert '"frozen": "float32"' in layout
        self.calls.append(("again", dtype, tensors[0].clone()))


@pytest.fixture
def packing(monkeypatch):
    return Packing(monkeypatch)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_arrays_stay_exact(packing, pattern):
    layer = ct.SparseLinear(96, 64, pattern, dtype=torch.float16)
    state = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    dense, own = layer.to_dense(), layer.weight.nbytes
    assert layer.freeze_("cuda:0") is layer and layer.weight.is_frozen
    assert packing.calls == [("freeze", torch.float16, torch.device("cuda", 0))]
    assert layer.weight.nbytes == own + 256 == layer.weight.packed.nbytes
    frozen = layer.state_dict()
    assert frozen.keys() == state.keys()
    assert all(torch.equal(frozen[name], state[name]) for name in state)
    assert torch.equal(layer.to_dense(), dense) and torch.equal(layer.to_linear().weight, dense)
    assert torch.equal(torch.as_tensor(layer.weight.to_matrix().to_dense()), dense)
    assert not any(p.requires_grad for name, p in layer.named_parameters() if name != "bias")
    layer.thaw_()
    assert not layer.weight.is_frozen and layer.weight.values.requires_grad and layer.weight.nbytes == own
    assert torch.equal(layer.to_dense(), dense)


def test_loading_packs_again(packing):
    layer = ct.SparseLinear(96, 64, "64:2:8").freeze_("cuda:0")
    other = ct.SparseLinear(96, 64, "64:2:8")
    memory = layer.weight.packed
    layer.load_state_dict(other.state_dict())
    assert layer.weight.packed is memory and torch.equal(packing.calls[-1][2], other.weight.values)
    layer.load_state_dict(ct.SparseLinear(96, 64, "64:2:8").state_dict(), assign=True)
    assert packing.calls[-1][0] == "again" and torch.equal(packing.calls[-1][2], layer.weight.values)


def test_conversions_thaw_and_moves_to_the_same_place_do_not(packing):
    layer = ct.SparseLinear(96, 64, "64:2:8", dtype=torch.float16).freeze_("cuda:0")
    layer.to("cpu").half()  # where the stand-in's memory lies
    assert layer.weight.is_frozen
    layer.float()
    assert not layer.weight.is_frozen and layer.weight.dtype == torch.float32
    layer.weight.values.requires_grad_(False)
    assert not layer.freeze_("cuda:0").thaw_().weight.values.requires_grad


def test_another_dtype(packing):
    layer = ct.SparseLinear(96, 64, "64:2:8").freeze_("cuda:0", torch.bfloat16)
    assert layer.weight.frozen_dtype == torch.bfloat16 and layer.weight.dtype == torch.float32
    assert "frozen=torch.bfloat16" in repr(layer)


def test_models(packing, monkeypatch):
    model = nn.Sequential(nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 32))
    ct.prune_(model, "64:2:8")
    ct.sparsify_(model)
    assert ct.freeze_(copy.deepcopy(model)[:0]) is not None
    model.to = lambda device: model
    assert ct.freeze_(model, "cuda:0") is model and all(model[i].weight.is_frozen for i in (0, 2))
    assert not copy.deepcopy(model[0]).weight.is_frozen  # memory of the CPU holds no packed weight


def test_small_weights_share_memory(packing, monkeypatch):
    monkeypatch.setattr(_freeze, "_SMALL", 20000)
    monkeypatch.setattr(_freeze, "_SHARED", 20000)
    shapes = [(96, 64), (33, 17), (512, 256), (64, 128), (100, 50)]  # the third is not small
    layers = nn.ModuleList(ct.SparseLinear(cols, rows, "2:4", dtype=torch.float16) for cols, rows in shapes)
    alone = copy.deepcopy(layers)
    before = ct.SparseLinear(64, 64, "2:4", dtype=torch.float16).freeze_("cuda:0")
    before.freeze_ = lambda device, dtype: before  # the stand-in's memory is not where it should be
    layers.append(before)
    kept = before.weight.packed
    layers.to = lambda device: layers
    torch.manual_seed(1)
    ct.freeze_(layers, "cuda:0")
    torch.manual_seed(1)
    for layer, other in zip(layers, alone):
        assert torch.equal(layer.weight.packed, other.freeze_("cuda:0").weight.packed)
        assert layer.weight.packed.storage_offset() % 256 == 0
    storages = [layer.weight.packed.untyped_storage().data_ptr() for layer in layers]
    sizes = [layer.weight.packed.nbytes for layer in layers]
    assert storages[0] == storages[1] == storages[3] and len({storages[0], storages[2], storages[4], storages[5]}) == 4
    assert layers[0].weight.packed.untyped_storage().nbytes() == sum(-(-sizes[i] // 256) * 256 for i in (0, 1, 3))
    assert layers[-1].weight.packed is kept and packing.calls.count(("synchronize",)) == 1
    layers[0].thaw_()
    assert layers[1].weight.is_frozen and not layers[0].weight.is_frozen


def test_saved_as_before(packing, tmp_path):
    from safetensors.torch import load_file
    from torch_models import make_model

    model = make_model("bert-mlm")
    ct.prune_(model, "2:4")
    ct.sparsify_(model)
    model.save_pretrained(tmp_path / "before")
    for module in model.modules():
        if isinstance(module, ct.SparseLinear):
            module.freeze_("cuda:0")
    model.save_pretrained(tmp_path / "after")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "after"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "before/config.json").read_text() == (tmp_path / "after/config.json").read_text()


def test_what_is_refused(packing, monkeypatch):
    layer = ct.SparseLinear(96, 64, "64:2:8")
    with pytest.raises(coppice.InvalidArgument, match="for a GPU; pass its device"):
        layer.freeze_()
    layer.freeze_("cuda:0")
    with pytest.raises(coppice.InvalidArgument, match="no gradients"):
        layer(torch.randn(3, 96))
    monkeypatch.setattr(_cuda, "refusal", lambda pattern, dtype: "the GPU has no kernel")
    with pytest.raises(coppice.InvalidArgument, match="no kernel"):
        ct.SparseLinear(96, 64, "2:4").freeze_("cuda:0")
