import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import coppice
from conftest import DTYPES, PATTERNS, SHAPES, masked, relative_error, same_bits, weight_of

ACTIVATIONS = {
    "none": lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    "gelu": np.vectorize(lambda y: 0.5 * y * (1 + math.erf(y / math.sqrt(2))), otypes=[float]),
    "gelu_tanh": lambda y: 0.5 * y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))),
    "silu": lambda y: y / (1 + np.exp(-y)),
}


def made(rng, shape, pattern, dtype=np.float32):
    weight = weight_of(rng, shape, dtype)
    mask = coppice.magnitude_mask(weight, pattern)
    return coppice.compress(weight, mask, pattern), masked(weight, mask).astype(np.float64)


@pytest.mark.parametrize("tokens", [1, 5, 64])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_against_double_precision(rng, pattern, tokens):
    for shape in SHAPES:
        for dtype in DTYPES:
            sparse, dense = made(rng, shape, pattern, dtype)
            x = weight_of(rng, (tokens, shape[1]))
            want = x @ dense.T
            out = np.full(want.shape, np.nan, np.float32)
            assert coppice.multiply(sparse, x, out=out) is out
            # Sums of products: an element may cancel to nearly 0, so the bound is on the sums of magnitudes.
            assert np.linalg.norm(out - want) <= 1e-6 * np.linalg.norm(np.abs(x) @ np.abs(dense.T))
            by_features = coppice.multiply(sparse, np.ascontiguousarray(x.T), layout="feature")
            assert by_features.shape == (shape[0], tokens)
            assert np.linalg.norm(by_features.T - want) <= 1e-6 * np.linalg.norm(np.abs(x) @ np.abs(dense.T))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_epilogue(rng, activation):
    sparse, dense = made(rng, (70, 90), "64:2:8")
    x, bias = weight_of(rng, (9, 90)), weight_of(rng, (70,))
    want = ACTIVATIONS[activation](0.5 * (x @ dense.T) + bias)
    got = coppice.multiply(sparse.pack(), x, bias=bias, activation=activation, alpha=0.5)
    assert relative_error(got, want) < 1e-6
    assert same_bits(got, coppice.multiply(sparse, x, bias=bias, activation=activation, alpha=0.5, threads=3))


def test_matmul(rng):
    sparse, dense = made(rng, (70, 90), "2:4")
    x = weight_of(rng, (90, 11))
    assert relative_error(sparse @ x, dense @ x) < 1e-6
    assert relative_error(sparse @ x.T.copy().T, dense @ x) < 1e-6  # tokens apart: read in place as well
    assert relative_error(sparse.pack() @ x[:, 0].copy(), dense @ x[:, 0]) < 1e-6
    assert (sparse @ x[:, 0].copy()).shape == (70,)
    assert (sparse @ x[:, :0]).shape == (70, 0)


def test_matmul_from_the_right_is_refused(rng):
    sparse, _ = made(rng, (16, 16), "2:4")
    for weight in (sparse, sparse.pack()):
        with pytest.raises(TypeError):
            weight_of(rng, (3, 16)) @ weight


def test_strides(rng):
    sparse, dense = made(rng, (33, 48), "8:32")
    around = weight_of(rng, (20, 100))
    x = around[::2, 10:58]
    out = np.full((10, 50), 7, np.float32)
    coppice.multiply(sparse, x, out=out[:, 3:36])
    assert relative_error(out[:, 3:36], x @ dense.T) < 1e-6
    assert (out[:, :3] == 7).all() and (out[:, 36:] == 7).all()


@pytest.mark.parametrize("bad, words", [
    (lambda x: x[:, :-1].copy(), "features"),
    (lambda x: x.astype(np.float64), "float32"),
    (lambda x: x.astype(np.float16), "float32"),
    (lambda x: np.concatenate([x, x], 1)[::2, ::2], "ascontiguousarray"),
    (lambda x: x[None], "needs"),
    (lambda x: "x", "cannot be read"),
])
def test_refuses_activations(rng, bad, words):
    sparse, _ = made(rng, (16, 32), "2:4")
    with pytest.raises(coppice.InvalidArgument, match=words):
        coppice.multiply(sparse, bad(weight_of(rng, (6, 32))))


def test_refuses_the_rest(rng):
    sparse, _ = made(rng, (32, 32), "2:4")
    x = weight_of(rng, (6, 32))
    for options in ({"out": x}, {"out": np.empty((6, 31), np.float32)}, {"out": np.empty((5, 32), np.float32)},
                    {"bias": np.zeros(31, np.float32)}, {"bias": np.zeros(32)}, {"activation": "tanh"},
                    {"layout": "row"}, {"threads": -2}):
        with pytest.raises(coppice.InvalidArgument):
            coppice.multiply(sparse, x, **options)
    with pytest.raises(coppice.InvalidArgument, match="SparseMatrix"):
        coppice.multiply(x, x)
    with pytest.raises(coppice.InvalidArgument):
        coppice.compress(np.zeros((4, 4), np.int8), None, "2:4").pack()


def test_read_only_input_and_buffers(rng):
    sparse, dense = made(rng, (16, 32), "2:4")
    x = weight_of(rng, (6, 32))
    x.flags.writeable = False
    assert relative_error(coppice.multiply(sparse, x), x @ dense.T) < 1e-6
    assert relative_error(coppice.multiply(sparse, memoryview(x)), x @ dense.T) < 1e-6


def test_many_threads_share_a_weight(rng):
    sparse, dense = made(rng, (128, 128), "64:2:8")
    xs = [weight_of(rng, (4, 128)) for _ in range(32)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda x: coppice.multiply(sparse, x, threads=1), xs))
    for x, y in zip(xs, results):
        assert relative_error(y, x @ dense.T) < 1e-6


def test_kernel_names(rng):
    sparse, _ = made(rng, (64, 64), "2:4")
    assert coppice.cpu_target() in sparse.pack().kernel_name(1)
    assert sparse.pack().shape == (64, 64) and sparse.pack().nbytes > 0
