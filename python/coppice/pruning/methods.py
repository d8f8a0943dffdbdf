"""One weight under one method of the library."""

import dataclasses
import time

import numpy as np

from .. import _core

TARGETS = ("own", "dense")
MOVING = ("obs", "admm")  # the weights that stay
METHODS = ("obs", "admm", "wanda", "ria", "magnitude")


@dataclasses.dataclass
class Options:
    """What the methods take beside weight and pattern."""

    method: str = "obs"
    target: str = "own"
    damping: float = 0.01
    iterations: int = 300
    choice: str = "automatic"
    columns: str = "automatic"
    threads: int = 0

    def __post_init__(self):
        if self.method not in METHODS:
            raise _core.InvalidArgument(f"method: got \"{self.method}\", needs one of {', '.join(METHODS)}")
        if self.target not in TARGETS:
            raise _core.InvalidArgument(f"target: got \"{self.target}\", needs one of {', '.join(TARGETS)}")

    @property
    def aims(self):
        """Whether weights are moved towards the dense model's outputs."""
        return self.target == "dense" and self.method in MOVING


@dataclasses.dataclass
class LayerInput:
    """What is known of a layer's input: float64 sums, and what the dense weight is multiplied by to be aimed at, or None."""

    gram: np.ndarray
    square_sums: np.ndarray
    correction: np.ndarray | None = None


@dataclasses.dataclass
class PrunedWeight:
    """What became of one weight. error: of its output on the calibration samples; None: not measured."""

    name: str
    shape: tuple
    pattern: str
    method: str
    error: float | None
    seconds: float
    note: str = ""


def prune_weight(weight, array, pattern, inputs, options):
    """The pruned array, of the dtype that `array` has, and what is told about it.

    weight: LinearWeight; inputs: LayerInput, or None: by magnitude.
    """
    begin = time.perf_counter()
    method = options.method if inputs is not None else "magnitude"
    shape = {"row_segments": weight.row_segments, "col_segments": weight.col_segments, "columns": options.columns,
             "threads": options.threads}
    aim, note = array, ""
    if method in MOVING:
        if inputs.correction is not None:
            aim = (array.astype(np.float64) @ inputs.correction).astype(np.float32)
        result = update(aim, pattern, inputs.gram, method, options, shape)
        pruned, note = result.weight.astype(array.dtype), result.note
        if not np.isfinite(pruned.astype(np.float32)).all():  # compensation makes weights larger, and a narrow dtype has an end
            pruned = masked(array, result.mask)
            note = "; ".join(filter(None, [note, f"compensated weights are too large for {array.dtype}: mask only"]))
    else:
        scores = array
        if method != "magnitude":
            scores = _core.score_weights(array, method, inputs.square_sums, threads=options.threads)
        pruned = masked(array, _core.score_mask(scores, pattern, **shape))
    error = None if inputs is None else _core.output_error(aim, pruned, inputs.gram, threads=options.threads)
    return pruned, PrunedWeight(weight.name, weight.shape, str(pattern), method, error, time.perf_counter() - begin, note)


def update(array, pattern, gram, method, options, shape):
    if method == "obs":
        return _core.obs_prune(array, pattern, gram, damping=options.damping, choice=options.choice, **shape)
    return _core.admm_prune(array, pattern, gram, damping=options.damping, iterations=options.iterations, **shape)


def masked(array, mask):
    return np.where(mask, array, np.zeros((), array.dtype))
