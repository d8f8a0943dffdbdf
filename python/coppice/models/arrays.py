"""Weights of modules as NumPy arrays [rows, cols], in the dtypes of NumPy and ml_dtypes."""

import ml_dtypes
import numpy as np
import torch

from .names import is_transposed

_BITS = {torch.bfloat16: (torch.int16, np.int16, np.dtype(ml_dtypes.bfloat16))}


def to_numpy(tensor):
    """A copy, or the same memory if it is on the CPU."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype not in _BITS:
        return tensor.numpy()
    bits, _, dtype = _BITS[tensor.dtype]
    return tensor.view(bits).numpy().view(dtype)


def to_torch(array):
    """The same memory."""
    for dtype, (_, bits, name) in _BITS.items():
        if array.dtype == name:
            return torch.from_numpy(array.view(bits)).view(dtype)
    return torch.from_numpy(array)


def read_weight(module, dtype):
    """The module's weight as [rows, cols] of the NumPy dtype given."""
    array = to_numpy(module.weight)
    return np.ascontiguousarray((array.T if is_transposed(module) else array).astype(dtype))


def write_weight(module, array):
    with torch.no_grad():
        module.weight.copy_(to_torch(np.ascontiguousarray(array.T if is_transposed(module) else array)))


def holds(module, dtype):
    """Whether the module's dtype holds every number of the NumPy dtype."""
    own = module.weight.dtype
    return torch.promote_types(own, to_torch(np.empty(0, dtype)).dtype) == own
