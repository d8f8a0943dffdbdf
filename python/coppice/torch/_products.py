"""The products of a compressed weight, by device; no autograd, no dispatch."""

import functools

import torch
import torch.nn.functional as F

from .. import _core
from .._core import InvalidArgument
from . import _cache, _cuda
from ._names import ACTIVATION_INDEX, DTYPES


# On the CPU gradients for many tokens of weights of which much is kept are faster by the dense product, although the weight is
# decompressed for it, or the gradient of all weights made: of 2:4 in fp32, and in bf16 where PyTorch multiplies it and the kernels here
# compute in fp32 (docs/torch.md): (more than this is kept, least tokens).
_DENSE_F32 = ((0.4, 256),)
_DENSE_BF16 = ((0.15, 256), (0.1, 1024))


def activate(y, activation):
    """The activation by PyTorch."""
    if activation == "relu":
        return F.relu(y)
    if activation == "gelu":
        return F.gelu(y)
    if activation == "gelu_tanh":
        return F.gelu(y, approximate="tanh")
    if activation == "silu":
        return F.silu(y)
    return y


def as_matrix(x, by_features):
    """The tensor as [tokens, features] that a kernel can read: (matrix, tokens, stride, tokens lie side by side)."""
    if by_features:
        matrix = x.t() if x.dim() == 2 else x.reshape(1, x.shape[0])
    else:
        matrix = x if x.dim() == 2 else x.reshape(x.shape[:-1].numel(), x.shape[-1])
    tokens, features = matrix.shape
    token_stride, feature_stride = matrix.stride()
    if (feature_stride == 1 or features <= 1) and (token_stride >= features or tokens <= 1):
        return matrix, tokens, token_stride if tokens > 1 else 0, False
    if (token_stride == 1 or tokens <= 1) and (feature_stride >= tokens or features <= 1):
        return matrix, tokens, feature_stride if features > 1 else 0, True
    return matrix.contiguous(), tokens, 0, False  # such as an expanded tensor; F.linear copies as well


def output_shape(x, features, by_features):
    shape = x.shape
    return (features, *shape[1:]) if by_features else (*shape[:-1], features)


def check_input(x, grid, by_features):
    if by_features and x.dim() > 2:
        raise InvalidArgument(f"layout \"feature\" needs x [{grid.cols}, tokens] or [{grid.cols}], got {list(x.shape)}")
    if x.dim() == 0 or x.shape[0 if by_features else -1] != grid.cols:
        raise InvalidArgument(f"x has the shape {list(x.shape)}, the weight of {grid.rows} x {grid.cols} needs "
                              f"{'[' + str(grid.cols) + ', tokens]' if by_features else '[..., ' + str(grid.cols) + ']'}")


def packed_weight(x, values, columns, metadata, permutation, layout):
    """What SparseWeight.operands says, as the GPU's kernels read it for activations like x."""
    if x.device != values.device:
        raise InvalidArgument(f"x is on {x.device}, the weight on {values.device}; move one of them")
    if values.dtype is torch.uint8:
        return _cache.frozen(values, layout, x.dtype)
    entry = _cache.lookup(values, columns, metadata, permutation, layout)
    return entry.packed.get(x.dtype) or _cuda.packed_of(entry, (values, columns, metadata, permutation), x.dtype, x.device)


def linear(x, values, columns, metadata, permutation, bias, layout, activation, by_features, batch_invariant=False, residual=None):
    """residual: added behind the activation; contiguous, of the shape of what this returns, token-major."""
    check_input(x, _cache.grid_of(layout), by_features)
    dtype, device = x.dtype, x.device
    if device.type == "cuda":
        grid = _cache.grid_of(layout)
        if _cuda.has_lists(layout) and not batch_invariant and x.numel() > _cuda.FEW_TOKENS * grid.cols \
                and values.device == device and _cuda.has_indices(grid, values.dtype, dtype):
            entry = _cache.lookup(values, columns, metadata, permutation, layout)
            if _cuda.prefers_dense(entry, layout, dtype):
                return _added(by_dense(_cuda.scatter(entry, values.detach(), dtype), x, bias, activation, by_features), residual)
        packed = packed_weight(x, values, columns, metadata, permutation, layout)
        return _by_packed(packed, x, grid, bias, activation, by_features, batch_invariant, residual)
    if device != values.device:
        raise InvalidArgument(f"x is on {device}, the weight on {values.device}; move one of them")
    entry = _cache.lookup(values, columns, metadata, permutation, layout)
    if batch_invariant:
        raise InvalidArgument("batch_invariant is of the GPU; the CPU's kernels for few and for many tokens add up in another order")
    if dtype is torch.float64:
        return _added(_double(entry, x, values, bias, activation, by_features), residual)
    packed = entry.packed.get(dtype)
    if packed is None:
        packed = _pack(entry, values, dtype)
    matrix, tokens, stride, tokens_adjacent = as_matrix(x.float() if dtype is torch.float16 else x, by_features)
    y = torch.empty(output_shape(x, entry.grid.rows, by_features), dtype=matrix.dtype, device=device)
    if bias is not None and not (bias.dtype is torch.float32 and bias.is_contiguous()):
        bias = bias.float().contiguous()
    multiply = _core.multiply_tensor_bf16 if dtype is torch.bfloat16 else _core.multiply_tensor
    multiply(packed, tokens, matrix.data_ptr(), stride, tokens_adjacent, y.data_ptr(), 0, by_features,
             0 if bias is None else bias.data_ptr(), ACTIVATION_INDEX[activation], torch.get_num_threads())
    return _added(y.to(dtype), residual)


