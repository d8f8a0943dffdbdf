"""Pruned nn.Linear -> SparseLinear."""

import sys
from dataclasses import dataclass, field

from torch import nn

from .. import detect
from .._core import InvalidArgument
from . import _cuda
from ._layers import linear_layers, pattern_for, table
from ._linear import SparseLinear, dense_weight
from ._prune import dense_shape


@dataclass
class SparsifiedLayer:
    name: str
    shape: tuple
    pattern: str = ""  # empty: left dense
    reason: str = ""  # why it was left dense
    dense_bytes: int = 0
    nbytes: int = 0  # of the weight now


@dataclass
class SparsifyReport:
    layers: list = field(default_factory=list)

    @property
    def sparse(self):
        return [layer for layer in self.layers if layer.pattern]

    @property
    def dense(self):
        return [layer for layer in self.layers if not layer.pattern]

    def __str__(self):
        rows = [[layer.name, "x".join(map(str, layer.shape)), layer.pattern or "dense", str(layer.dense_bytes),
                 str(layer.nbytes), layer.reason] for layer in self.layers]
        return table(["layer", "shape", "pattern", "dense bytes", "bytes", "why dense"], rows)


def _read_by_parent(model):
    """Linear layers whose weight the module above reads itself, past their forward."""
    return {f"{name}.{child}" if name else child
            for name, module in model.named_modules() if isinstance(module, nn.TransformerEncoderLayer)
            for child in ("linear1", "linear2")}


def _pattern_of(weight, module, wanted):
    """The pattern to store a weight in: the one asked for, the one it was pruned to, or the tightest that it satisfies."""
    if wanted is not None:
        return wanted
    remembered = getattr(module, "coppice_pattern", None)
    if remembered is not None:
        return remembered
    tightest = detect(weight)[0]
    return None if tightest.is_dense else tightest


def _sparse(module, weight, wanted):
    """(SparseLinear, "") or (None, why not)."""
    if not bool((weight == 0).any()):
        return None, "nothing of it is zero: prune it first"
    pattern = _pattern_of(weight, module, wanted)
    if pattern is None:
        return None, "satisfies no pattern of the standard list; name one with pattern="
    try:
        layer = SparseLinear.from_linear(module, pattern)
    except InvalidArgument as error:
        return None, f"does not satisfy {pattern}: {error}"
    if layer.weight.device.type == "cuda":
        refusal = _cuda.refusal(layer.pattern, layer.weight.dtype)
        if refusal:
            return None, refusal
    return layer, ""


def _describe(model):
    """Tells transformers, if the model is one of its own: save_pretrained then writes a packed checkpoint."""
    transformers = sys.modules.get("transformers")
    if transformers is not None and isinstance(model, transformers.PreTrainedModel):
        from ..huggingface import describe_

        describe_(model)


def sparsify_(model, pattern=None, *, filter=None):
    """Replaces the pruned linear layers of a model by SparseLinear, in place, and says what it did: a SparsifyReport.

    pattern: as in prune_; None takes what prune_ pruned to, or else the tightest pattern that a weight satisfies. filter:
    as in prune_; what it leaves out stays dense. Nothing is pruned here: a layer whose weight does not satisfy its pattern
    stays dense, with the reason in the report. The model itself cannot be replaced: use SparseLinear.from_linear.
    """
    if isinstance(model, nn.Linear):
        raise InvalidArgument("sparsify_ replaces layers of a model; of one layer use SparseLinear.from_linear")

    def make(name, module):
        wanted = None
        if pattern is not None:
            wanted = pattern_for(pattern, name, module)
            if wanted is None:
                return None, "no pattern for it"
        return _sparse(module, dense_weight(module).cpu(), wanted)

    return replace_(model, filter, make)


def replace_(model, filter, make):
    """Puts what make(name, module) -> (SparseLinear, "") or (None, why not) gives in the place of the model's linear layers: a
    SparsifyReport."""
    report = SparsifyReport()
    unsafe = _read_by_parent(model)
    for name, module, reason in list(linear_layers(model, filter)):
        result = SparsifiedLayer(name, tuple(dense_shape(module)), dense_bytes=module.weight.nbytes, nbytes=module.weight.nbytes)
        report.layers.append(result)
        if not reason and name in unsafe:
            reason = "nn.TransformerEncoderLayer reads its weight itself"
        if not reason:
            layer, reason = make(name, module)
        if reason:
            result.reason = reason
            continue
        result.pattern, result.nbytes = str(layer.pattern), layer.weight.nbytes
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    if report.sparse:
        _describe(model)
    return report
