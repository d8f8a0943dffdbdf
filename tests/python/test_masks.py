import numpy as np
import pytest

import coppice
from conftest import SHAPES, weight_of


def top_n(scores, n, m):
    """N of M by sorting; ties to the lower column."""
    mask = np.zeros(scores.shape, bool)
    for row in range(scores.shape[0]):
        for begin in range(0, scores.shape[1], m):
            group = np.abs(scores[row, begin:begin + m].astype(np.float64))
            mask[row, begin + np.argsort(-group, kind="stable")[:n]] = True
    return mask


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n, m", [(2, 4), (8, 32), (3, 5)])
def test_element_wise_is_top_n(rng, shape, n, m):
    weight = weight_of(rng, shape)
    expected = top_n(weight, n, m)
    assert np.array_equal(coppice.magnitude_mask(weight, f"{n}:{m}"), expected)
    assert np.array_equal(coppice.score_mask(weight**2, coppice.Pattern(f"{n}:{m}")), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_vector_wise_is_top_n_of_sums(rng, shape):
    weight = weight_of(rng, shape)
    mask = coppice.magnitude_mask(weight, "vw32/8:32")
    for begin in range(0, shape[0], 32):
        rows = slice(begin, begin + 32)
        sums = np.abs(weight[rows].astype(np.float64)).sum(0, keepdims=True)
        assert np.array_equal(mask[rows], np.broadcast_to(top_n(sums, 8, 32), mask[rows].shape))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_vnm_keeps_the_best_columns(rng, threads):
    weight = weight_of(rng, (64, 8))
    mask = coppice.magnitude_mask(weight, "64:2:8", threads=threads)
    magnitudes = np.abs(weight.astype(np.float64))
    from itertools import combinations

    best = max(np.sort(magnitudes[:, list(c)], 1)[:, -2:].sum() for c in combinations(range(8), 4))
    assert magnitudes[mask].sum() == pytest.approx(best, rel=1e-12)
    assert (mask.sum(1) == 2).all() and mask.any(0).sum() == 4


def test_segments_restart_vectors(rng):
    weight = weight_of(rng, (40, 64))
    parts = coppice.magnitude_mask(weight, "vw32/8:32", row_segments=[10, 30])
    assert np.array_equal(parts[:10], coppice.magnitude_mask(weight[:10], "vw32/8:32"))
    assert np.array_equal(parts[10:], coppice.magnitude_mask(weight[10:], "vw32/8:32"))


def test_scores(rng):
    weight, x = weight_of(rng, (33, 47)), weight_of(rng, (100, 47))
    square_sums = (x.astype(np.float64) ** 2).sum(0)
    magnitudes = np.abs(weight.astype(np.float64))
    norms = np.sqrt(square_sums)
    ria = (magnitudes / magnitudes.sum(0) + magnitudes / magnitudes.sum(1, keepdims=True)) * norms**0.5
    assert np.allclose(coppice.score_weights(weight, "wanda", square_sums), magnitudes * norms, rtol=1e-6)
    assert np.allclose(coppice.score_weights(weight, "ria", square_sums), ria, rtol=1e-6)
    assert np.array_equal(coppice.score_weights(weight, "magnitude"), np.abs(weight))
    gram = x.T.astype(np.float64) @ x
    hessian = gram / np.diag(gram).mean() + 0.01 * np.eye(47)
    obs = weight.astype(np.float64) ** 2 / np.diag(np.linalg.inv(hessian))
    assert np.allclose(coppice.score_weights_obs(weight, gram), obs, rtol=1e-5)


def test_strided_rows_are_read_in_place(rng):
    weight = weight_of(rng, (20, 64))
    assert np.array_equal(coppice.magnitude_mask(weight[::2, 8:40], "2:4"), top_n(weight[::2, 8:40], 2, 4))


@pytest.mark.parametrize("bad, words", [
    (lambda w: w.T, "ascontiguousarray"),
    (lambda w: w[:, ::2], "ascontiguousarray"),
    (lambda w: w[::-1], "ascontiguousarray"),
    (lambda w: w[0], "two dimensions"),
    (lambda w: w.astype(np.float64), "float32"),
    (lambda w: [[1.0, 2.0]], "cannot be read"),
    (lambda w: object(), "cannot be read"),
    (lambda w: np.full((4, 4), np.nan, np.float32), "."),
])
def test_refuses_weights(rng, bad, words):
    with pytest.raises(coppice.InvalidArgument, match=words):
        coppice.magnitude_mask(bad(weight_of(rng, (6, 10))), "2:4")


def test_refuses_options(rng):
    weight = weight_of(rng, (8, 8))
    for options in ({"threads": -1}, {"columns": "best"}, {"row_segments": [3, 3]}):
        with pytest.raises(coppice.InvalidArgument):
            coppice.magnitude_mask(weight, "2:4", **options)
    with pytest.raises(coppice.InvalidArgument, match="wanda"):
        coppice.score_weights(weight, "best")
    with pytest.raises(coppice.InvalidArgument, match="shape"):
        coppice.score_weights(weight, "wanda", np.ones(7))
