"""One weight under one method of the library."""

import dataclasses
import time

import numpy as np

from .. import _core

TARGETS = ("own", "dense")
AIMING = ("obs", "admm")
MOVING = (*AIMING, "fisher")  # the weights that stay
METHODS = (*MOVING, "wanda", "ria", "magnitude")


@dataclasses.dataclass
class Options:
    """What the methods take beside weight and pattern. block: of Fisher blocks."""

    method: str = "obs"
    target: str = "own"
    damping: float = 0.01
    iterations: int = 300
    choice: str = "automatic"
    columns: str = "automatic"
    block: int = 16
    threads: int = 0

    def __post_init__(self):
        if self.method not in METHODS:
            raise _core.InvalidArgument(f"method: got \"{self.method}\", needs one of {', '.join(METHODS)}")
        if self.target not in TARGETS:
            raise _core.InvalidArgument(f"target: got \"{self.target}\", needs one of {', '.join(TARGETS)}")
        if self.target == "dense" and self.method not in AIMING:
            raise _core.InvalidArgument(f"target \"dense\" is of {' and '.join(AIMING)}, got method \"{self.method}\"")
        if not 1 <= self.block <= 256:
            raise _core.InvalidArgument(f"fisher: got {self.block}, needs blocks of 1 to 256 weights")

    @property
    def aims(self):
        """Whether weights are moved towards the dense model's outputs."""
        return self.target == "dense"


@dataclasses.dataclass
class LayerInput:
    """What is known of a layer: float64 sums over its inputs; what the dense weight is multiplied by to be aimed at, or None; and
    (sums, samples) of its gradients, or None."""

    gram: np.ndarray
    square_sums: np.ndarray
    correction: np.ndarray | None = None
    fisher: tuple | None = None

    def reordered(self, order, threads):
        """Of a weight whose columns are gathered by `order`."""
        fisher = self.fisher
        if fisher is not None:
            fisher = _core.gather_fisher(fisher[0], len(order), order, threads=threads), fisher[1]
        return LayerInput(np.ascontiguousarray(self.gram[np.ix_(order, order)]), self.square_sums[order], None, fisher)


@dataclasses.dataclass
class PrunedWeight:
    """What became of one weight. error: of its output on the calibration samples; None: not measured. order: "stored" or "folded" if
    its columns are pruned in another order than their own."""

    name: str
    shape: tuple
    pattern: str
    method: str
    error: float | None
    seconds: float
    note: str = ""
    order: str = ""


@dataclasses.dataclass
class Attempt:
    """A weight pruned in some order of its columns. cost: what its method wants small, None: not known."""

    array: np.ndarray
    cost: float | None
    note: str = ""


def prune_weight(weight, array, pattern, inputs, options, orders=None):
    """The pruned array, of the dtype that `array` has, and what is told about it.

    weight: LinearWeight; inputs: LayerInput, or None: by magnitude; orders: Orders, in which its columns may get another order, or None.
    """
    begin = time.perf_counter()
    if inputs is None:
        options = dataclasses.replace(options, method="magnitude", target="own")
    aim = array
    if inputs is not None and inputs.correction is not None:
        aim = (array.astype(np.float64) @ inputs.correction).astype(np.float32)
    best, kind = attempt(weight, array, aim, pattern, inputs, options), ""
    if orders is not None:
        order = orders.find(weight, pattern, lambda: scores_of(aim, inputs, options), options)
        other = None if order is None else attempt(weight, array, aim, pattern, inputs, options, order)
        if other is not None and (other.cost is None or other.cost < best.cost):
            best, kind = other, orders.keep(weight)
    error = None if inputs is None else _core.output_error(aim, best.array, inputs.gram, threads=options.threads)
    return best.array, PrunedWeight(weight.name, weight.shape, str(pattern), options.method, error, time.perf_counter() - begin, best.note,
                                    kind)


def attempt(weight, array, aim, pattern, inputs, options, order=None):
    shape = {"row_segments": weight.row_segments, "col_segments": weight.col_segments, "threads": options.threads}
    if options.method in MOVING:
        return moved(array, aim, pattern, inputs, options, order, shape)
    mask = _core.score_mask(scores_of(array, inputs, options), pattern, input_permutation=order, columns=options.columns, **shape)
    pruned = masked(array, mask)
    return Attempt(pruned, None if inputs is None else _core.output_error(array, pruned, inputs.gram, threads=options.threads))


def moved(array, aim, pattern, inputs, options, order, shape):
    if order is not None:
        aim, inputs = np.take(aim, order, axis=1), inputs.reordered(order, options.threads)
    result = update(aim, pattern, inputs, options, shape)
    new, mask, note = result.weight.astype(array.dtype), result.mask, result.note
    if order is not None:
        back = np.argsort(order)
        new, mask = np.take(new, back, axis=1), np.take(mask, back, axis=1)
    if not np.isfinite(new.astype(np.float32)).all():  # compensation makes weights larger, and a narrow dtype has an end
        new = masked(array, mask)
        note = "; ".join(filter(None, [note, f"compensated weights are too large for {array.dtype}: mask only"]))
    return Attempt(new, result.error, note)


def update(array, pattern, inputs, options, shape):
    if options.method == "fisher":
        return _core.fisher_prune(array, pattern, *inputs.fisher, damping=options.damping, search=options.choice, **shape)
    shape["columns"] = options.columns
    if options.method == "obs":
        return _core.obs_prune(array, pattern, inputs.gram, damping=options.damping, choice=options.choice, **shape)
    return _core.admm_prune(array, pattern, inputs.gram, damping=options.damping, iterations=options.iterations, **shape)


def scores_of(array, inputs, options):
    """The method's own scores of single weights."""
    threads = options.threads
    if options.method == "magnitude":
        return array
    if options.method == "fisher":
        return _core.score_weights_fisher(array, *inputs.fisher, damping=options.damping, threads=threads)
    if options.method in MOVING:
        return _core.score_weights_obs(array, inputs.gram, damping=options.damping, threads=threads)
    return _core.score_weights(array, options.method, inputs.square_sums, threads=threads)


def masked(array, mask):
    return np.where(mask, array, np.zeros((), array.dtype))
