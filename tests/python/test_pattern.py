import pickle

import pytest

import coppice
from conftest import PATTERNS


@pytest.mark.parametrize("text", PATTERNS)
def test_round_trips(text):
    pattern = coppice.Pattern(text)
    assert str(pattern) == text
    assert eval(repr(pattern), {"Pattern": coppice.Pattern}) == pattern
    assert coppice.Pattern.from_json(pattern.to_json()) == pattern
    assert pickle.loads(pickle.dumps(pattern)) == pattern
    assert len({pattern, coppice.Pattern(text)}) == 1
    assert pattern.density + pattern.sparsity == 1


def test_properties():
    pattern = coppice.Pattern("64:2:8")
    assert (pattern.vec_rows, pattern.block_cols, pattern.kept, pattern.group, pattern.inner_kept) == (64, 1, 4, 8, 2)
    assert (pattern.kind, pattern.density, pattern.is_dense, pattern.fits_sparse_tensor_cores) == ("vnm", 0.25, False, True)
    assert coppice.Pattern.make(64, 1, 4, 8, 2) == pattern
    assert coppice.Pattern("64:2:4") == coppice.Pattern("2:4") != pattern
    assert [coppice.Pattern(p).kind for p in ("dense", "2:4", "vw32/8:32", "bw4x4/1:4")] == ["dense", "element", "vector", "block"]
    assert "64" in pattern.explain()


def test_is_immutable():
    with pytest.raises(AttributeError):
        coppice.Pattern("2:4").kept = 3


@pytest.mark.parametrize("text", ["", "4", "5:4", "0:4", "2:4:", "vw0/2:4", "2 :4", "64:2:8\0"])
def test_refuses(text):
    with pytest.raises(coppice.InvalidArgument):
        coppice.Pattern(text)


def test_errors_are_what_python_expects():
    assert issubclass(coppice.InvalidArgument, ValueError) and issubclass(coppice.InvalidArgument, coppice.Error)
    assert issubclass(coppice.FileError, OSError) and issubclass(coppice.FileError, coppice.Error)
    assert issubclass(coppice.DeviceError, RuntimeError) and issubclass(coppice.Cancelled, coppice.Error)
    with pytest.raises(ValueError, match="N:M"):
        coppice.Pattern("nonsense")


def test_version_is_that_of_the_package():
    from importlib.metadata import version

    assert coppice.__version__ == version("coppice")


def test_structure_decay():
    steps = coppice.structure_decay("64:2:8")
    assert [(step.epoch, str(step.pattern)) for step in steps] == [(2, "64:5/7:8"), (6, "64:4/6:8"), (10, "64:3:8"), (14, "64:2:8")]
    assert [str(step.pattern) for step in coppice.structure_decay(coppice.Pattern("2:8"), steps=1, first_epoch=7)] == ["2:8"]
    with pytest.raises(coppice.InvalidArgument):
        coppice.structure_decay("dense")
