"""Which modules of a model are linear layers that can be pruned and compressed, and what is said of each."""

from fnmatch import fnmatch

from torch import nn

from .. import Pattern
from .._core import InvalidArgument
from ..models.report import table  # noqa: F401  for the reports beside it
from ._linear import is_conv1d
from ._names import DTYPES


def chosen(filter, name, module):
    """filter: None (all), a glob or several of them on the module's name, or filter(name, module) -> bool."""
    if filter is None:
        return True
    if callable(filter):
        return bool(filter(name, module))
    globs = [filter] if isinstance(filter, str) else filter
    return any(fnmatch(name, glob) for glob in globs)


def pattern_for(pattern, name, module):
    """pattern: one for all, {glob: pattern} of which the first that fits counts, or pattern(name, module); None keeps a
    layer dense."""
    if isinstance(pattern, dict):
        pattern = next((p for glob, p in pattern.items() if fnmatch(name, glob)), None)
    elif callable(pattern):
        pattern = pattern(name, module)
    if isinstance(pattern, str):
        pattern = Pattern(pattern)
    if pattern is not None and not isinstance(pattern, Pattern):
        raise InvalidArgument(f"pattern of {name}: got {type(pattern).__name__}, needs a Pattern, its spelling or None")
    return None if pattern is None or pattern.is_dense else pattern


def _shared_weights(model):
    """The ids of parameters that more than one module holds."""
    seen, shared = {}, set()
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None and seen.setdefault(id(parameter), module) is not module:
                shared.add(id(parameter))
    return shared


def _output_head(model):
    get = getattr(model, "get_output_embeddings", None)
    try:
        return get() if callable(get) else None
    except NotImplementedError:
        return None


def linear_layers(model, filter):
    """(name, module, reason to leave it alone or "") of every linear layer, in the order of the model."""
    shared, head = _shared_weights(model), _output_head(model)
    for name, module in model.named_modules():
        if not (isinstance(module, nn.Linear) or is_conv1d(module)):
            continue
        weight = module.weight
        if not chosen(filter, name, module):
            reason = "not chosen by the filter"
        elif type(module) is not nn.Linear and not is_conv1d(module):
            reason = f"a {type(module).__name__}, whose forward may be another than nn.Linear's"
        elif module is head:
            reason = "the output head"
        elif id(weight) in shared:
            reason = "shares its weight with another module"
        elif weight.dtype not in DTYPES:
            reason = f"{weight.dtype}: needs float32, float16 or bfloat16"
        elif weight.device.type == "meta":
            reason = "on the meta device: it has no weights"
        else:
            reason = ""
        yield name, module, reason
