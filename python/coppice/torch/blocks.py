"""Transformer blocks of `transformers` whose activations stay in the layout that the kernels read.

    coppice.torch.sparsify_(model)
    print(coppice.torch.replace_blocks_(model))
"""

from dataclasses import dataclass, field

from torch import nn

from .._core import InvalidArgument
from ..models.blocks import blocks_of
from ..models.report import table
from ._block_modules import FeatureLinear, FeatureNorm, GatedMlp, Stack, StackedProjection, is_gathered, norm_refusal
from ._block_table import roles_of
from ._linear import SparseLinear

# Activation modules of PyTorch and transformers -> the name of the same function here.
_ACTIVATIONS = {"GELUActivation": "gelu", "NewGELUActivation": "gelu_tanh", "GELUTanh": "gelu_tanh", "PytorchGELUTanh": "gelu_tanh",
                "FastGELUActivation": "gelu_tanh", "ReLU": "relu", "SiLU": "silu", "SiLUActivation": "silu"}


@dataclass
class BlockPart:
    """What became of one part of a block."""

    block: int
    part: str  # "norm", "stack", "gated MLP" or "activation"
    modules: tuple
    reason: str = ""  # why it was left as it was; empty: replaced


@dataclass
class BlocksReport:
    parts: list = field(default_factory=list)

    @property
    def replaced(self):
        return [part for part in self.parts if not part.reason]

    def __str__(self):
        """Equal blocks in one line."""
        lines = {}
        for part in self.parts:
            lines.setdefault((part.part, part.modules, part.reason), []).append(part.block)
        return table(["part", "modules", "blocks", "why not"],
                     [[part, " ".join(modules), str(len(blocks)), reason] for (part, modules, reason), blocks in lines.items()])


def replace_blocks_(model):
    """Replaces norms, attention projections and MLPs of a model of transformers, in place, and says what it did: a BlocksReport.

    After sparsify_: only parts of which all linear layers are SparseLinear change. Projections of one input become one weight and
    one product; an activation becomes part of the product before it; on a GPU the tensors between norms and layers are
    feature-major, so that gathered patterns pay for no transpose. Results are those of before but for rounding. Which models, and
    which module plays which part: the table in docs/torch.md (_block_table.py). The state_dict stays as it was, in names and
    arrays: such a model is saved and loaded like one whose blocks were not replaced.
    """
    roles, blocks = roles_of(model), blocks_of(model)
    if roles is None or blocks is None:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise InvalidArgument(f"replace_blocks_ does not know the blocks of {kind}; its table is in docs/torch.md")
    report = BlocksReport()
    for i, block in enumerate(blocks):
        report.parts += [BlockPart(i, *part) for part in _replace_block(block, roles)]
    return report


def _replace_block(block, roles):
    parts = []
    # Norms first: they ask what their readers are, which change then.
    for norm, readers in roles.norms.items():
        parts.append(("norm", (norm,), _replace_norm(block, norm, readers)))
    for names in roles.stacks:
        parts.append(("stack", names, _replace_stack(block, names)))
    for name, of in roles.gated.items():
        parts.append(("gated MLP", (name,), _replace_gated(block, name, of)))
    for name, activation in roles.firsts.items():
        parts.append(("activation", (name, activation), _replace_first(block, name, activation)))
    for name, readers in roles.norms.items():
        if isinstance(norm := block.get_submodule(name), FeatureNorm):
            norm.reads([block.get_submodule(reader) for reader in readers])
    return parts


def _found(block, names):
    """(modules, why not all of them are sparse layers)"""
    modules = []
    for name in names:
        try:
            modules.append(block.get_submodule(name))
        except AttributeError:
            return modules, f"there is no {name}"
    dense = [name for name, module in zip(names, modules) if type(module) is not SparseLinear]
    if dense:
        return modules, f"not compressed: {' '.join(dense)}" if not isinstance(modules[0], (StackedProjection, FeatureLinear)) \
            else "replaced before"
    return modules, ""


def _put(block, name, module):
    parent, _, child = name.rpartition(".")
    setattr(block.get_submodule(parent), child, module)


def _replace_norm(block, name, readers):
    layers, reason = _found(block, readers)
    if reason:
        return reason
    if not all(is_gathered(layer) for layer in layers):
        return "what reads it takes either layout"
    norm = block.get_submodule(name)
    reason = norm_refusal(norm)
    if not reason:
        _put(block, name, FeatureNorm(norm).train(norm.training))
    return reason


def _replace_stack(block, names):
    layers, reason = _found(block, names)
    reason = reason or Stack.refusal(layers)
    if reason:
        return reason
    stack = Stack.of(layers).train(layers[0].training)
    for i, name in enumerate(names):
        _put(block, name, StackedProjection(stack, i).train(layers[i].training))
    return ""


def _activation_name(module):
    kind = type(module).__name__
    if kind == "GELU":
        return "gelu_tanh" if module.approximate == "tanh" else "gelu"
    return _ACTIVATIONS.get(kind)


def _replace_gated(block, name, of):
    names = (of.gate, of.up, of.down)
    if isinstance(block.get_submodule(name), GatedMlp):
        return "replaced before"
    layers, reason = _found(block, [f"{name}.{one}" for one in names])
    if reason:
        return reason
    gate, up, _ = layers
    activation = _activation_name(block.get_submodule(f"{name}.{of.activation}"))
    if activation is None:
        return "its activation is not one of gelu, gelu_tanh, relu, silu"
    if gate.activation != "none" or up.activation != "none":
        return "a layer has an activation of its own"
    if gate.weight.dtype != up.weight.dtype:
        return "dtypes differ"
    _put(block, name, GatedMlp(names, *layers, activation).train(gate.training))
    return ""


def _replace_first(block, name, activation_name):
    (layer, *_), reason = _found(block, [name])
    if reason:
        return reason
    activation = _activation_name(block.get_submodule(activation_name))
    if activation is None or layer.activation != "none":
        return "its activation is not one of gelu, gelu_tanh, relu, silu"
    layer.activation = activation
    _put(block, name, FeatureLinear(layer).train(layer.training))
    _put(block, activation_name, nn.Identity())
    return ""
