import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import coppice
from conftest import DTYPES, PATTERNS, SHAPES, masked, same_bits, weight_of


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_is_exact(rng, pattern, shape):
    for dtype in [*DTYPES, np.dtype(np.int8), np.dtype(ml_dtypes.float8_e4m3fn)]:
        weight = (weight_of(rng, shape) * 20).astype(dtype)
        mask = coppice.magnitude_mask(weight, pattern)
        sparse = coppice.compress(weight, mask, pattern)
        assert same_bits(sparse.to_dense(), masked(weight, mask))
        assert (sparse.shape, sparse.dtype, sparse.pattern) == (shape, dtype, coppice.Pattern(pattern))
        assert sparse.nbytes == sparse.values.nbytes + sparse.columns.nbytes + sparse.metadata.nbytes
        assert sparse.values.dtype == dtype and sparse.bits_per_weight == pytest.approx(8 * sparse.nbytes / weight.size)
        assert not (mask & ~sparse.mask()).any() and sparse.mask().mean() == pytest.approx(sparse.density)


def test_zeros_make_the_mask(rng):
    weight = weight_of(rng, (64, 64))
    pruned = masked(weight, coppice.magnitude_mask(weight, "2:8"))
    assert coppice.detect(pruned)[0] == coppice.Pattern("2:8")
    assert same_bits(coppice.compress(pruned, None, "2:8").to_dense(), pruned)
    with pytest.raises(coppice.InvalidArgument):
        coppice.compress(weight, None, "2:8")
    assert coppice.detect(weight) == [coppice.Pattern("dense")]


def test_fills_the_array_given(rng):
    weight = weight_of(rng, (10, 16))
    sparse = coppice.compress(weight, coppice.magnitude_mask(weight, "2:4"), "2:4")
    around = np.full((10, 20), 7, np.float32)
    inside = around[:, 2:18]
    assert sparse.to_dense(out=inside) is inside
    assert same_bits(np.ascontiguousarray(inside), sparse.to_dense())
    assert (around[:, :2] == 7).all() and (around[:, 18:] == 7).all()
    for bad in (np.empty((10, 15), np.float32), np.empty((10, 16), np.float16)):
        with pytest.raises(coppice.InvalidArgument, match="needs F32"):
            sparse.to_dense(out=bad)
    around.flags.writeable = False
    with pytest.raises(coppice.InvalidArgument, match="read-only"):
        sparse.to_dense(out=around[:, 2:18])


def test_arrays_are_read_only_and_live_on(rng):
    weight = weight_of(rng, (64, 64))
    values = coppice.compress(weight, coppice.magnitude_mask(weight, "64:2:8"), "64:2:8").values
    assert np.isin(values, weight).all()
    with pytest.raises(ValueError):
        values[0, 0] = 1


@pytest.mark.parametrize("pattern", ["2:4", "64:2:8", "bw4x4/1:4"])
def test_file_round_trip(rng, tmp_path, pattern):
    path = tmp_path / "weights.safetensors"
    weights = {}
    for name, dtype in zip("abc", DTYPES):
        weight = weight_of(rng, (70, 90), dtype)
        permutation = rng.permutation(90).astype(np.uint32) if name == "b" else None
        options = {"row_segments": [30, 40], "input_permutation": permutation}
        mask = coppice.score_mask(weight, pattern, **options)
        weights[name] = coppice.compress(weight, mask, pattern, **options)
    coppice.save_file(weights, path)
    loaded = coppice.load_file(path)
    assert list(loaded) == ["a", "b", "c"]
    for name, sparse in weights.items():
        again = loaded[name]
        assert same_bits(again.to_dense(), sparse.to_dense()) and again.pattern == sparse.pattern
        assert same_bits(again.columns, sparse.columns) and same_bits(again.metadata, sparse.metadata)
        assert np.array_equal(again.input_permutation, sparse.input_permutation)
    coppice.save_file(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_names_may_hold_anything(rng, tmp_path):
    weight = weight_of(rng, (8, 16))
    sparse = coppice.compress(weight, coppice.magnitude_mask(weight, "2:4"), "2:4")
    names = ["a\0b", "a", "\u00e9\n", "a.values.b"]
    coppice.save_file(dict.fromkeys(names, sparse), tmp_path / "w.safetensors")
    assert sorted(coppice.load_file(tmp_path / "w.safetensors")) == sorted(names)


@pytest.mark.parametrize("pattern", ["2:4", "64:2:8", "bw4x4/1:4", "dense"])
def test_copies_and_pickles(rng, pattern):
    for dtype in DTYPES:
        weight = weight_of(rng, (70, 90), dtype)
        options = {"row_segments": [30, 40], "col_segments": [50, 40]}
        if pattern != "dense":
            options["input_permutation"] = rng.permutation(90).astype(np.uint32)
        sparse = coppice.compress(weight, coppice.score_mask(weight, pattern, **options), pattern, **options)
        assert copy.copy(sparse) is sparse and copy.deepcopy([sparse])[0] is sparse  # nothing can change it
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(sparse, protocol))
            assert (again.pattern, again.shape, again.dtype) == (sparse.pattern, sparse.shape, sparse.dtype)
            assert (again.row_segments, again.col_segments) == (sparse.row_segments, sparse.col_segments)
            for name in ("values", "columns", "metadata"):
                assert same_bits(getattr(again, name), getattr(sparse, name))
            assert np.array_equal(again.input_permutation, sparse.input_permutation)
            assert same_bits(again.to_dense(), sparse.to_dense())


