"""Operators of transformer blocks on a GPU, whose activations between layers are feature-major: a tensor [..., features] of
which the tokens lie side by side. SparseLinear reads such a tensor as it lies."""

import functools
from typing import Optional

import torch
from torch import Tensor

from .. import _core
from . import _cache, _cuda, _products
from ._names import ACTIVATION_INDEX, DTYPES

FEW_TOKENS = 64  # up to here kernels read either layout


def wants_features(tokens):
    """Whether the tensors between the layers of a block are feature-major for so many tokens. Rows of other numbers would not
    start on 16 bytes."""
    return tokens > FEW_TOKENS and tokens % 8 == 0


@torch.compiler.assume_constant_result
def reads_tokens(readers, dtype, tokens, device):
    """Whether all weights, as (layout, permuted), read a tensor of so many tokens as modules of PyTorch leave it."""
    return all(_reads_tokens(layout, permuted, DTYPES[dtype], tokens, device) for layout, permuted in readers)


@functools.lru_cache(maxsize=4096)
def _reads_tokens(layout, permuted, dtype, tokens, device):
    with torch.cuda.device(device):
        return _core.cuda_reads_in_place(_cache.grid_of(layout), dtype, permuted, tokens, False)


def by_features(x, features):
    """An empty tensor of x's leading sizes, dtype and device and of so many features, whose tokens lie side by side."""
    return x.new_empty((features, x.shape[:-1].numel())).t().view(*x.shape[:-1], features)