def _added(y, residual):
    return y if residual is None else y.add_(residual)


def by_dense(dense, x, bias, activation, by_features):
    """The product by PyTorch, with a dense weight of x's dtype."""
    bias = None if bias is None else bias.to(x.dtype)
    if by_features and x.dim() == 2:
        y = dense @ x if bias is None else torch.addmm(bias[:, None], dense, x)
    else:
        y = F.linear(x, dense, bias)
    return activate(y, activation)


def linear_add(x, values, columns, metadata, permutation, bias, residual, layout, batch_invariant=False):
    """W x + bias + residual, [..., rows]; on a GPU the product adds the residual where it stores."""
    rows = _cache.grid_of(layout).rows
    shape = output_shape(x, rows, False)
    if residual.shape != shape or residual.dtype is not x.dtype or residual.device != x.device:
        raise InvalidArgument(f"the residual is {residual.dtype} {list(residual.shape)} on {residual.device}, the product "
                              f"{x.dtype} {list(shape)} on {x.device}")
    return linear(x, values, columns, metadata, permutation, bias, layout, "none", False, batch_invariant, residual.contiguous())


def _by_packed(packed, x, grid, bias, activation, by_features, batch_invariant, residual=None):
    """The product on the GPU."""
    if not by_features and x.is_contiguous():
        matrix, tokens, stride, tokens_adjacent = x, x.numel() // grid.cols if grid.cols else x.shape[:-1].numel(), 0, False
    else:
        matrix, tokens, stride, tokens_adjacent = as_matrix(x, by_features)
    y = x.new_empty(output_shape(x, grid.rows, by_features))
    _cuda.linear(packed, matrix, tokens, stride, tokens_adjacent, y, bias, activation, by_features, batch_invariant, residual)
    return y


def _pack(entry, values, dtype):
    if dtype not in DTYPES:
        raise InvalidArgument(f"x is {dtype}; needs float32, float16 or bfloat16, or float64 to check gradients")
    if values.dtype == torch.float64:
        raise InvalidArgument(f"x is {dtype} and the weight float64; convert one of them")
    entry.outdated.clear()
    values = values.detach().to(dtype)
    packed = entry.packed[dtype] = entry.structure.pack(DTYPES[dtype], values.data_ptr(), torch.get_num_threads())
    return packed


def to_dense(values, columns, metadata, permutation, layout):
    """[rows, cols], bit for bit where something is stored and +0 elsewhere."""
    entry = _cache.lookup(values, columns, metadata, permutation, layout)
    grid = entry.grid
    if values.device.type == "cpu" and values.dtype in DTYPES:
        out = torch.empty(grid.rows, grid.cols, dtype=values.dtype)
        entry.structure.to_dense(DTYPES[values.dtype], values.data_ptr(), out.data_ptr(), torch.get_num_threads())
        return out
    return scatter(entry, values)


def scatter(entry, values):
    grid = entry.grid
    if values.is_cuda and _cuda.has_indices(grid, values.dtype):
        return _cuda.scatter(entry, values, values.dtype)
    dense = torch.zeros(grid.rows, grid.cols, dtype=values.dtype, device=values.device)
    return dense.scatter_(1, entry.kept_columns(values.device).long(), values)


def _double(entry, x, values, bias, activation, by_features):
    """float64 is for checking gradients: the product with the dense weight."""
    if values.dtype != torch.float64:
        raise InvalidArgument(f"x is float64 and the weight {values.dtype}; convert one of them")
    return by_dense(scatter(entry, values.detach()), x, bias, activation, by_features)


