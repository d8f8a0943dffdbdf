"""The weight inside a SparseLinear."""

import numpy
import torch
from torch import nn

from .. import Pattern, SparseMatrix, compress
from .._core import InvalidArgument
from . import _cache, _cuda, _products
from ._names import DTYPES

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
    place through `values.data` goes unnoticed. A frozen one (`freeze_`) has them on the CPU, and on the GPU `packed`: a buffer
    of bytes, as the kernels read them, that is no part of the state_dict.
    """

    frozen_dtype = frozen_layout = None  # of the values in `packed`, and what says so to the operators
    _trainable = True  # whether the values had gradients before they were frozen
    borrowed = False  # whether the arrays are part of another weight's, of which something may be packed at the same address

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
        self.register_buffer("packed", None, persistent=False)

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
        return self.values.device if self.packed is None else self.packed.device

    @property
    def nbytes(self):
        """Bytes of the arrays, or of the packed weight if this is frozen."""
        if self.packed is not None:
            return self.packed.nbytes
        return sum(t.nbytes for t in self.arrays() if t is not None)

    def arrays(self):
        """(values, columns, metadata, input_permutation)"""
        parameters, buffers = self._parameters, self._buffers
        return parameters["values"], buffers["columns"], buffers["metadata"], buffers["input_permutation"]

    def operands(self):
        """What operators take: four tensors or None, and the layout text."""
        if self._buffers["packed"] is None:
            return *self.arrays(), self.layout
        return self._buffers["packed"], None, None, None, self.frozen_layout

    def to_dense(self):
        """The dense weight: stored weights bit for bit, +0 elsewhere. Has no gradient."""
        with torch.no_grad():
            return _products.to_dense(*self.arrays(), self.layout).to(self.device)

    def to_matrix(self):
        """A coppice.SparseMatrix, a copy."""
        grid = self.grid
        values, *rest = (None if t is None else t.detach().cpu() for t in self.arrays())
        columns, metadata, permutation = (None if t is None else t.numpy() for t in rest)
        return SparseMatrix.from_arrays(grid.pattern, (grid.rows, grid.cols), values, columns, metadata,
                                        input_permutation=permutation, row_segments=grid.row_segments,
                                        col_segments=grid.col_segments)

    @property
    def is_frozen(self):
        return self.packed is not None

    def freeze_(self, device=None, dtype=None):
        """For inference on a GPU, which then holds the weight once: packed, in `dtype` (its own). The arrays go to the CPU, where
        state_dict and to_dense read them. There are no gradients until `thaw_`. Moving or converting the weight thaws it."""
        device = self.device if device is None else torch.device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        dtype = dtype or self.frozen_dtype or self.dtype
        if self.packed is not None and (self.packed.device, self.frozen_dtype) == (device, dtype):
            return self
        refusal = "a weight is frozen for a GPU; pass its device" if device.type != "cuda" else _cuda.refusal(self.pattern, dtype)
        if refusal:
            raise InvalidArgument(f"{self.pattern} on {device}: {refusal}")
        self.thaw_()
        self.packed = _cache.freeze(self.arrays(), self.layout, dtype, device)
        self.frozen_dtype, self._trainable = dtype, self.values.requires_grad
        self.frozen_layout = _cache.frozen_layout(self.layout, dtype, self.input_permutation is not None)
        self._put_arrays("cpu", requires_grad=False)
        return self

    def thaw_(self):
        """Undoes `freeze_`: the arrays are on the GPU again."""
        if self.packed is not None:
            device, self.packed, self.frozen_dtype = self.packed.device, None, None
            self._put_arrays(device, requires_grad=self._trainable)
        return self

    def _put_arrays(self, device, requires_grad):
        self._forget()
        self.values = nn.Parameter(self.values.detach().to(device), requires_grad=requires_grad)
        for name in ("columns", "metadata", "input_permutation"):
            array = self._buffers[name]
            self._buffers[name] = None if array is None else array.to(device)

    def _load_from_state_dict(self, *arguments, **options):
        super()._load_from_state_dict(*arguments, **options)
        if self.packed is not None:
            self._put_arrays("cpu", requires_grad=False)  # load_state_dict(assign=True) may have put them elsewhere
            _cache.freeze_again(self.packed, self.arrays(), self.frozen_layout, self.frozen_dtype)

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
        if self.packed is not None and not self.packed.is_cuda:  # read with map_location
            self.thaw_()

    def _apply(self, fn, recurse=True):
        if self.packed is not None:
            moved = fn(torch.empty(0, dtype=self.dtype, device=self.packed.device))
            if (moved.dtype, moved.device) == (self.dtype, self.packed.device):
                return self
            self.thaw_()
        self._forget()
        return super()._apply(fn, recurse)

    def _forget(self):
        values = self._parameters.get("values")
        if values is not None and not self.borrowed:
            _cache.forget(values)

    def __del__(self):
        # Packed weights would otherwise stay until another one is packed.
        try:
            self._forget()
        except Exception:  # an interpreter that shuts down, or a module that was not built to the end
            pass

    def extra_repr(self):
        grid = self.grid
        return (f"{grid.rows}, {grid.cols}, pattern={grid.pattern}, density={grid.density:.4g}, dtype={self.dtype}"
                + (f", frozen={self.frozen_dtype} on {self.device}" if self.is_frozen else ""))
