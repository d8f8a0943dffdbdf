"""What replace_blocks_ puts into a model. Each computes what it replaced; where a gradient is wanted, by the modules it was made of."""

import copy

import torch
from torch import nn

from . import _block_ops, _cuda, _products
from ._block_state import PartOfStack, Wrapper, rows_between
from ._names import DTYPES
from ._weight import SparseWeight


def _fused(x, *parameters):
    """Whether x may go past autograd and autocast, to a GPU's kernels of 16 bits."""
    if not x.is_cuda or x.dtype is torch.float32 or x.dtype not in DTYPES or torch.is_autocast_enabled("cuda"):
        return False
    if torch.is_grad_enabled() and (x.requires_grad or any(p is not None and p.requires_grad for p in parameters)):
        return False
    return all(p is None or p.dtype is x.dtype for p in parameters)


def _tokens(x):
    return x.shape[:-1].numel()


def _epsilon(norm):
    epsilon = getattr(norm, "variance_epsilon", None)
    return float(norm.eps if epsilon is None else epsilon)


def norm_refusal(norm):
    """Why a module is not a norm that the kernels know; empty if it is one."""
    if isinstance(norm, nn.LayerNorm) and len(norm.normalized_shape) == 1:
        return ""
    known = isinstance(norm, nn.RMSNorm) and norm.eps is not None or \
        type(norm).__name__.endswith("RMSNorm") and hasattr(norm, "variance_epsilon")
    return "" if known and norm.weight.dim() == 1 else f"{type(norm).__name__} is not a norm that is known here"


class FeatureNorm(Wrapper):
    """A norm whose output is feature-major for many tokens on a GPU, where what reads it would copy it into that layout; otherwise
    the norm itself."""

    inner = "norm"

    def __init__(self, norm):
        super().__init__()
        self.norm = norm
        self.readers = ()
        self.rms = not isinstance(norm, nn.LayerNorm)
        self.epsilon = _epsilon(norm)

    def forward(self, x):
        weight, bias = self.norm.weight, getattr(self.norm, "bias", None)
        tokens = _tokens(x)
        if _fused(x, weight, bias) and _block_ops.wants_features(tokens) \
                and not (self.readers and _block_ops.reads_tokens(self.readers, x.dtype, int(tokens), x.device.index)):
            return _block_ops.norm(x, weight, bias, self.epsilon, self.rms)
        return self.norm(x)

    def reads(self, modules):
        """Says what multiplies its output: the modules that a block's linear layers have become."""
        weights = [_layer_of(module).weight for module in modules]
        self.readers = tuple(dict.fromkeys((weight.layout, weight.input_permutation is not None) for weight in weights))


def _layer_of(module):
    return module.stack.layer if isinstance(module, StackedProjection) else module.layer if isinstance(module, FeatureLinear) else module


def _turned(layer):
    """The same parameters and weight in the layout "feature"; whoever holds it does not register it, so that nothing is listed twice."""
    other = copy.copy(layer)
    other.layout, other.by_features = "feature", True
    return other


def _by_features(turned, x):
    """Feature-major [..., rows]"""
    y = turned(x.reshape(-1, x.shape[-1]).t())
    return y.t().view(*x.shape[:-1], y.shape[0])


class FeatureLinear(Wrapper):
    """A SparseLinear whose output is feature-major for many tokens on a GPU, for the layer behind it."""

    inner = "layer"

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.__dict__["turned"] = _turned(layer)

    def forward(self, x):
        layer = self.layer
        if _fused(x, layer.weight.values, layer.bias) and _block_ops.wants_features(_tokens(x)):
            return _by_features(self.turned, x)
        return layer(x)


class GatedMlp(nn.Module):
    """down(act(gate x) * up x); on a GPU the first two in one launch for few tokens, and without a tensor between them for many. The
    names are those of the MLP that it replaces."""

    def __init__(self, names, gate, up, down, activation):
        super().__init__()
        self.names, self.activation = names, activation
        for name, layer in zip(names, (gate, up, down)):
            self.add_module(name, layer)
        self.few_tokens_only = any(_cuda.few_tokens_only(layer.weight.layout) for layer in (gate, up))

    def forward(self, x):
        gate, up, down = (self._modules[name] for name in self.names)
        few = _tokens(x) <= _block_ops.FEW_TOKENS
        if not _fused(x, gate.weight.values, gate.bias, up.weight.values, up.bias) or (self.few_tokens_only and not few):
            return down(_products.activate(gate(x), self.activation) * up(x))
        *gate_arrays, gate_layout = gate.weight.operands()
        *up_arrays, up_layout = up.weight.operands()
        both = (x, *gate_arrays, gate.bias, gate_layout, *up_arrays, up.bias, up_layout)
        invariant = gate.batch_invariant or up.batch_invariant
        if few:
            first, second = _block_ops.pair(*both, invariant)
            hidden = _products.activate(first, self.activation) * second
        else:
            hidden = _block_ops.gated(*both, self.activation, _block_ops.wants_features(_tokens(x)), invariant)
        return down(hidden)