@functools.cache
def _multiplies_bf16():
    """Whether this processor does, by what PyTorch asks before it calls oneDNN."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return torch.backends.mkldnn.is_available() and supported is not None and bool(supported())


def _has_bf16_kernels(grid, *tensors):
    """Whether gradients are taken by kernels that multiply in bf16, which are slower than dense products if more is kept."""
    return grid.density <= 0.5 and all(tensor.dtype is torch.bfloat16 for tensor in tensors) and _core.multiplies_bf16()


def _in_bf16(*tensors):
    return all(tensor.dtype is torch.bfloat16 for tensor in tensors) and _multiplies_bf16()


def _prefers_dense(grid, dy, bounds):
    return any(grid.density > least and dy.numel() >= tokens * grid.rows for least, tokens in bounds)


def _decompressed(entry, values, columns, metadata, permutation, layout):
    """[rows, cols], the faster way: lists of vectors and blocks are short, others are scattered by their columns."""
    if entry.grid.pattern.kind in ("vector", "block"):
        return to_dense(values, columns, metadata, permutation, layout)
    return scatter(entry, values)


def input_gradient(dy, values, columns, metadata, permutation, layout, by_features):
    """dX = W^T dY."""
    entry = _cache.lookup(values, columns, metadata, permutation, layout)
    grid, given = entry.grid, dy.dtype
    shape = output_shape(dy, grid.cols, by_features)
    if dy.is_cuda:
        values = values.detach()
        if _cuda.has_indices(grid, values.dtype, dy.dtype):
            dense = _cuda.scatter(entry, values, dy.dtype)
        else:
            dense = scatter(entry, values).to(dy.dtype)
        return _cuda.input_gradient(dense, dy, by_features).reshape(shape)
    if _has_bf16_kernels(grid, dy, values):
        return _input_gradient_bf16(entry, dy, values.detach(), by_features).reshape(shape)
    work = torch.float64 if dy.dtype == torch.float64 else torch.float32
    bf16 = _in_bf16(dy, values)
    if _prefers_dense(grid, dy, _DENSE_BF16 if bf16 else _DENSE_F32) and values.dtype in DTYPES:
        dense = _decompressed(entry, values.detach(), columns, metadata, permutation, layout)
        if not bf16:
            dense, dy = dense.to(work), dy.to(work)
        return (dense.t() @ dy if by_features else dy @ dense).to(given)
    matrix, tokens, stride, tokens_adjacent = as_matrix(dy.to(work), by_features)
    dx = torch.empty(*((grid.cols, tokens) if tokens_adjacent else (tokens, grid.cols)), dtype=work)
    product = entry.structure.multiply_transposed_f64 if work == torch.float64 else entry.structure.multiply_transposed_f32
    factors = values.detach().to(work)
    product(factors.data_ptr(), tokens, matrix.data_ptr(), stride, tokens_adjacent, dx.data_ptr(), torch.get_num_threads())
    if tokens_adjacent:
        dx = dx.t()
    if by_features:
        dx = dx.t()
    return dx.reshape(shape).to(dy.dtype).contiguous()


def _input_gradient_bf16(entry, dy, values, by_features):
    matrix, tokens, stride, tokens_adjacent = as_matrix(dy, by_features)
    dx = torch.empty(*((entry.grid.cols, tokens) if by_features else (tokens, entry.grid.cols)), dtype=torch.bfloat16)
    values = values.contiguous()
    entry.structure.multiply_transposed_bf16(values.data_ptr(), tokens, matrix.data_ptr(), stride, tokens_adjacent, dx.data_ptr(), by_features,
                                             torch.get_num_threads())
    return dx


def values_gradient(dy, x, values, columns, metadata, permutation, layout, by_features):
    """dW at the kept positions, [rows, kept] of the dtype of values."""
    entry = _cache.lookup(values, columns, metadata, permutation, layout)
    if dy.is_cuda:
        full = full_gradient(dy, x, by_features)
        if _cuda.has_indices(entry.grid, full.dtype, values.dtype):
            return _cuda.gather(entry, full, values.dtype)
        return full.gather(1, entry.kept_columns(dy.device).long()).to(values.dtype)
    if _has_bf16_kernels(entry.grid, dy, x, values):
        return _values_gradient(entry.structure.sampled_product_bf16, dy, x, torch.empty(values.shape, dtype=torch.bfloat16), by_features)
    if _in_bf16(dy, x, values) and _prefers_dense(entry.grid, dy, _DENSE_BF16):
        return full_gradient(dy, x, by_features).gather(1, entry.kept_columns(dy.device).long())
    work = torch.float64 if dy.dtype == torch.float64 else torch.float32
    product = entry.structure.sampled_product_f64 if work == torch.float64 else entry.structure.sampled_product_f32
    return _values_gradient(product, dy.to(work), x.to(work), torch.empty(values.shape, dtype=work), by_features).to(values.dtype)


def _values_gradient(product, dy, x, result, by_features):
    dys, tokens, dy_stride, dy_adjacent = as_matrix(dy, by_features)
    xs, _, x_stride, x_adjacent = as_matrix(x, by_features)
    product(result.data_ptr(), tokens, dys.data_ptr(), dy_stride, dy_adjacent, xs.data_ptr(), x_stride, x_adjacent, torch.get_num_threads())
    return result


def full_gradient(dy, x, by_features):
    """dW of all weights by the dense product."""
    if by_features:
        return dy.reshape(dy.shape[0], -1) @ x.reshape(x.shape[0], -1).t()
    return dy.reshape(-1, dy.shape[-1]).t() @ x.reshape(-1, x.shape[-1])
