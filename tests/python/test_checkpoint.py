import numpy as np
import pytest

import coppice
from conftest import masked, same_bits

QUERY = "encoder.layer.0.attention.self.query.weight"
DENSE = "encoder.layer.0.intermediate.dense.weight"


def test_inspects(model_dir):
    checkpoint = coppice.Checkpoint(model_dir)
    assert checkpoint.model_type == "bert" and not checkpoint.is_packed and checkpoint.packed_weights() == {}
    weights = checkpoint.linear_weights()
    assert {w.name: (w.shape, w.dtype.name, w.role) for w in weights} == {
        QUERY: ((64, 64), "float32", "linear"), DENSE: ((100, 64), "bfloat16", "linear")}
    assert [w.name for w in checkpoint.linear_weights(include=["*query*"])] == [QUERY]
    assert same_bits(checkpoint.read(weights[0]), checkpoint.read(weights[0].name))


def test_prune_pack_unpack(model_dir, tmp_path):
    coppice.prune_checkpoint(model_dir, tmp_path / "pruned", "64:2:8")
    report = coppice.pack_checkpoint(tmp_path / "pruned", tmp_path / "packed")
    assert report.tensor_bytes_out < report.tensor_bytes_in
    coppice.unpack_checkpoint(tmp_path / "packed", tmp_path / "again")
    files = [tmp_path / d / "model.safetensors" for d in ("pruned", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    before, pruned, packed = (coppice.Checkpoint(d) for d in (model_dir, tmp_path / "pruned", tmp_path / "packed"))
    assert packed.is_packed and packed.packed_weights() == {name: coppice.Pattern("64:2:8") for name in (QUERY, DENSE)}
    for name in (QUERY, DENSE):
        weight = before.read(name)
        assert same_bits(pruned.read(name), masked(weight, coppice.magnitude_mask(weight, "64:2:8")))
        assert same_bits(packed.read_packed(name).to_dense(), pruned.read(name))


def test_packs_only_what_gets_smaller(model_dir, tmp_path):
    with pytest.raises(coppice.InvalidArgument, match="gets smaller"):
        coppice.pack_checkpoint(model_dir, tmp_path / "packed")
    coppice.prune_checkpoint(model_dir, tmp_path / "pruned", "2:4", include=["*query*"])
    coppice.pack_checkpoint(tmp_path / "pruned", tmp_path / "packed")
    assert list(coppice.Checkpoint(tmp_path / "packed").packed_weights()) == [QUERY]


def test_prunes_by_a_function(model_dir, tmp_path):
    seen = []

    def prune(weight, array):
        seen.append(weight.name)
        return masked(array, coppice.score_mask(array, "2:4"))

    coppice.prune_checkpoint(model_dir, tmp_path / "pruned", "2:4", prune=prune, include=["*dense.weight"])
    assert seen == [DENSE]
    assert np.count_nonzero(coppice.Checkpoint(tmp_path / "pruned").read(DENSE)) == 100 * 32


@pytest.mark.parametrize("prune, error", [
    (lambda w, a: a, coppice.InvalidArgument),
    (lambda w, a: a[:-1], coppice.InvalidArgument),
    (lambda w, a: None, coppice.InvalidArgument),
    (lambda w, a: 1 // 0, ZeroDivisionError),
])
def test_errors_leave_nothing(model_dir, tmp_path, prune, error):
    with pytest.raises(error):
        coppice.prune_checkpoint(model_dir, tmp_path / "pruned", "2:4", prune=prune)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_refuses(model_dir, tmp_path):
    with pytest.raises(coppice.FileError, match="absent"):
        coppice.Checkpoint(tmp_path / "absent")
    with pytest.raises(coppice.InvalidArgument):
        coppice.prune_checkpoint(model_dir, model_dir, "2:4")
    with pytest.raises(coppice.InvalidArgument):
        coppice.unpack_checkpoint(model_dir, tmp_path / "out")
    with pytest.raises(coppice.InvalidArgument, match="linear_weights"):
        coppice.Checkpoint(model_dir).read("nothing")
    with pytest.raises(coppice.InvalidArgument, match="packed_weights"):
        coppice.Checkpoint(model_dir).read_packed(QUERY)
