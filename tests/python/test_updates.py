import threading

import numpy as np
import pytest

import coppice
from conftest import masked, relative_error, same_bits, weight_of


def layer(rng, rows=48, cols=64, tokens=400):
    mixing = rng.normal(size=(cols, cols))
    return weight_of(rng, (rows, cols)), (rng.normal(size=(tokens, cols)) @ mixing).astype(np.float32)


def test_gram(rng):
    _, x = layer(rng)
    sums = coppice.Gram(64)
    for begin in range(0, 400, 150):
        sums.add(x[begin:begin + 150])
    other = coppice.Gram(64)
    other.add(np.ascontiguousarray(x.T), layout="feature")
    want = x.T.astype(np.float64) @ x
    for got in (sums, other):
        assert got.samples == 400 and relative_error(got.gram, want) < 1e-6
        assert same_bits(got.square_sums, np.diag(got.gram).copy())
    with pytest.raises(coppice.InvalidArgument):
        sums.add(x[:, :-1].copy())


@pytest.mark.parametrize("prune", [coppice.obs_prune, coppice.admm_prune])
@pytest.mark.parametrize("pattern", ["2:4", "vw32/8:32", "16:2:8"])
def test_compensation_helps(rng, prune, pattern):
    weight, x = layer(rng)
    given = weight.copy()
    gram = x.T.astype(np.float64) @ x
    result = prune(weight, pattern, gram)
    assert same_bits(weight, given)
    outputs = x @ weight.T.astype(np.float64)
    error = np.linalg.norm(outputs - x @ result.weight.T.astype(np.float64)) / np.linalg.norm(outputs)
    assert result.error == pytest.approx(error, rel=1e-4)
    assert coppice.output_error(weight, result.weight, gram) == pytest.approx(error, rel=1e-4)
    magnitude = masked(weight, coppice.magnitude_mask(weight, pattern))
    assert result.magnitude_error == pytest.approx(coppice.output_error(weight, magnitude, gram), rel=1e-6)
    assert result.error < 0.95 * result.magnitude_error
    assert not result.weight[~result.mask].any()
    coppice.compress(result.weight, result.mask, pattern)
    assert same_bits(result.weight, prune(weight, pattern, gram, threads=1).weight)


def test_permutation(rng):
    scores = weight_of(rng, (32, 64)) * np.repeat([0.1, 3], 32).astype(np.float32)
    found = coppice.find_input_permutation(scores, "vw32/8:32", seed=3)
    assert sorted(found.permutation) == list(range(64)) and found.permutation.dtype == np.uint32
    mask = coppice.score_mask(scores, "vw32/8:32", input_permutation=found.permutation)
    magnitudes = np.abs(scores.astype(np.float64))
    assert magnitudes[mask].sum() == pytest.approx(found.kept_score, rel=1e-9)
    assert found.kept_score > 1.05 * found.identity_score and found.total_score == pytest.approx(magnitudes.sum())
    again = coppice.find_input_permutation(scores, "vw32/8:32", seed=3, threads=1)
    assert same_bits(again.permutation, found.permutation)
    sparse = coppice.compress(scores, mask, "vw32/8:32", input_permutation=found.permutation)
    assert same_bits(sparse.to_dense(), masked(scores, mask))
    x = weight_of(rng, (3, 64))
    assert relative_error(coppice.multiply(sparse, x), x @ masked(scores, mask).T.astype(np.float64)) < 1e-6


def test_output_permutation(rng):
    scores = weight_of(rng, (64, 32))
    found = coppice.find_output_permutation(scores, "vw32/8:32")
    mask = coppice.magnitude_mask(scores[found.permutation], "vw32/8:32")
    assert np.abs(scores[found.permutation].astype(np.float64))[mask].sum() == pytest.approx(found.kept_score)
    assert found.kept_score >= found.identity_score


def test_refuses(rng):
    weight, x = layer(rng)
    gram = x.T.astype(np.float64) @ x
    for args, options in (((weight, "2:4", gram[:-1]), {}), ((weight, "2:4", gram.astype(np.float32)), {}),
                          ((weight, "2:4", gram), {"damping": -1.0}), ((weight, "2:4", gram), {"choice": "best"}),
                          ((weight, "2:4", gram * np.nan), {}), ((weight, "2:5:", gram), {})):
        with pytest.raises(coppice.InvalidArgument):
            coppice.obs_prune(*args, **options)


def test_refuses_what_is_no_sum_of_products(rng):
    weight, x = layer(rng)
    gram = x.T.astype(np.float64) @ x
    rounded = gram + np.triu(np.abs(gram), 1) * 1e-9  # any library's product is symmetric up to rounding
    coppice.obs_prune(weight, "2:4", rounded)
    asymmetric, large, negative = gram.copy(), gram.copy(), gram.copy()
    asymmetric[3, 5] = 0.5 * np.sqrt(gram[3, 3] * gram[5, 5])
    large[3, 5] = large[5, 3] = 2 * np.sqrt(gram[3, 3] * gram[5, 5])
    negative[4, 4] = -1
    for bad, fault in ((asymmetric, r"not symmetric: .* at \(5, 3\), .* at \(3, 5\); needed"), (large, "no sum of products"),
                       (negative, "has -1 at"), (np.tril(gram), "not symmetric"), (gram * np.inf, "has inf|has nan|has -nan")):
        for call in (lambda: coppice.obs_prune(weight, "2:4", bad), lambda: coppice.admm_prune(weight, "2:4", bad),
                     lambda: coppice.score_weights_obs(weight, bad), lambda: coppice.output_error(weight, weight, bad)):
            with pytest.raises(coppice.InvalidArgument, match=fault):
                call()
    gradients = rng.normal(size=(20, 96, 32))
    sums = np.einsum("sbi,sbj->bij", gradients, gradients)
    coppice.fisher_prune(weight, "2:4", sums, 20)
    sums[7, 1, 2] *= -1
    for call in (lambda: coppice.fisher_prune(weight, "2:4", sums, 20), lambda: coppice.score_weights_fisher(weight, sums, 20)):
        with pytest.raises(coppice.InvalidArgument, match="Fisher block 7 is not symmetric"):
            call()


def test_other_threads_run_meanwhile(rng):
    """A call of some tenths of a second, long enough for a busy machine to give the other thread a turn."""
    weight, x = layer(rng, rows=64, cols=768, tokens=900)
    gram = x.T.astype(np.float64) @ x
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = counted[0]
        coppice.admm_prune(weight, "2:4", gram, threads=1)
        assert counted[0] - before > 1000
    finally:
        stop.set()
        thread.join()
