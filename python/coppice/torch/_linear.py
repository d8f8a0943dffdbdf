"""SparseLinear."""

import torch
from torch import nn

from .. import compress, magnitude_mask
from .._core import InvalidArgument
from . import _ops, _products
from ._weight import SparseWeight

_LAYOUTS = ("token", "feature")
_modes_active = torch._C._len_torch_dispatch_stack
_transforms = torch._C._functorch.peek_interpreter_stack
_tracer = torch._C._get_tracing_state  # of torch.jit.trace


class SparseLinear(nn.Module):
    """y = activation(W x + bias) with a compressed weight; in place of nn.Linear.

    layout "token": x [..., in_features] gives [..., out_features]; "feature": x [in_features, tokens] gives
    [out_features, tokens]. Either may be strided: `x.t()` costs nothing. A new layer has the weights of a new nn.Linear,
    pruned by magnitude. Set `batch_invariant` to get the same bits for a token whatever tokens stand beside it (GPU).
    """

    batch_invariant = False

    def __init__(self, in_features, out_features, pattern, bias=True, *, activation=None, layout="token", row_segments=(),
                 col_segments=(), permuted=False, device=None, dtype=None):
        super().__init__()
        self._set(activation, layout)
        self.weight = SparseWeight(pattern, (out_features, in_features), row_segments=row_segments,
                                   col_segments=col_segments, permuted=permuted, dtype=dtype, device=device)
        self.register_parameter(
            "bias", nn.Parameter(torch.zeros(out_features, dtype=self.weight.dtype, device=device)) if bias else None)
        if self.weight.device.type != "meta":
            self.reset_parameters()

    def _set(self, activation, layout):
        self.activation = _ops.check_activation(activation)
        if layout not in _LAYOUTS:
            raise InvalidArgument(f'layout: got "{layout}", needs one of token, feature')
        self.layout = layout
        self.by_features = layout == "feature"

    def reset_parameters(self):
        """Weights and bias as nn.Linear initialises them, then pruned by magnitude, with a new mask."""
        rows, cols = self.weight.shape
        dense = nn.Linear(cols, rows, bias=self.bias is not None)
        grid = self.weight.grid
        segments = {"row_segments": grid.row_segments, "col_segments": grid.col_segments}
        mask = magnitude_mask(dense.weight, grid.pattern, **segments)
        made = SparseWeight.from_matrix(compress(dense.weight, mask, grid.pattern, **segments))
        with torch.no_grad():
            for own, new in zip(self.weight.arrays()[:3], made.arrays()[:3]):
                if own is not None:
                    own.copy_(new)
            if self.bias is not None:
                self.bias.copy_(dense.bias)

    @classmethod
    def from_matrix(cls, matrix, bias=None, *, activation=None, layout="token"):
        """From a coppice.SparseMatrix and a bias, or None; both are copied, to the CPU."""
        layer = cls.__new__(cls)
        nn.Module.__init__(layer)
        layer._set(activation, layout)
        layer.weight = SparseWeight.from_matrix(matrix)
        layer.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach().cpu().clone()))
        return layer

    @classmethod
    def from_linear(cls, linear, pattern, mask=None, *, activation=None, layout="token", row_segments=(), col_segments=(),
                    input_permutation=None):
        """From an nn.Linear (or the Conv1D of transformers), on its device. mask: bool [out_features, in_features]; None
        takes the weights that are not zero, which must satisfy the pattern."""
        weight = dense_weight(linear)
        mask = None if mask is None else torch.as_tensor(mask).cpu()
        matrix = compress(weight.cpu(), mask, pattern, row_segments=list(row_segments), col_segments=list(col_segments),
                          input_permutation=input_permutation)
        layer = cls.from_matrix(matrix, linear.bias, activation=activation, layout=layout).to(weight.device)
        layer.weight.values.requires_grad_(linear.weight.requires_grad)
        if layer.bias is not None:
            layer.bias.requires_grad_(linear.bias.requires_grad)
        return layer.train(linear.training)

    def to_linear(self):
        """An nn.Linear of the same weight, dense and bit for bit; activation and layout do not go with it."""
        weight = self.weight
        linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta", dtype=weight.dtype)
        linear.weight = nn.Parameter(weight.to_dense(), requires_grad=weight.values.requires_grad)
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=self.bias.requires_grad)
        return linear.train(self.training)

    @property
    def in_features(self):
        return self.weight.grid.cols

    @property
    def out_features(self):
        return self.weight.grid.rows

    @property
    def pattern(self):
        return self.weight.pattern

    def to_dense(self):
        """The dense weight [out_features, in_features]; see SparseWeight.to_dense."""
        return self.weight.to_dense()

    def freeze_(self, device=None, dtype=None):
        """For inference: the GPU holds the weight once. See SparseWeight.freeze_, and `coppice.torch.freeze_` for models."""
        self.weight.freeze_(device, dtype)
        bias = self.bias
        if bias is not None and bias.device != self.weight.device:
            self.bias = nn.Parameter(bias.detach().to(self.weight.device), requires_grad=bias.requires_grad)
        return self

    def thaw_(self):
        self.weight.thaw_()
        return self

    def forward(self, x):
        weight, bias = self._modules["weight"], self._parameters["bias"]
        values, columns, metadata, permutation, layout = weight.operands()
        is_frozen = weight.frozen_dtype is not None
        device = x.device.type
        is_meta = device == "meta"  # which autocast does not know, and for which only the operators have a kernel
        if not is_meta and torch.is_autocast_enabled(device) and x.is_floating_point() and x.dtype is not torch.float64:
            x = x.to(torch.get_autocast_dtype(device))
        elif x.dtype is not values.dtype and not is_frozen:
            raise InvalidArgument(f"x is {x.dtype} and the weight {values.dtype}; convert one of them")
        if torch.is_grad_enabled():
            if x.requires_grad or values.requires_grad or (bias is not None and bias.requires_grad):
                if is_frozen:
                    raise InvalidArgument("a frozen layer has no gradients: call it under torch.no_grad(), or thaw_() it")
                # The activation by PyTorch, which keeps what its gradient needs.
                if not is_meta and _is_plain(x):
                    y = _ops.EagerLinear.apply(x, values, columns, metadata, permutation, bias, layout, self.by_features,
                                               self.batch_invariant)
                else:
                    y = _ops.linear(x, values, columns, metadata, permutation, bias, layout, "none", self.by_features,
                                    self.batch_invariant)
                return _products.activate(y, self.activation)
        product = _products.linear if not is_meta and _is_plain(x) else _ops.linear
        return product(x, values, columns, metadata, permutation, bias, layout, self.activation, self.by_features,
                       self.batch_invariant)

    def extra_repr(self):
        return (f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
                f'activation="{self.activation}", layout="{self.layout}"')


def _is_plain(x):
    """Nothing looks at the operators of this call, so that the dispatcher, which costs more than a small product, can be
    left out."""
    if torch.compiler.is_compiling():
        return False
    return type(x) is torch.Tensor and not _modes_active() and _transforms() is None and _tracer() is None


def is_conv1d(module):
    """The Conv1D of transformers (GPT-2), whose weight is [in_features, out_features]."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")


def dense_weight(module):
    """The weight [out_features, in_features], contiguous, detached."""
    weight = module.weight.detach()
    return (weight.t() if is_conv1d(module) else weight).contiguous()
