"""torch.ops.coppice: what torch.compile, torch.export and autograd see of the products."""

from typing import Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._core import InvalidArgument
from . import _cache, _products
from ._names import ACTIVATIONS


@torch.library.custom_op("coppice::linear", mutates_args=(), device_types=("cpu", "cuda"))
def linear(x: Tensor, values: Tensor, columns: Optional[Tensor], metadata: Optional[Tensor],
           input_permutation: Optional[Tensor], bias: Optional[Tensor], layout: str, activation: str,
           by_features: bool, batch_invariant: bool = False) -> Tensor:
    """act(W x + bias), of x's dtype; by_features: [cols, tokens] -> [rows, tokens], else [..., cols] -> [..., rows].
    A frozen weight is its packed bytes in place of the values, and a layout that says so (SparseWeight.operands)."""
    return _products.linear(x, values, columns, metadata, input_permutation, bias, layout, activation, by_features,
                            batch_invariant)


@torch.library.custom_op("coppice::linear_add", mutates_args=(), device_types=("cpu", "cuda"))
def linear_add(x: Tensor, values: Tensor, columns: Optional[Tensor], metadata: Optional[Tensor], input_permutation: Optional[Tensor],
               bias: Optional[Tensor], residual: Tensor, layout: str, batch_invariant: bool = False) -> Tensor:
    """W x + bias + residual, [..., rows]; without gradients: compilers put it in place of `linear` and an addition (_residual_pass.py)."""
    return _products.linear_add(x, values, columns, metadata, input_permutation, bias, residual, layout, batch_invariant)


@torch.library.custom_op("coppice::linear_input_gradient", mutates_args=(), device_types=("cpu", "cuda"))
def linear_input_gradient(dy: Tensor, values: Tensor, columns: Optional[Tensor], metadata: Optional[Tensor],
                          input_permutation: Optional[Tensor], layout: str, by_features: bool) -> Tensor:
    return _products.input_gradient(dy, values, columns, metadata, input_permutation, layout, by_features)


@torch.library.custom_op("coppice::linear_values_gradient", mutates_args=(), device_types=("cpu", "cuda"))
def linear_values_gradient(dy: Tensor, x: Tensor, values: Tensor, columns: Optional[Tensor], metadata: Optional[Tensor],
                           input_permutation: Optional[Tensor], layout: str, by_features: bool) -> Tensor:
    return _products.values_gradient(dy, x, values, columns, metadata, input_permutation, layout, by_features)


@linear.register_fake
def _(x, values, columns, metadata, input_permutation, bias, layout, activation, by_features, batch_invariant=False):
    grid = _cache.grid_of(layout)
    _products.check_input(x, grid, by_features)
    return x.new_empty(_products.output_shape(x, grid.rows, by_features))


@linear_add.register_fake
def _(x, values, columns, metadata, input_permutation, bias, residual, layout, batch_invariant=False):
    grid = _cache.grid_of(layout)
    _products.check_input(x, grid, False)
    return x.new_empty(_products.output_shape(x, grid.rows, False))


@linear_input_gradient.register_fake
def _(dy, values, columns, metadata, input_permutation, layout, by_features):
    return dy.new_empty(_products.output_shape(dy, _cache.grid_of(layout).cols, by_features))


@linear_values_gradient.register_fake
def _(dy, x, values, columns, metadata, input_permutation, layout, by_features):
    return values.new_empty(values.shape)


def _setup(ctx, inputs, output):
    x, values, columns, metadata, permutation, bias, layout, activation, by_features, batch_invariant = inputs
    ctx.save_for_backward(x, values, columns, metadata, permutation, bias)
    ctx.layout, ctx.activation, ctx.by_features, ctx.batch_invariant = layout, activation, by_features, batch_invariant


def _through_activation(ctx, dy):
    """The gradient before the activation. A fused one was not kept: the product is computed again."""
    x, values, columns, metadata, permutation, bias = ctx.saved_tensors
    pre = linear(x, values, columns, metadata, permutation, bias, ctx.layout, "none", ctx.by_features,
                 ctx.batch_invariant)
    aten = torch.ops.aten
    if ctx.activation == "relu":
        return aten.threshold_backward(dy, pre, 0)
    if ctx.activation == "silu":
        return aten.silu_backward(dy, pre)
    return aten.gelu_backward(dy, pre, approximate="tanh" if ctx.activation == "gelu_tanh" else "none")


def _gradients(ctx, dy, input_gradient, values_gradient):
    """Of x, the values and the bias."""
    x, values, columns, metadata, permutation, bias = ctx.saved_tensors
    dx = dvalues = dbias = None
    if ctx.needs_input_grad[0]:
        dx = input_gradient(dy, values, columns, metadata, permutation, ctx.layout, ctx.by_features)
    if ctx.needs_input_grad[1]:
        dvalues = values_gradient(dy, x, values, columns, metadata, permutation, ctx.layout, ctx.by_features)
    if bias is not None and ctx.needs_input_grad[5]:
        feature = 0 if ctx.by_features else dy.dim() - 1
        dbias = dy.sum([i for i in range(dy.dim()) if i != feature]) if dy.dim() > 1 else dy.clone()
        dbias = dbias.to(bias.dtype)
    return dx, dvalues, None, None, None, dbias


def _backward(ctx, dy):
    if ctx.activation != "none":
        dy = _through_activation(ctx, dy)
    return *_gradients(ctx, dy, linear_input_gradient, linear_values_gradient), None, None, None, None


linear.register_autograd(_backward, setup_context=_setup)


class EagerLinear(torch.autograd.Function):
    """`linear` without an activation for eager calls that nothing looks at: three passes through the dispatcher less."""

    @staticmethod
    def forward(ctx, x, values, columns, metadata, permutation, bias, layout, by_features, batch_invariant):
        ctx.save_for_backward(x, values, columns, metadata, permutation, bias)
        ctx.layout, ctx.by_features = layout, by_features
        return _products.linear(x, values, columns, metadata, permutation, bias, layout, "none", by_features, batch_invariant)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        return *_gradients(ctx, dy, _products.input_gradient, _products.values_gradient), None, None, None


def check_activation(name):
    """None or a name -> a name."""
    name = "none" if name is None else name
    if name not in ACTIVATIONS:
        raise InvalidArgument(f'activation: got "{name}", needs one of {", ".join(ACTIVATIONS)}')
    return name
