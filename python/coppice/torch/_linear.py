"""SparseLinear, and the weight inside it."""

import numpy
import torch
from torch import nn

from .. import Pattern, SparseMatrix, compress, magnitude_mask
from .._core import InvalidArgument
from . import _cache, _ops, _products
from ._names import DTYPES

_LAYOUTS = ("token", "feature")
_modes_active = torch._C._len_torch_dispatch_stack
_transforms = torch._C._functorch.peek_interpreter_stack
_NUMPY = {name: dtype for dtype, name in DTYPES.items()}


def _zeros(shape, dtype, device):
    return None if shape is None else torch.zeros(shape, dtype=dtype, device=device)


def _tensor(array):
    """A copy of a NumPy array, of ml_dtypes' bfloat16 as well."""
    array = numpy.array(array)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


class SparseWeight(nn.Module):
    """A compressed weight [rows, cols]: the parameter `values` [rows, kept] and the buffers `columns`, `metadata` and
    `input_permutation`, None where there is none: the canonical arrays of docs/format.md.

    A new one is all zeros, kept at the positions that stand first. Values may change in place, or be assigned; a change in
    place through `values.data` goes unnoticed.
    """

    def __init__(self, pattern, shape, *, row_segments=(), col_segments=(), permuted=False, dtype=None, device=None):
        super().__init__()
        pattern = Pattern(pattern) if isinstance(pattern, str) else pattern
        self.layout = _cache.layout_text(pattern, shape, row_segments, col_segments)
        self._allocate(permuted, torch.get_default_dtype() if dtype is None else dtype, device)
        if self.values.device.type != "meta":
            zeros = numpy.zeros((self.grid.rows, self.grid.cols), numpy.float32)
            first = compress(zeros, None, pattern, row_segments=row_segments, col_segments=col_segments)
            with torch.no_grad():
                for own, array in ((self.columns, first.columns), (self.metadata, first.metadata)):
                    if own is not None:
                        own.copy_(_tensor(array))

    def _allocate(self, permuted, dtype, device):
        grid = self.grid
        self.values = nn.Parameter(torch.zeros(grid.rows, grid.kept, dtype=dtype, device=device))
        self.register_buffer("columns", _zeros(grid.columns_shape, torch.uint8, device))
        self.register_buffer("metadata", _zeros(grid.metadata_shape, torch.uint8, device))
        order = torch.arange(grid.cols, device=device).to(torch.uint32) if permuted else None
        self.register_buffer("input_permutation", order)

    @classmethod
    def from_matrix(cls, matrix):
        """Copies a coppice.SparseMatrix of float32, float16 or bfloat16, to the CPU."""
        dtype = _NUMPY.get(matrix.dtype.name)
        if dtype is None:
            raise InvalidArgument(f"a weight of {matrix.dtype.name} cannot be multiplied by; needs float32, float16 or bfloat16")
        weight = cls(matrix.pattern, matrix.shape, row_segments=matrix.row_segments, col_segments=matrix.col_segments,
                     dtype=dtype, device="meta")
        weight.values = nn.Parameter(_tensor(matrix.values))
        weight.columns = None if weight.columns is None else _tensor(matrix.columns)
        weight.metadata = None if weight.metadata is None else _tensor(matrix.metadata)
        weight.input_permutation = None if matrix.input_permutation is None else _tensor(matrix.input_permutation)
        return weight

    @property
    def grid(self):
        return _cache.grid_of(self.layout)

    @property
    def pattern(self):
        return self.grid.pattern

    @property
    def shape(self):
        return torch.Size((self.grid.rows, self.grid.cols))

    @property
    def dtype(self):
        return self.values.dtype

    @property
    def device(self):
        return self.values.device

    @property
    def nbytes(self):
        """Bytes of the arrays."""
        return sum(t.nbytes for t in self.arrays() if t is not None)

    def arrays(self):
        """(values, columns, metadata, input_permutation)"""
        parameters, buffers = self._parameters, self._buffers
        return parameters["values"], buffers["columns"], buffers["metadata"], buffers["input_permutation"]

    def to_dense(self):
        """The dense weight: stored weights bit for bit, +0 elsewhere. Has no gradient."""
        with torch.no_grad():
            return _products.to_dense(*self.arrays(), self.layout)

    def to_matrix(self):
        """A coppice.SparseMatrix, a copy."""
        grid = self.grid
        values, *rest = (None if t is None else t.detach().cpu() for t in self.arrays())
        columns, metadata, permutation = (None if t is None else t.numpy() for t in rest)
        return SparseMatrix.from_arrays(grid.pattern, (grid.rows, grid.cols), values, columns, metadata,
                                        input_permutation=permutation, row_segments=grid.row_segments,
                                        col_segments=grid.col_segments)

    def forward(self):
        return self.to_dense()

    def __getstate__(self):
        # Plain pickle cannot read tensors of uint32 back.
        state = dict(self.__dict__, _buffers=dict(self._buffers))
        if self.input_permutation is not None:
            state["_buffers"]["input_permutation"] = self.input_permutation.view(torch.int32)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if self.input_permutation is not None:
            self.input_permutation = self.input_permutation.view(torch.uint32)

    def _apply(self, fn, recurse=True):
        self._forget()
        return super()._apply(fn, recurse)

    def _forget(self):
        values = self._parameters.get("values")
        if values is not None:
            _cache.forget(values)

    def __del__(self):
        # Packed weights would otherwise stay until another one is packed.
        try:
            self._forget()
        except Exception:  # an interpreter that shuts down, or a module that was not built to the end
            pass

    def extra_repr(self):
        grid = self.grid
        return f"{grid.rows}, {grid.cols}, pattern={grid.pattern}, density={grid.density:.4g}, dtype={self.dtype}"


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

    def forward(self, x):
        weight = self._modules["weight"]
        values, columns, metadata, permutation = weight.arrays()
        bias = self._parameters["bias"]
        device = x.device.type
        if torch.is_autocast_enabled(device) and x.is_floating_point() and x.dtype is not torch.float64:
            x = x.to(torch.get_autocast_dtype(device))
        elif x.dtype is not values.dtype:
            raise InvalidArgument(f"x is {x.dtype} and the weight {values.dtype}; convert one of them")
        if torch.is_grad_enabled():
            if x.requires_grad or values.requires_grad or (bias is not None and bias.requires_grad):
                # The activation by PyTorch, which keeps what its gradient needs.
                y = _ops.linear(x, values, columns, metadata, permutation, bias, weight.layout, "none", self.by_features,
                                self.batch_invariant)
                return _products.activate(y, self.activation)
        if _is_plain(x):
            return _products.linear(x, values, columns, metadata, permutation, bias, weight.layout, self.activation,
                                    self.by_features, self.batch_invariant)
        return _ops.linear(x, values, columns, metadata, permutation, bias, weight.layout, self.activation, self.by_features,
                           self.batch_invariant)

    def extra_repr(self):
        return (f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
                f'activation="{self.activation}", layout="{self.layout}"')


def _is_plain(x):
    """Nothing looks at the operators of this call, so that the dispatcher, which costs more than a small product, can be
    left out."""
    if torch.compiler.is_compiling():
        return False
    return type(x) is torch.Tensor and not _modes_active() and _transforms() is None


def is_conv1d(module):
    """The Conv1D of transformers (GPT-2), whose weight is [in_features, out_features]."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")


def dense_weight(module):
    """The weight [out_features, in_features], contiguous, detached."""
    weight = module.weight.detach()
    return (weight.t() if is_conv1d(module) else weight).contiguous()
