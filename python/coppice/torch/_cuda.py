"""The products of a compressed weight on an NVIDIA GPU."""

from .._core import DeviceError
from .. import _core


def _no_cuda():
    raise DeviceError("this build of coppice has no CUDA kernels; build it with COPPICE_CUDA=ON pip install . "
                      "(docs/python.md), or move the model to the CPU")


def refusal(weight):
    """Why the GPU cannot multiply by a SparseWeight; empty if it can."""
    return "this build of coppice has no CUDA kernels"


def linear(entry, x, values, columns, metadata, permutation, bias, activation, by_features):
    _no_cuda()


def input_gradient(dense, dy, by_features):
    """dX = W^T dY by the dense product, for now."""
    return dense.t() @ dy if by_features else dy @ dense


def values_gradient(kept_columns, dy, x, by_features):
    """dW of all weights by the dense product, then those that are kept."""
    if by_features:
        rows, cols = dy.reshape(dy.shape[0], -1), x.reshape(x.shape[0], -1)
        full = rows @ cols.t()
    else:
        rows, cols = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        full = rows.t() @ cols
    return full.gather(1, kept_columns.long())
