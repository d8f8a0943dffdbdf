"""Packed checkpoints through transformers' from_pretrained and save_pretrained, and legacy ones converted."""

import json

import numpy as np
import pytest

from torch_models import batches_for, make_model, save_model, torch, transformers

import coppice
import coppice.huggingface
import coppice.torch
from coppice.huggingface import describe_, import_bitmask
from coppice.huggingface.layers import sparse_layers
from safetensors.torch import load_file, save_file

NAMES = ["bert", "bert-mlm", "gpt2", "llama", "vit"]


def make_packed(tmp_path, name, pattern):
    save_model(tmp_path / "m", name)
    coppice.prune_checkpoint(tmp_path / "m", tmp_path / "p", pattern)
    coppice.pack_checkpoint(tmp_path / "p", tmp_path / "k", pattern)
    return tmp_path / "k"


def load(directory, name, **options):
    return type(make_model(name)).from_pretrained(directory, **options).eval()


def outputs(model, name):
    with torch.no_grad():
        return torch.cat([model(**batch, output_hidden_states=True).hidden_states[-1] for batch in batches_for(name, 2)])


def own_bytes(directory):
    """Of every packed weight."""
    checkpoint = coppice.Checkpoint(directory)
    found = {}
    for weight in checkpoint.packed_weights():
        matrix = checkpoint.read_packed(weight)
        found[weight] = (str(matrix.pattern), matrix.values.tobytes(), matrix.columns.tobytes(), matrix.metadata.tobytes())
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pattern", ["2:4", "8:2:8"])
def test_packed_checkpoints_load_and_are_written_again(name, pattern, tmp_path):
    packed = make_packed(tmp_path, name, pattern)
    model = load(packed, name)
    layers = sparse_layers(model)
    assert len(layers) == len(coppice.Checkpoint(packed).packed_weights()) > 0
    assert all(str(layer.pattern) == pattern for layer in layers.values())
    dense = load(tmp_path / "p", name)
    torch.testing.assert_close(outputs(model, name), outputs(dense, name), rtol=1e-4, atol=1e-5)

    model.save_pretrained(tmp_path / "again")
    assert own_bytes(tmp_path / "again") == own_bytes(packed)
    before, after = (json.loads((d / "config.json").read_text())["quantization_config"] for d in (packed, tmp_path / "again"))
    assert before == after
    coppice.unpack_checkpoint(tmp_path / "again", tmp_path / "u")
    for weight in coppice.Checkpoint(tmp_path / "p").linear_weights():
        assert np.array_equal(coppice.Checkpoint(tmp_path / "u").read(weight.name), coppice.Checkpoint(tmp_path / "p").read(weight))
    torch.testing.assert_close(outputs(load(tmp_path / "again", name), name), outputs(model, name), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_sparsified_models_are_written_packed(name, tmp_path):
    save_model(tmp_path / "m", name)
    coppice.prune_checkpoint(tmp_path / "m", tmp_path / "p", "2:4")
    model = load(tmp_path / "p", name)
    coppice.torch.sparsify_(model, "2:4")
    model.save_pretrained(tmp_path / "k")
    assert coppice.Checkpoint(tmp_path / "k").is_packed
    torch.testing.assert_close(outputs(load(tmp_path / "k", name), name), outputs(model, name), rtol=0, atol=0)
    coppice.unpack_checkpoint(tmp_path / "k", tmp_path / "u")
    dense, again = (load_file(tmp_path / d / "model.safetensors") for d in ("p", "u"))
    assert dense.keys() == again.keys() and all(torch.equal(dense[n], again[n]) for n in dense)


def test_dtypes_and_going_back_to_dense(tmp_path):
    packed = make_packed(tmp_path, "llama", "2:4")
    for dtype in (torch.float32, torch.bfloat16):
        model = load(packed, "llama", dtype=dtype)
        assert all(layer.weight.dtype == dtype for layer in sparse_layers(model).values())
        assert outputs(model, "llama").isfinite().all()
    model = load(packed, "llama")
    before = outputs(model, "llama")
    model.save_pretrained(tmp_path / "copy")  # writes the dtype into the config as text
    model.dequantize()
    assert not sparse_layers(model)
    torch.testing.assert_close(outputs(model, "llama"), before, rtol=1e-4, atol=1e-5)


def test_permuted_and_segmented_weights(tmp_path):
    """An input permutation and fused segments come through."""
    save_model(tmp_path / "m", "gpt2")
    model, rng = load(tmp_path / "m", "gpt2"), np.random.default_rng(1)
    for name, module in list(model.named_modules()):
        if name.endswith("c_attn"):
            order = rng.permutation(16).astype(np.uint32)
            weight = np.ascontiguousarray(module.weight.detach().numpy().T)
            mask = coppice.magnitude_mask(weight, "vw8/1:4", row_segments=[16, 16, 16], input_permutation=order)
            layer = coppice.torch.SparseLinear.from_linear(
                module, "vw8/1:4", mask, row_segments=[16, 16, 16], input_permutation=order)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer)
    describe_(model).save_pretrained(tmp_path / "k")
    entry = json.loads((tmp_path / "k" / "config.json").read_text())["quantization_config"]["weights"]["transformer.h.0.attn.c_attn.weight"]
    assert entry["row_segments"] == [16, 16, 16] and entry["input_permutation"] is True and entry["transposed"] is True
    torch.testing.assert_close(outputs(load(tmp_path / "k", "gpt2"), "gpt2"), outputs(model, "gpt2"), rtol=0, atol=0)