class Stack(nn.Module):
    """Projections of one input as one weight: the first that is asked multiplies for all, the others take what waits for them."""

    def __init__(self, layer, lengths):
        super().__init__()
        self.layer, self.sizes, self.lengths = layer, lengths["values"], lengths
        self._forget()

    def _forget(self):
        self.x, self.version, self.parts, self.taken = None, None, None, 0

    @staticmethod
    def refusal(layers):
        first = layers[0].weight
        if any(l.weight.is_frozen for l in layers):
            return "some are frozen: replace blocks first"
        if any(l.pattern != first.pattern or l.weight.dtype != first.dtype for l in layers):
            return "patterns or dtypes differ"
        if any((l.bias is None) != (layers[0].bias is None) for l in layers) or any(l.activation != "none" for l in layers):
            return "some have a bias or an activation"
        if any(l.weight.grid.row_segments or l.weight.grid.col_segments != first.grid.col_segments for l in layers):
            return "segments differ"
        orders = [l.weight.input_permutation for l in layers]
        if any((o is None) != (orders[0] is None) or o is not None and not torch.equal(o, orders[0]) for o in orders):
            return "input permutations differ"
        return ""

    @classmethod
    def of(cls, layers):
        first = layers[0]
        layer = _with_weight(first, _stacked_weight([one.weight for one in layers]))
        if first.bias is not None:
            bias = torch.cat([one.bias.detach() for one in layers])
            layer.bias = nn.Parameter(bias, requires_grad=first.bias.requires_grad)
        arrays = {name: [getattr(one.weight, name) for one in layers] for name in _ARRAYS}
        return cls(layer, {name: [len(part) for part in parts] for name, parts in arrays.items() if parts[0] is not None})

    def part(self, index):
        """One of the layers by itself, over the same memory."""
        whole, rows = self.layer.weight, self.sizes[index]
        weight = SparseWeight(whole.pattern, (rows, whole.shape[1]), col_segments=whole.grid.col_segments, dtype=whole.dtype,
                              device="meta")
        arrays = {name: rows_between(getattr(whole, name), lengths, index) for name, lengths in self.lengths.items()}
        weight.values = nn.Parameter(arrays.pop("values"), requires_grad=whole.values.requires_grad)
        for name, array in arrays.items():
            setattr(weight, name, array)
        weight.input_permutation, weight.borrowed = whole.input_permutation, True
        layer, bias = _with_weight(self.layer, weight), self.layer.bias
        if bias is not None:
            layer.bias = nn.Parameter(rows_between(bias, self.sizes, index), requires_grad=bias.requires_grad)
        return layer

    def take(self, x, index):
        version = None if torch.compiler.is_compiling() or x.is_inference() else x._version
        if self.x is not x or self.version != version or self.taken >> index & 1:
            self.x, self.version, self.taken = x, version, 0
            self.parts = self.layer(x).split(self.sizes, -1)
        part = self.parts[index]
        self.taken |= 1 << index
        if self.taken == (1 << len(self.sizes)) - 1:
            self._forget()
        return part


_ARRAYS = ("values", "columns", "metadata")


def _with_weight(layer, weight):
    """A layer like this one, of another weight."""
    other = copy.copy(layer)
    other.__dict__.update(_parameters=dict(layer._parameters), _modules=dict(layer._modules))
    other.weight = weight
    return other


def _stacked_weight(weights):
    """The canonical arrays below each other: rows, and with them vectors, follow each other in all of them."""
    first = weights[0]
    rows = [weight.shape[0] for weight in weights]
    vectors_fit = all(n % first.pattern.vec_rows == 0 for n in rows[:-1])
    made = SparseWeight(first.pattern, (sum(rows), first.shape[1]), row_segments=() if vectors_fit else rows,
                        col_segments=first.grid.col_segments, dtype=first.dtype, device="meta")
    arrays = [None if parts[0] is None else torch.cat([part.detach() for part in parts])
              for parts in zip(*(weight.arrays()[:3] for weight in weights))]
    made.values = nn.Parameter(arrays[0], requires_grad=first.values.requires_grad)
    made.columns, made.metadata = arrays[1:]
    made.input_permutation = first.input_permutation
    return made


class StackedProjection(PartOfStack):
    """One of the projections of a Stack, which the first of them holds."""

    def __init__(self, stack, index):
        super().__init__()
        self.index = index
        if index == 0:
            self.stack = stack
        else:
            self.__dict__["stack"] = stack

    @property
    def out_features(self):
        return self.stack.sizes[self.index]

    def forward(self, x):
        return self.stack.take(x, self.index)


def is_gathered(layer):
    """Whether the GPU's kernels for many tokens read their activations feature-major."""
    return layer.pattern.kind == "vnm" or layer.weight.input_permutation is not None