def rows_of(x):
    """[tokens, features] of which the features lie side by side."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 and rows.stride(0) >= rows.shape[1] else rows.contiguous()


@torch.library.custom_op("coppice::norm_by_features", mutates_args=(), device_types="cuda")
def norm_by_features(x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor], mean: Optional[Tensor],
                     factor: Optional[Tensor], epsilon: float, rms: bool) -> Tensor:
    """LayerNorm or RMSNorm over the last dimension, of x's dtype (float16 or bfloat16); feature-major. mean (not of RMSNorm) and
    factor, float32 [...]: of every token, if they are known."""
    y = by_features(x, x.shape[-1])
    rows = rows_of(x)
    tokens, features = rows.shape
    known = factor is not None
    if not known:
        mean, factor = torch.empty(2, tokens, dtype=torch.float32, device=x.device)
    if rows.numel():
        _core.cuda_normalize(tokens, features, rows.data_ptr(), rows.stride(0), y.data_ptr(), tokens, DTYPES[x.dtype],
                             _address(weight), _address(bias), epsilon, rms, _address(mean), _address(factor), known,
                             _cuda._stream_of(x.device.index))
    return y


def _address(tensor):
    return 0 if tensor is None else tensor.data_ptr()


@norm_by_features.register_fake
def _(x, weight, bias, mean, factor, epsilon, rms):
    return by_features(x, x.shape[-1])


def norm(x, weight, bias, epsilon, rms):
    """norm_by_features. A compiler fuses the sums with what makes x."""
    if not torch.compiler.is_compiling():
        return norm_by_features(x, weight, bias, None, None, epsilon, rms)
    if rms:
        return norm_by_features(x, weight, bias, None, torch.rsqrt(x.float().square().mean(-1) + epsilon), epsilon, True)
    variance, mean = torch.var_mean(x.float(), -1, correction=0)
    return norm_by_features(x, weight, bias, mean, torch.rsqrt(variance + epsilon), epsilon, False)


@torch.library.custom_op("coppice::gated", mutates_args=(), device_types="cuda")
def gated(x: Tensor, gate_values: Tensor, gate_columns: Optional[Tensor], gate_metadata: Optional[Tensor],
          gate_permutation: Optional[Tensor], gate_bias: Optional[Tensor], gate_layout: str, up_values: Tensor,
          up_columns: Optional[Tensor], up_metadata: Optional[Tensor], up_permutation: Optional[Tensor],
          up_bias: Optional[Tensor], up_layout: str, activation: str, feature_major: bool, batch_invariant: bool) -> Tensor:
    """act(gate x + bias) * (up x + bias), feature-major if so asked."""
    gate = _packed(x, gate_values, gate_columns, gate_metadata, gate_permutation, gate_layout)
    up = _packed(x, up_values, up_columns, up_metadata, up_permutation, up_layout)
    features = _cache.grid_of(gate_layout).rows
    y = by_features(x, features) if feature_major else x.new_empty(*x.shape[:-1], features)
    matrix, tokens, stride, tokens_adjacent = _products.as_matrix(x, False)
    if tokens == 0:
        return y
    stream = _cuda._stream_of(x.device.index)
    place = (tokens, matrix.data_ptr(), stride, tokens_adjacent)
    size = _core.cuda_gated_workspace_bytes(gate, up, *place, batch_invariant)
    workspace = torch.empty(size, dtype=torch.uint8, device=x.device) if size else None
    biases = [None if b is None else b.to(x.dtype).contiguous() for b in (gate_bias, up_bias)]
    _core.cuda_multiply_gated(gate, up, *place, y.data_ptr(), 0, feature_major, *map(_address, biases), ACTIVATION_INDEX[activation],
                              _address(workspace), size, stream, batch_invariant)
    return y


@gated.register_fake
def _(x, gate_values, gate_columns, gate_metadata, gate_permutation, gate_bias, gate_layout, up_values, up_columns, up_metadata,
      up_permutation, up_bias, up_layout, activation, feature_major, batch_invariant):
    features = _cache.grid_of(gate_layout).rows
    return by_features(x, features) if feature_major else x.new_empty(*x.shape[:-1], features)


@torch.library.custom_op("coppice::pair", mutates_args=(), device_types="cuda")
def pair(x: Tensor, first_values: Tensor, first_columns: Optional[Tensor], first_metadata: Optional[Tensor],
         first_permutation: Optional[Tensor], first_bias: Optional[Tensor], first_layout: str, second_values: Tensor,
         second_columns: Optional[Tensor], second_metadata: Optional[Tensor], second_permutation: Optional[Tensor],
         second_bias: Optional[Tensor], second_layout: str, batch_invariant: bool) -> Tensor:
    """[2, ...]: the products of x with two weights of as many rows, for few tokens in one launch."""
    weights = [_packed(x, first_values, first_columns, first_metadata, first_permutation, first_layout),
               _packed(x, second_values, second_columns, second_metadata, second_permutation, second_layout)]
    y = x.new_empty(2, *x.shape[:-1], _cache.grid_of(first_layout).rows)
    matrix, tokens, stride, tokens_adjacent = _products.as_matrix(x, False)
    if tokens == 0:
        return y
    biases = [None if b is None else b.to(x.dtype).contiguous() for b in (first_bias, second_bias)]
    operands = (weights, tokens, matrix.data_ptr(), stride, tokens_adjacent, [part.data_ptr() for part in y], list(map(_address, biases)))
    size = _core.cuda_many_workspace_bytes(*operands, batch_invariant)
    workspace = torch.empty(size, dtype=torch.uint8, device=x.device) if size else None
    _core.cuda_multiply_many(*operands, _address(workspace), size, _cuda._stream_of(x.device.index), batch_invariant)
    return y


@pair.register_fake
def _(x, first_values, first_columns, first_metadata, first_permutation, first_bias, first_layout, second_values, second_columns,
      second_metadata, second_permutation, second_bias, second_layout, batch_invariant):
    return x.new_empty(2, *x.shape[:-1], _cache.grid_of(first_layout).rows)


def _packed(x, *operands):
    """The packed weight of SparseWeight.operands, ready on the current stream."""
    _products.check_input(x, _cache.grid_of(operands[-1]), False)
    packed = _products.packed_weight(x, *operands)
    _cuda.ready(packed, x.device)
    return packed.weight
