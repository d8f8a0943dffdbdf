"""The products of a compressed weight on an NVIDIA GPU, on PyTorch's current stream, in PyTorch's memory."""

import torch

from .. import _core
from .._core import DeviceError, InvalidArgument
from ._names import ACTIVATION_INDEX, DTYPES

_stream_of = getattr(torch._C, "_cuda_getCurrentRawStream", None)


def refusal(weight):
    """Why the GPU cannot multiply by a SparseWeight; empty if it can."""
    if not _core.has_cuda:
        return "this build of coppice has no CUDA kernels (COPPICE_CUDA=ON pip install ., docs/python.md)"
    if weight.dtype not in DTYPES or not _core.cuda_can_multiply(weight.pattern, DTYPES[weight.dtype]):
        return f"the GPU has no kernel for {weight.pattern} in {weight.dtype}"
    return ""


def refuse_in_capture():
    if torch.cuda.is_current_stream_capturing():
        raise DeviceError("a layer is called for the first time while a CUDA graph is captured; call it once before")


class _Packed:
    """A weight as the kernels read it. Its event is what other streams than the one that packed wait for."""

    __slots__ = ("weight", "stream", "event")

    def __init__(self, weight, stream):
        self.weight = weight
        self.made_on(stream)

    def made_on(self, stream):
        self.stream = stream
        self.event = torch.cuda.current_stream().record_event() if not torch.cuda.is_current_stream_capturing() else None

    def wait(self, device):
        # torch.cuda.graph synchronises before a capture, in which nothing from outside can be waited for.
        if self.event is not None and not torch.cuda.is_current_stream_capturing():
            self.event.wait(torch.cuda.current_stream(device))


def _pack(entry, tensors, dtype, device):
    if not _core.has_cuda:
        raise DeviceError("this build of coppice has no CUDA kernels; build it with COPPICE_CUDA=ON pip install . "
                          "(docs/python.md), or move the model to the CPU")
    if dtype not in DTYPES or not _core.cuda_can_multiply(entry.grid.pattern, DTYPES[dtype]):
        raise InvalidArgument(f"the GPU has no kernel for {entry.grid.pattern} in {dtype}; convert the layer and x to float16 or "
                              "bfloat16, or use autocast, or keep the layer dense or on the CPU")
    values = tensors[0].detach().to(dtype)  # held until the work is enqueued
    arrays = [0 if t is None else t.data_ptr() for t in (values, *tensors[1:])]
    with torch.cuda.device(device):
        stream = _stream_of(device.index)
        packed = entry.outdated.pop(dtype, None)
        if packed is not None:  # the values changed, and the memory stays
            packed.wait(device)
            packed.weight.repack(*arrays, stream)
            packed.made_on(stream)
        else:
            refuse_in_capture()
            packed = _Packed(_core.CudaWeight(entry.structure, DTYPES[dtype], *arrays, stream), stream)
    entry.packed[dtype] = packed
    return packed


def linear(entry, x, tensors, y, matrix, tokens, stride, tokens_adjacent, bias, activation, by_features, batch_invariant):
    """Fills y; x is `matrix` [tokens, cols]."""
    dtype, device = x.dtype, x.device
    packed = entry.packed.get(dtype)
    if packed is None:
        packed = _pack(entry, tensors, dtype, device)
    stream = _stream_of(device.index)
    if stream != packed.stream:
        packed.wait(device)
    data = matrix.data_ptr()
    size = packed.weight.workspace_bytes(tokens, data, stride, tokens_adjacent, batch_invariant)
    workspace = torch.empty(size, dtype=torch.uint8, device=device) if size else None
    bias_data, bias_is_f32 = 0, False
    if bias is not None:
        if bias.dtype is not dtype and bias.dtype is not torch.float32:
            bias = bias.to(dtype)
        if not bias.is_contiguous():
            bias = bias.contiguous()
        bias_data, bias_is_f32 = bias.data_ptr(), bias.dtype is torch.float32
    packed.weight.multiply(tokens, data, stride, tokens_adjacent, y.data_ptr(), by_features, bias_data, bias_is_f32,
                           ACTIVATION_INDEX[activation], workspace.data_ptr() if size else 0, size, stream, batch_invariant)


def input_gradient(dense, dy, by_features):
    """dX = W^T dY by the dense product of the decompressed weight."""
    dense = dense.to(dy.dtype)
    return dense.t() @ dy if by_features else dy @ dense


def values_gradient(kept_columns, dy, x, by_features):
    """dW of all weights by the dense product, of which the kept ones are taken."""
    if by_features:
        full = dy.reshape(dy.shape[0], -1) @ x.reshape(x.shape[0], -1).t()
    else:
        full = dy.reshape(-1, dy.shape[-1]).t() @ x.reshape(-1, x.shape[-1])
    return full.gather(1, kept_columns.long())
