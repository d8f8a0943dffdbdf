"""Compressed layers of a model, and their entries in config.json (docs/checkpoint.md)."""

import torch

from .._core import InvalidArgument, Pattern
from ..models.names import linear_modules, saved_names
from ..torch import SparseLinear
from ..torch._block_state import sparse_layers
from ..torch._linear import is_conv1d

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
FORMAT_VERSION = 1


def install(model, weights):
    """Puts an empty SparseLinear, on the meta device, where each weight of `weights` belongs."""
    modules = linear_modules(model, set(weights)) if weights else {}
    names = {module: name for name, module in model.named_modules()}
    for weight, entry in weights.items():
        if weight not in modules:
            what = "one of a stack of experts" if "stack" in entry else "no linear layer"
            raise InvalidArgument(
                f"packed weight '{weight}' is {what} of a {type(model).__name__}; run 'coppice unpack' and load the dense checkpoint")
        replace(model, names[modules[weight]], empty_layer(modules[weight], weight, entry))


def empty_layer(module, weight, entry):
    """What will hold a packed weight, in place of its dense module."""
    own = module.weight.shape
    rows, cols = (own[1], own[0]) if is_conv1d(module) else own
    if list(entry.get("shape", ())) != [rows, cols]:
        raise InvalidArgument(f"packed weight '{weight}' is {entry.get('shape')}, the model's is [{rows}, {cols}]")
    return SparseLinear(
        cols, rows, Pattern(entry["pattern"]), module.bias is not None, row_segments=entry.get("row_segments", ()),
        col_segments=entry.get("col_segments", ()), permuted=bool(entry.get("input_permutation")), device="meta",
        dtype=module.weight.dtype)


def replace(model, name, module):
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def entries_of(model):
    """{weight: its entry in config.json}, of all SparseLinear modules."""
    layers = sparse_layers(model)
    saved = saved_names(model)
    with torch.device("meta"):
        dense = type(model)(model.config)  # tells which layers are stored [in, out]
    entries = {}
    for name, layer in layers.items():
        stored = saved.get(f"{name}.weight.values", f"{name}.weight.values").removesuffix(".values")
        grid = layer.weight.grid
        entry = {"tensor": stored, "pattern": str(grid.pattern), "dtype": DTYPES[layer.weight.dtype], "shape": [grid.rows, grid.cols]}
        if is_conv1d(dense.get_submodule(name)):
            entry["transposed"] = True
        if grid.row_segments:
            entry["row_segments"] = list(grid.row_segments)
        if grid.col_segments:
            entry["col_segments"] = list(grid.col_segments)
        if layer.weight.input_permutation is not None:
            entry["input_permutation"] = True
        entries[stored] = entry
    return entries


def describe_(model):
    """Makes save_pretrained of a transformers model with SparseLinear layers write a packed checkpoint. Returns the model.

    coppice.torch.sparsify_ does it for the models of transformers.
    """
    from .quantizer import CoppiceConfig, CoppiceQuantizer

    if not sparse_layers(model):
        raise InvalidArgument("the model has no SparseLinear; coppice.torch.sparsify_ makes them of pruned layers")
    model.config.quantization_config = CoppiceConfig()  # save_pretrained has the layers described, as they are then
    model.hf_quantizer = CoppiceQuantizer(model.config.quantization_config, pre_quantized=True)
    model.is_quantized = True
    model.quantization_method = CoppiceConfig.METHOD
    return model
