"""Zeros in the weights of a model's linear layers."""

from dataclasses import dataclass, field

import numpy
import torch

from .. import Statistics, admm_prune, fisher_prune, magnitude_mask, obs_prune, output_error, score_mask, score_weights
from .._core import InvalidArgument
from ._layers import linear_layers, pattern_for, table
from ._linear import dense_weight, is_conv1d

METHODS = ("magnitude", "scores", "wanda", "ria", "obs", "admm", "fisher")
_NEEDS = {"scores": "scores", **dict.fromkeys(("wanda", "ria", "obs", "admm", "fisher"), "statistics")}


@dataclass
class LayerResult:
    """What became of one layer."""

    name: str
    shape: tuple
    pattern: str = ""  # empty: left dense
    reason: str = ""  # why it was left dense
    kept_magnitude: float | None = None  # sum of |w| after over before; with obs and admm weights also move
    error: float | None = None  # ||X W^T - X V^T|| / ||X W^T|| on the statistics, if there is a Gram matrix


@dataclass
class PruneReport:
    method: str
    layers: list = field(default_factory=list)

    @property
    def pruned(self):
        return [layer for layer in self.layers if layer.pattern]

    def __str__(self):
        rows = [[layer.name, "x".join(map(str, layer.shape)), layer.pattern or "dense",
                 "" if layer.kept_magnitude is None else f"{100 * layer.kept_magnitude:.1f} %",
                 "" if layer.error is None else f"{layer.error:.4g}", layer.reason] for layer in self.layers]
        return table(["layer", "shape", "pattern", "magnitude", "error", "why dense"], rows)


def _array(value, dtype):
    value = value.detach().cpu() if isinstance(value, torch.Tensor) else value
    return numpy.ascontiguousarray(value, dtype)


class _LayerOfFile:
    """What a statistics file knows of a weight."""

    def __init__(self, file, weight):
        self.file, self.weight = file, weight

    @property
    def square_sums(self):
        return self.file.square_sums(self.weight)

    @property
    def gram(self):
        try:
            return self.file.gram(self.weight)
        except InvalidArgument:  # sums of squares only
            return None


def _by_layer(statistics, model):
    """A mapping by the layers' names; of a file, with or without the prefix of the model's base."""
    if not isinstance(statistics, Statistics):
        return statistics
    prefix, found = getattr(model, "base_model_prefix", "") or "", {}
    for weight in statistics.weights:
        for name in (f"{prefix}.{weight}", weight.removeprefix(prefix + "."), weight):
            found[name] = _LayerOfFile(statistics, weight)
    return found


def _of_layer(mapping, what, name):
    for key in (name, f"{name}.weight"):
        if key in mapping:
            return mapping[key]
    raise InvalidArgument(f"{what} has nothing for the layer {name}; give it, or leave the layer out with filter=")


def _sums(statistics, name):
    """(square sums, Gram matrix or None) of the layer's inputs."""
    given = _of_layer(statistics, "statistics", name)
    if hasattr(given, "gram"):  # a coppice.Gram, or an object like it
        gram = given.gram
        if gram is not None:
            return _array(given.square_sums, numpy.float64), _array(gram, numpy.float64)
        return _array(given.square_sums, numpy.float64), None
    given = _array(given, numpy.float64)
    return (given, None) if given.ndim == 1 else (numpy.ascontiguousarray(given.diagonal()), given)


def _prune_weight(name, weight, pattern, method, statistics, scores, options):
    """(new weight of the dtype of the old one, error or None)."""
    gram = None
    if method == "fisher":
        given = _of_layer(statistics, "statistics", name)
        sums, samples = given.file.fisher(given.weight) if isinstance(given, _LayerOfFile) else given
        result = fisher_prune(weight, pattern, _array(sums, numpy.float64), samples, **options)
        return torch.from_numpy(numpy.asarray(result.weight)).to(weight.dtype), None
    if method in ("obs", "admm"):
        gram = _sums(statistics, name)[1]
        if gram is None:
            raise InvalidArgument(f"method {method} needs the Gram matrix [cols, cols] of {name}, got sums of squares")
        prune = obs_prune if method == "obs" else admm_prune
        return torch.from_numpy(numpy.asarray(prune(weight, pattern, gram, **options).weight)).to(weight.dtype), gram
    if method == "magnitude":
        mask = magnitude_mask(weight, pattern, **options)
    elif method == "scores":
        mask = score_mask(_array(_of_layer(scores, "scores", name), numpy.float32), pattern, **options)
    else:
        squares, gram = _sums(statistics, name)
        mask = score_mask(score_weights(weight, method, squares), pattern, **options)
    return torch.where(torch.from_numpy(mask), weight, torch.zeros((), dtype=weight.dtype)), gram


def prune_(model, pattern, method="magnitude", *, filter=None, statistics=None, scores=None, options=None):
    """Prunes the linear layers of a model in place and says what it did: a PruneReport.

    pattern: one for all layers, {glob: pattern} or pattern(name, module); filter: globs or filter(name, module); layers
    that neither names stay dense, as do output heads, shared weights and subclasses of nn.Linear. method: "magnitude";
    "scores" (scores: {layer: array [rows, cols]}); "wanda", "ria" (statistics: {layer: coppice.Gram, Gram matrix or sums
    of squares of its inputs}); "obs", "admm" (statistics: {layer: coppice.Gram or Gram matrix}); "fisher"
    (statistics: {layer: (sums, samples)} as fisher_prune takes them). statistics may be a coppice.Statistics, a file of
    coppice.calibrate. options: of the function that prunes one weight, such as {"damping": 0.1} of obs_prune. Everything is checked per layer before it changes; a
    layer that fails raises, and those before it are pruned. Works on the CPU, wherever the model is.
    """
    if method not in METHODS:
        raise InvalidArgument(f'method: got "{method}", needs one of {", ".join(METHODS)}')
    if method in _NEEDS and (statistics if _NEEDS[method] == "statistics" else scores) is None:
        raise InvalidArgument(f'method "{method}" needs {_NEEDS[method]}=, a mapping by layer')
    report, statistics = PruneReport(method), _by_layer(statistics, model)
    for name, module, reason in linear_layers(model, filter):
        layer = LayerResult(name, tuple(dense_shape(module)), reason=reason)
        report.layers.append(layer)
        wanted = None if reason else pattern_for(pattern, name, module)
        if wanted is None:
            layer.reason = reason or "no pattern for it"
            continue
        before = dense_weight(module).cpu()
        after, gram = _prune_weight(name, before, wanted, method, statistics, scores, options or {})
        total = before.double().abs().sum().item()
        layer.pattern = str(wanted)
        layer.kept_magnitude = after.double().abs().sum().item() / total if total > 0 else 1.0
        layer.error = None if gram is None else output_error(before, after, gram)
        with torch.no_grad():
            module.weight.copy_(after.t() if is_conv1d(module) else after)
        module.coppice_pattern = layer.pattern  # for sparsify_
    return report


def dense_shape(module):
    shape = tuple(module.weight.shape)
    return shape[::-1] if is_conv1d(module) else shape
