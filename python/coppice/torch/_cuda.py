"""The products of a compressed weight on an NVIDIA GPU, on PyTorch's current stream, in PyTorch's memory."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor

import torch

from .. import _core
from .._core import DeviceError, InvalidArgument
from ._names import ACTIVATION_INDEX, DTYPES

_stream_of = getattr(torch._C, "_cuda_getCurrentRawStream", None)
_MOST_COLUMNS = 1 << 16  # of 16-bit indices
FEW_TOKENS = 64  # that the kernels which read lists in place multiply at a time


def refusal(pattern, dtype):
    """Why the GPU cannot multiply by a weight; empty if it can."""
    if not _core.has_cuda:
        return "this build of coppice has no CUDA kernels (COPPICE_CUDA=ON pip install ., docs/python.md)"
    if dtype not in DTYPES or not _core.cuda_can_multiply(pattern, DTYPES[dtype]):
        return f"the GPU has no kernel for {pattern} in {dtype}"
    return ""


def refuse_in_capture():
    if torch.cuda.is_current_stream_capturing():
        raise DeviceError("a layer is called for the first time while a CUDA graph is captured; call it once before")


class Packed:
    """A weight as the kernels read it, in a tensor of bytes. Its event is what other streams than the one that packed wait for."""

    __slots__ = ("weight", "memory", "stream", "event", "streams")

    def __init__(self, weight, memory, stream):
        self.weight = weight
        self.memory = memory
        self.streams = set()  # others that read the memory: PyTorch's allocator knows of them
        self.made_on(stream)

    def made_on(self, stream):
        self.stream = stream
        self.event = torch.cuda.current_stream().record_event() if not torch.cuda.is_current_stream_capturing() else None

    def wait(self, device, stream):
        # torch.cuda.graph synchronises before a capture, in which nothing from outside can be waited for.
        if torch.cuda.is_current_stream_capturing():
            return
        current = torch.cuda.current_stream(device)
        if self.event is not None:
            self.event.wait(current)
        if self.memory is not None and stream not in self.streams:
            self.memory.record_stream(current)
            self.streams.add(stream)


def lasting(shape, dtype, device):
    """Memory that stays when the call is over. torch.compile's first run for a CUDA graph gives its thread memory of the graph, of
    which nothing may stay: another thread gets that of everybody."""
    stream = torch.cuda.current_stream(device)

    def allocate():
        with torch.cuda.stream(stream):
            return torch.empty(shape, dtype=dtype, device=device)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(allocate).result()


def synchronize(device):
    """Waits for what the current stream does, for streams to come."""
    torch.cuda.current_stream(device).synchronize()


def pack(structure, tensors, dtype, device):
    """Arrays on the device -> Packed. Values of another dtype are converted."""
    refuse_in_capture()
    made = []

    def allocate(nbytes):
        made.append(lasting(nbytes, torch.uint8, device))
        return made[0].data_ptr()

    values = tensors[0].detach().to(dtype)  # held until the work is enqueued
    arrays = [0 if t is None else t.data_ptr() for t in (values, *tensors[1:])]
    with torch.cuda.device(device):
        stream = _stream_of(device.index)
        return Packed(_core.CudaWeight(structure, DTYPES[dtype], *arrays, stream, allocate), made[0], stream)


def repack(packed, tensors, dtype, device):
    """Other arrays of the same grid, in the place of those packed."""
    values = tensors[0].detach().to(dtype)
    arrays = [0 if t is None else t.data_ptr() for t in (values, *tensors[1:])]
    with torch.cuda.device(device):
        stream = _stream_of(device.index)
        packed.wait(device, stream)
        packed.weight.repack(*arrays, stream)
        packed.made_on(stream)


def over(grid, dtype, permuted, memory):
    """Packed of memory that an equal weight was packed into; dtype: its name. The memory is not held."""
    with torch.cuda.device(memory.device):
        stream = _stream_of(memory.device.index)
        return Packed(_core.CudaWeight(grid, dtype, permuted, memory.data_ptr()), None, stream)


def packed_of(entry, tensors, dtype, device):
    """The weight of a cache entry as the kernels read it; packed if it is not."""
    packed = entry.packed.get(dtype)
    if packed is not None:
        return packed
    if not _core.has_cuda:
        raise DeviceError("this build of coppice has no CUDA kernels; build it with COPPICE_CUDA=ON pip install . "
                          "(docs/python.md), or move the model to the CPU")
    if refusal(entry.grid.pattern, dtype):
        raise InvalidArgument(f"the GPU has no kernel for {entry.grid.pattern} in {dtype}; convert the layer and x to float16 or "
                              "bfloat16, or use autocast, or keep the layer dense or on the CPU")
    packed = entry.outdated.pop(dtype, None)
    if packed is not None:  # the values changed, and the memory stays
        repack(packed, tensors, dtype, device)
    else:
        packed = pack(entry.structure, tensors, dtype, device)
    entry.packed[dtype] = packed
    return packed


def ready(packed, device):
    """The current stream, by its address, which then waits for the packing."""
    stream = _stream_of(device.index)
    if stream != packed.stream:
        packed.wait(device, stream)
    return stream


def linear(packed, matrix, tokens, stride, tokens_adjacent, y, bias, activation, by_features, batch_invariant, residual=None):
    """Fills y; x is `matrix` [tokens, cols], of the dtype and the device of y. residual: added, lies like y."""
    dtype, device = y.dtype, y.device
    stream = ready(packed, device)
    bias_data, bias_is_f32 = 0, False
    if bias is not None:
        if bias.dtype is not dtype and bias.dtype is not torch.float32:
            bias = bias.to(dtype)
        if not bias.is_contiguous():
            bias = bias.contiguous()
        bias_data, bias_is_f32 = bias.data_ptr(), bias.dtype is torch.float32
    arguments = (tokens, matrix.data_ptr(), stride, tokens_adjacent, y.data_ptr(), by_features, bias_data, bias_is_f32,
                 ACTIVATION_INDEX[activation], 0 if residual is None else residual.data_ptr())
    needed = packed.weight.multiply(*arguments, 0, 0, stream, batch_invariant)
    if needed:
        workspace = torch.empty(needed, dtype=torch.uint8, device=device)
        packed.weight.multiply(*arguments, workspace.data_ptr(), needed, stream, batch_invariant)


@functools.lru_cache(maxsize=None)
def has_lists(layout):
    """Whether the pattern is element-, vector- or block-wise: the GPU takes those in fp32 as well."""
    return _core.has_cuda and _core.cuda_can_multiply(json.loads(layout)["pattern"], "float32")


@functools.lru_cache(maxsize=None)
def few_tokens_only(layout):
    """Whether the kernels read such a weight again for every FEW_TOKENS: where the library has no cuBLASLt to expand it for."""
    return has_lists(layout) and not _core.cuda_has_dense_library()


def prefers_dense(entry, layout, dtype):
    """Whether a product of many tokens is faster by the dense form made of the values: of a weight with lists that changes from call to
    call, as in training, which would be packed anew for each, or that the kernels cannot expand."""
    return few_tokens_only(layout) or (dtype not in entry.packed and dtype in entry.outdated)


def has_indices(grid, *dtypes):
    """Whether the kernels between values and dense weights take such a weight."""
    return _core.has_cuda and grid.cols <= _MOST_COLUMNS and all(dtype in DTYPES for dtype in dtypes)


def scatter(entry, values, dtype):
    """The dense weight in dtype: one pass over the values."""
    grid, device = entry.grid, values.device
    dense = torch.empty(grid.rows, grid.cols, dtype=dtype, device=device)
    columns = entry.kept_columns(device, torch.uint16)
    with torch.cuda.device(device):
        _core.cuda_scatter_kept(grid, columns.data_ptr(), values.data_ptr(), DTYPES[values.dtype], dense.data_ptr(), DTYPES[dtype],
                                _stream_of(device.index))
    return dense


def gather(entry, dense, dtype):
    """The kept weights of a dense one, [rows, kept] in dtype."""
    grid, device = entry.grid, dense.device
    values = torch.empty(grid.rows, grid.kept, dtype=dtype, device=device)
    columns = entry.kept_columns(device, torch.uint16)
    dense = dense.contiguous()
    with torch.cuda.device(device):
        _core.cuda_gather_kept(grid, columns.data_ptr(), dense.data_ptr(), DTYPES[dense.dtype], values.data_ptr(), DTYPES[dtype],
                               _stream_of(device.index))
    return values


def input_gradient(dense, dy, by_features):
    """dX = W^T dY by the dense product: cuBLAS."""
    return dense.t() @ dy if by_features else dy @ dense