def change_config(directory, change):
    path = directory / "config.json"
    config = json.loads(path.read_text())
    change(config["quantization_config"])
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("change, message", [
    (lambda q: q.update(format_version=2), "format version 2"),
    (lambda q: q["weights"].update({"x.0": dict(next(iter(q["weights"].values())), stack=[0, 2])}), "stack of experts"),
    (lambda q: next(iter(q["weights"].values())).update(shape=[3, 4]), "the model's is"),
    (lambda q: next(iter(q["weights"].values())).update(pattern="x"), "x"),
])
def test_what_cannot_be_loaded_is_one_error(change, message, tmp_path):
    packed = make_packed(tmp_path, "llama", "2:4")
    change_config(packed, change)
    with pytest.raises(coppice.InvalidArgument, match=message):
        load(packed, "llama")


def test_damaged_indices_are_refused(tmp_path):
    packed = make_packed(tmp_path, "llama", "8:2:8")
    tensors = load_file(packed / "model.safetensors")
    name = next(n for n in tensors if n.endswith(".columns"))
    tensors[name].fill_(0)
    save_file(tensors, packed / "model.safetensors", {"format": "pt", "coppice_format": "1"})
    with pytest.raises(coppice.InvalidArgument, match="weight"):
        load(packed, "llama")


def test_dense_models_cannot_be_described():
    with pytest.raises(coppice.InvalidArgument, match="no SparseLinear"):
        describe_(make_model("bert"))


def bit(mask):
    """[rows, cols] bool as the legacy format packs it, written with shifts instead of numpy.packbits."""
    rows, cols = mask.shape
    packed = torch.zeros(rows, -(-cols // 8), dtype=torch.uint8)
    for c in range(cols):
        packed[:, c // 8] |= mask[:, c].to(torch.uint8) << (c % 8)
    return packed


def make_legacy(directory, source, suffix="", **changes):
    """The pruned checkpoint `source` in the legacy form; a weight of 12 columns has half a byte unused."""
    directory.mkdir()
    tensors = load_file(source / "model.safetensors")
    for weight in [w.name for w in coppice.Checkpoint(source).linear_weights()]:
        dense = tensors.pop(weight)
        mask = torch.from_numpy(coppice.score_mask(dense, "2:4"))
        module = weight.removesuffix(".weight") + suffix
        tensors[module + ".compressed"] = dense[mask].reshape(len(dense), -1)
        tensors[module + ".bitmask"] = bit(mask)
        tensors[module + ".shape"] = torch.tensor(dense.shape).reshape(-1, 1)
    tensors.update({name: make for name, make in changes.items()})
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors", "config_groups": {}, "sparsity_config": {
        "format": "sparse-24-bitmask", "sparsity_structure": "2:4", "targets": ["Linear"], "ignore": ["lm_head"]}}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("suffix", ["", ".weight"])
def test_legacy_checkpoints_are_converted(suffix, tmp_path):
    save_model(tmp_path / "m", "llama", hidden_size=12, intermediate_size=20)
    coppice.prune_checkpoint(tmp_path / "m", tmp_path / "p", "2:4")
    legacy = make_legacy(tmp_path / "l", tmp_path / "p", suffix)
    import_bitmask(legacy, tmp_path / "k")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k", "l", "m", "p"]
    coppice.unpack_checkpoint(tmp_path / "k", tmp_path / "u")
    dense, again = (load_file(tmp_path / d / "model.safetensors") for d in ("p", "u"))
    assert dense.keys() == again.keys() and all(torch.equal(dense[n], again[n]) for n in dense)
    model = load(tmp_path / "k", "llama")
    torch.testing.assert_close(outputs(model, "llama"), outputs(load(tmp_path / "p", "llama"), "llama"), rtol=1e-4, atol=1e-5)


MODULE = "model.layers.0.mlp.up_proj"


@pytest.mark.parametrize("changes, message", [
    ({MODULE + ".shape": torch.tensor([24, 17])}, "not \\[rows, cols\\]"),
    ({MODULE + ".shape": torch.tensor([-24, 16])}, "not \\[rows, cols\\]"),
    ({MODULE + ".shape": torch.tensor([24, 32])}, "compressed is \\[24, 8\\]"),
    ({MODULE + ".bitmask": torch.zeros(24, 2, dtype=torch.uint8)}, "row 0 does not keep two"),
    ({MODULE + ".bitmask": torch.zeros(24, 2)}, "uint8 bitmask"),
    ({"x.compressed": torch.zeros(24, 2)}, "x.bitmask' is missing"),
])
def test_damaged_legacy_checkpoints_are_refused(changes, message, tmp_path):
    save_model(tmp_path / "m", "llama")
    coppice.prune_checkpoint(tmp_path / "m", tmp_path / "p", "2:4")
    legacy = make_legacy(tmp_path / "l", tmp_path / "p", **changes)
    with pytest.raises(coppice.FileError, match=message):
        import_bitmask(legacy, tmp_path / "k")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l", "m", "p"]


def test_other_formats_are_refused(tmp_path):
    save_model(tmp_path / "m", "llama")
    with pytest.raises(coppice.InvalidArgument, match="holds no weight"):
        import_bitmask(tmp_path / "m", tmp_path / "k")
    coppice.prune_checkpoint(tmp_path / "m", tmp_path / "p", "2:4")
    legacy = make_legacy(tmp_path / "l", tmp_path / "p")
    change_config(legacy, lambda q: q["sparsity_config"].update(format="sparse-bitmask"))
    with pytest.raises(coppice.InvalidArgument, match="sparse-bitmask"):
        import_bitmask(legacy, tmp_path / "k")
    change_config(legacy, lambda q: q.update(config_groups={"group_0": {}}))
    with pytest.raises(coppice.InvalidArgument, match="quantised as well"):
        import_bitmask(legacy, tmp_path / "k")
