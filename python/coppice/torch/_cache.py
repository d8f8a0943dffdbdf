"""What the kernels need of canonical arrays, made once and kept for as long as the arrays are the same.

The arrays are known by their storage, which the detached aliases of a compiled or exported model share, and by the
version counter that every change in place raises. A weak reference to the storage keeps its address from being given to
another one, so an entry can be outdated but never belong to other arrays.
"""

import functools
import json

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from .. import _core
from .._core import InvalidArgument
from . import _cuda
from ._names import DTYPES


@functools.lru_cache(maxsize=None)
def grid_of(layout):
    """The Grid of a layout text: the JSON object of docs/format.md less name and dtype."""
    fields = json.loads(layout)
    rows, cols = fields["shape"]
    return _core.Grid(fields["pattern"], rows, cols, fields.get("row_segments", []), fields.get("col_segments", []))


def layout_text(pattern, shape, row_segments=(), col_segments=()):
    fields = {"pattern": str(pattern), "shape": [int(n) for n in shape]}
    if row_segments:
        fields["row_segments"] = [int(n) for n in row_segments]
    if col_segments:
        fields["col_segments"] = [int(n) for n in col_segments]
    return json.dumps(fields)


def _host(tensor):
    return None if tensor is None else tensor.detach().cpu().contiguous().numpy()


class Entry:
    """One weight: `structure` of its columns and metadata, `packed` by the dtype of the product."""

    __slots__ = ("stamp", "storages", "values_version", "grid", "structure", "packed", "outdated", "columns_index")

    def __init__(self, stamp, tensors, grid):
        columns, metadata, permutation = tensors[1:]
        self.stamp = stamp
        self.storages = [StorageWeakRef(t.untyped_storage()) for t in tensors if t is not None]
        self.values_version = tensors[0]._version
        self.grid = grid
        self.structure = _core.Structure(grid, _host(columns), _host(metadata), _host(permutation))
        self.packed = {}
        self.outdated = {}  # packed of former values: memory to pack into
        self.columns_index = None

    def expired(self):
        return self.storages[0].expired()

    def values_changed(self, version):
        self.outdated, self.packed = self.outdated | self.packed, {}
        self.values_version = version

    def kept_columns(self, device, dtype=torch.int32):
        """[rows, kept] on the device, of int32 or uint16, kept there."""
        index = self.columns_index
        if index is None or index.device != device or index.dtype != dtype:
            index = torch.from_numpy(self.structure.kept_columns())
            if dtype == torch.uint16:
                index = torch.from_numpy(index.numpy().astype("uint16"))
            if device.type == "cuda":
                _cuda.refuse_in_capture()
                index = _cuda.lasting(index.shape, index.dtype, device).copy_(index)
                _cuda.synchronize(device)  # other streams read it, too
            self.columns_index = index
        return index


_entries = {}
_frozen = {}  # key of the memory: (its StorageWeakRef, layout, Packed)


def clear_cache():
    """Forgets every packed weight but frozen ones; the next product of a layer packs again."""
    _entries.clear()
    _frozen.clear()


def frozen_layout(layout, dtype, permuted):
    """The layout text of a weight that was packed in dtype."""
    return json.dumps(dict(json.loads(layout), frozen=DTYPES[dtype], permuted=permuted))


@functools.lru_cache(maxsize=None)
def _frozen_fields(layout):
    fields = json.loads(layout)
    if "frozen" not in fields:
        raise InvalidArgument("bytes of a packed weight, with the layout of one that is not frozen")
    return getattr(torch, fields["frozen"]), fields["permuted"]


def frozen(memory, layout, dtype):
    """The Packed of memory that a weight was frozen into; dtype: of the activations."""
    key = (memory.untyped_storage()._cdata, memory.data_ptr())
    packed_dtype, permuted = _frozen_fields(layout)
    if dtype is not packed_dtype:
        raise InvalidArgument(f"x is {dtype} and the weight was frozen in {packed_dtype}; convert x, or freeze the layer in another dtype")
    known = _frozen.get(key)
    if known is None or known[1] != layout:
        for dead in [key for key, (storage, *_) in _frozen.items() if storage.expired()]:
            del _frozen[dead]
        packed = _cuda.over(grid_of(layout), DTYPES[dtype], permuted, memory)
        known = _frozen[key] = (StorageWeakRef(memory.untyped_storage()), layout, packed)
    return known[2]


def freeze(tensors, layout, dtype, device):
    """Packs arrays into new memory of the device: uint8 [bytes]."""
    tensors = [None if t is None else t.detach().to(device) for t in tensors]
    structure = _core.Structure(grid_of(layout), *(_host(t) for t in tensors[1:]))
    memory = _cuda.pack(structure, tensors, dtype, device).memory
    _cuda.synchronize(device)  # other streams read it, too, and `frozen` knows only when it is first read
    return memory


def freeze_again(memory, tensors, layout, dtype):
    """Packs other arrays into memory of `freeze`; layout: the frozen one."""
    tensors = [None if t is None else t.detach().to(memory.device) for t in tensors]
    _core.Structure(grid_of(layout), *(_host(t) for t in tensors[1:]))  # checks them
    _cuda.repack(frozen(memory, layout, dtype), tensors, dtype, memory.device)


def forget(values):
    """Drops what was made of these values, if anything was."""
    try:
        _entries.pop((values.untyped_storage()._cdata, values.data_ptr()), None)
    except RuntimeError:  # a fake tensor: nothing was packed of it
        pass


def _stamp(tensor):
    return None if tensor is None else (tensor.untyped_storage()._cdata, tensor._version)


def lookup(values, columns, metadata, permutation, layout):
    key = (values.untyped_storage()._cdata, values.data_ptr())
    try:
        version = values._version
        stamp = (layout, _stamp(columns), _stamp(metadata), _stamp(permutation))
    except RuntimeError:
        raise InvalidArgument("the weight was made under torch.inference_mode(), where tensors do not tell when they "
                              "change; make or load the layer outside of it") from None
    entry = _entries.get(key)
    if entry is None or entry.stamp != stamp:
        return _insert(key, stamp, values, columns, metadata, permutation)
    if entry.values_version != version:
        entry.values_changed(version)
    return entry


def _insert(key, stamp, values, columns, metadata, permutation):
    if values.is_cuda:
        _cuda.refuse_in_capture()
    if not values.is_contiguous():
        raise InvalidArgument("the values of a compressed weight need to be contiguous; pass values.contiguous()")
    grid = grid_of(stamp[0])
    if tuple(values.shape) != (grid.rows, grid.kept):
        raise InvalidArgument(f"values has the shape {list(values.shape)}, the layout needs [{grid.rows}, {grid.kept}]")
    for dead in [key for key, entry in _entries.items() if entry.expired()]:
        del _entries[dead]
    entry = _entries[key] = Entry(stamp, (values, columns, metadata, permutation), grid)
    return entry