def test_refuses_pickles_of_other_bytes(rng):
    weight = weight_of(rng, (64, 64))
    sparse = coppice.compress(weight, coppice.magnitude_mask(weight, "64:2:8"), "64:2:8")
    good = sparse.__getstate__()
    for place, change in ((1, (64, 65)), (4, "F64"), (4, "X"), (5, good[5][:-1]), (6, good[6][:-1]), (6, b"\xff" * len(good[6])),
                          (7, b""), (8, b"\0" * 256), (0, "64:2:9"), (2, [65])):
        state = list(good)
        state[place] = change
        with pytest.raises(coppice.InvalidArgument):
            coppice.SparseMatrix.__new__(coppice.SparseMatrix).__setstate__(tuple(state))


def test_without_columns_or_rows():
    for shape in ((4, 0), (0, 4)):
        for pattern in PATTERNS:
            sparse = coppice.compress(np.zeros(shape, np.float32), None, pattern)
            other = (8, shape[1]) if shape[1] else (shape[0], 8)
            like = coppice.compress(np.zeros(other, np.float32), None, pattern)
            # The axis that is not empty is as long as in any weight.
            axis = 1 if shape[1] else 0
            for name in ("values", "columns", "metadata"):
                assert getattr(sparse, name).shape[axis] == getattr(like, name).shape[axis], (shape, pattern, name)
            assert sparse.to_dense().shape == shape
            assert pickle.loads(pickle.dumps(sparse)).columns.shape == sparse.columns.shape


def test_refuses_files(rng, tmp_path):
    with pytest.raises(coppice.FileError, match="absent"):
        coppice.load_file(tmp_path / "absent.safetensors")
    weight = weight_of(rng, (64, 64))
    path = tmp_path / "w.safetensors"
    coppice.save_file({"w": coppice.compress(weight, coppice.magnitude_mask(weight, "64:2:8"), "64:2:8")}, path)
    good = path.read_bytes()
    for change in ((b"64:2:8", b"64:2:9"), (b"[64,64]", b"[65,64]"), (b"version\\\":1", b"version\\\":2"), (b"w.columns", b"x.columns")):
        assert change[0] in good
        path.write_bytes(good.replace(*change))
        with pytest.raises(coppice.FileError, match="w.safetensors"):
            coppice.load_file(path)
    path.write_bytes(good[:-1])
    with pytest.raises(OSError):
        coppice.load_file(path)
    with pytest.raises(coppice.InvalidArgument, match="empty"):
        coppice.save_file({"w": coppice.compress(np.zeros((0, 8), np.float32), None, "2:4")}, path)


def test_refuses_masks(rng):
    weight = weight_of(rng, (8, 8))
    for mask in (np.ones((8, 8), bool), np.ones((8, 7), bool), np.ones((8, 8), np.uint8), np.ones(8, bool)):
        with pytest.raises(coppice.InvalidArgument):
            coppice.compress(weight, mask, "2:4")
    mask = coppice.magnitude_mask(weight, "2:4")
    with pytest.raises(coppice.InvalidArgument, match="uint32"):
        coppice.compress(weight, mask, "2:4", input_permutation=np.arange(8))
    with pytest.raises(coppice.InvalidArgument):
        coppice.compress(weight, mask, "2:4", input_permutation=np.zeros(8, np.uint32))


def test_strided_mask_and_empty(rng):
    weight = weight_of(rng, (8, 12))
    mask = coppice.magnitude_mask(weight, "2:4")
    sparse = coppice.compress(weight, np.asfortranarray(mask), "2:4")
    assert same_bits(sparse.to_dense(), masked(weight, mask))
    for shape in ((0, 8), (8, 0), (0, 0)):
        assert coppice.compress(np.zeros(shape, np.float32), None, "2:4").to_dense().shape == shape


@pytest.mark.parametrize("pattern", PATTERNS)
def test_from_arrays(rng, pattern):
    weight = weight_of(rng, (70, 90))
    order = rng.permutation(90).astype(np.uint32)
    mask = coppice.magnitude_mask(weight, pattern, row_segments=[30, 40], input_permutation=order)
    sparse = coppice.compress(weight, mask, pattern, row_segments=[30, 40], input_permutation=order)
    arrays = (sparse.values, sparse.columns if sparse.columns.size else None, sparse.metadata if sparse.metadata.size else None)
    again = coppice.SparseMatrix.from_arrays(pattern, (70, 90), *arrays, input_permutation=order, row_segments=[30, 40])
    assert same_bits(again.to_dense(), masked(weight, mask)) and again.nbytes == sparse.nbytes
    assert again.row_segments == [30, 40] and again.col_segments == []
    with pytest.raises(coppice.InvalidArgument, match="values"):
        coppice.SparseMatrix.from_arrays(pattern, (70, 90), sparse.values[:-1].copy(), *arrays[1:])
    if sparse.columns.size:
        with pytest.raises(coppice.InvalidArgument):
            coppice.SparseMatrix.from_arrays(pattern, (70, 90), sparse.values, None, arrays[2])
