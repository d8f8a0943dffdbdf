"""coppice.torch: SparseLinear against nn.Linear of its dense weight."""

import copy
import importlib.metadata
import io
import pickle

import numpy as np
import pytest

import coppice
from torch_support import torch

import coppice.torch as ct
from torch.nn import functional as F

PATTERNS = ["dense", "2:4", "2:8", "3:5", "vw32/8:32", "bw4x4/1:4", "64:2:8", "16:2:16"]
BOUNDS = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}
ACTIVATIONS = {None: lambda y: y, "relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda y: F.gelu(y, approximate="tanh"),
               "silu": F.silu}


def close(got, want, bound):
    got, want = got.detach().double(), want.detach().double()
    assert got.shape == want.shape
    assert (got - want).norm() <= bound * want.norm()


def bits(tensor):
    return tensor.detach().contiguous().view(torch.uint8)


def op_arguments(layer, x, activation="none"):
    return (x, *layer.weight.arrays(), layer.bias, layer.weight.layout, activation, layer.by_features)


def segmented_layer(**options):
    dense = torch.nn.Linear(50, 70)
    order = np.random.default_rng(1).permutation(50).astype(np.uint32)
    mask = coppice.magnitude_mask(dense.weight, "16:2:8", row_segments=[30, 40], input_permutation=order)
    return dense, mask, ct.SparseLinear.from_linear(dense, "16:2:8", mask, row_segments=[30, 40], input_permutation=order,
                                                    **options)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_product(pattern, dtype):
    layer = ct.SparseLinear(96, 70, pattern, dtype=dtype)
    assert layer.to_dense().count_nonzero() == layer.weight.values.numel()
    for shape in [(96,), (1, 96), (5, 96), (3, 40, 96), (2, 0, 96)]:
        x = torch.randn(shape).to(dtype)
        y = layer(x)
        assert y.dtype == dtype and y.is_contiguous()
        close(y, F.linear(x.double(), layer.to_dense().double(), layer.bias.double()), BOUNDS[dtype])
        with torch.no_grad():
            assert torch.equal(bits(layer(x)), bits(y))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    layer = ct.SparseLinear(64, 48, "2:8", activation=activation)
    x = torch.randn(9, 64)
    want = ACTIVATIONS[activation](F.linear(x, layer.to_dense(), layer.bias))
    close(layer(x), want, 1e-6)
    with torch.no_grad():
        close(layer(x), want, 1e-6)  # fused
    for needs in ({"x"}, {"values"}, {"bias"}):
        layer.weight.values.requires_grad_("values" in needs)
        layer.bias.requires_grad_("bias" in needs)
        assert layer(x.detach().requires_grad_("x" in needs)).requires_grad


def test_layouts_and_strides():
    layer = ct.SparseLinear(96, 70, "2:8")
    by_features = ct.SparseLinear(96, 70, "2:8", layout="feature")
    by_features.load_state_dict(layer.state_dict())
    x = torch.randn(200, 120)[::2, 7:103]
    want = F.linear(x, layer.to_dense(), layer.bias)
    for view in (x, x.contiguous(), x.t().contiguous().t(), x.flip(0).flip(0)):
        close(layer(view), want, 1e-6)
        y = by_features(view.t())
        assert y.is_contiguous()
        close(y.t(), want, 1e-6)
    close(layer(x[:1].expand(7, 96)), want[:1].expand(7, 70), 1e-6)
    close(by_features(x[0]), want[0], 1e-6)
    with pytest.raises(coppice.InvalidArgument, match="tokens"):
        by_features(torch.randn(96, 3, 4))


def test_segments_and_permutation():
    dense, mask, layer = segmented_layer()
    want = torch.where(torch.from_numpy(mask), dense.weight, torch.zeros(()))
    assert torch.equal(bits(layer.to_dense()), bits(want))
    assert layer.weight.grid.row_segments == [30, 40] and layer.weight.input_permutation.dtype == torch.uint32
    x = torch.randn(11, 50, requires_grad=True)
    y = layer(x)
    close(y, F.linear(x, want, dense.bias), 1e-6)
    y.backward(torch.ones_like(y))
    close(x.grad, torch.ones(11, 70) @ want, 1e-6)
    again = ct.SparseWeight.from_matrix(layer.weight.to_matrix())
    assert again.layout == layer.weight.layout
    for a, b in zip(again.arrays(), layer.weight.arrays()):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("dtype", BOUNDS)
def test_to_dense_is_exact(dtype):
    linear = torch.nn.Linear(90, 70, dtype=dtype)
    with torch.no_grad():
        linear.weight[3, :4] = torch.tensor([-0.0, float("nan"), float("inf"), 1e-7])
    mask = torch.from_numpy(coppice.magnitude_mask(torch.nan_to_num(linear.weight.detach()), "2:4"))
    layer = ct.SparseLinear.from_linear(linear, "2:4", mask)
    want = torch.where(mask, linear.weight, torch.zeros((), dtype=dtype))
    assert torch.equal(bits(layer.to_dense()), bits(want))
    back = layer.to_linear()
    assert torch.equal(bits(back.weight), bits(want)) and torch.equal(bits(back.bias), bits(linear.bias))
    again = ct.SparseLinear.from_linear(back, "2:4", mask)
    assert all(torch.equal(bits(a), bits(b)) for a, b in zip(again.state_dict().values(), layer.state_dict().values()))


@pytest.mark.parametrize("tokens", [50, 90])  # 2:4 takes the dense product from 256 rows of dy on
def test_gradients_match_the_dense_layer(tokens):
    for pattern in PATTERNS:
        layer = ct.SparseLinear(96, 70, pattern)
        dense = layer.to_linear()
        kept = torch.from_numpy(layer.weight.to_matrix().mask())
        x = torch.randn(3, tokens, 96)
        xs, xd = x.clone().requires_grad_(), x.clone().requires_grad_()
        dy = torch.randn(3, tokens, 70)
        layer(xs).backward(dy)
        dense(xd).backward(dy)
        close(xs.grad, xd.grad, 1e-5)
        close(layer.bias.grad, dense.bias.grad, 1e-6)
        gradient = copy.deepcopy(layer)
        gradient.weight.values.data = layer.weight.values.grad
        close(gradient.to_dense(), torch.where(kept, dense.weight.grad, torch.zeros(())), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 20, 70, 300, 1100])  # bf16 has kernels of its own, or dense products for many, where the processor has it
@pytest.mark.parametrize("layout", ["token", "feature"])
def test_gradients_of_16_bits(dtype, tokens, layout):
    for pattern in PATTERNS:
        layer = ct.SparseLinear(96, 70, pattern, dtype=dtype, layout=layout)
        kept = torch.from_numpy(layer.weight.to_matrix().mask())
        x, dy = torch.randn(tokens, 96).to(dtype), torch.randn(tokens, 70).to(dtype)
        given = (x.t() if layout == "feature" else x).contiguous().requires_grad_()
        layer(given).backward(dy.t() if layout == "feature" else dy)
        assert given.grad.dtype == dtype and layer.weight.values.grad.dtype == dtype
        close(given.grad.t() if layout == "feature" else given.grad, dy.double() @ layer.to_dense().double(), BOUNDS[dtype])
        gradient = copy.deepcopy(layer)
        gradient.weight.values.data = layer.weight.values.grad
        close(gradient.to_dense(), (dy.double().t() @ x.double()) * kept, BOUNDS[dtype])


@pytest.mark.parametrize("tokens", [5, 60, 400])
def test_bf16_gradients_are_as_exact_as_dense_ones(tokens):
    for pattern in PATTERNS:
        layer = ct.SparseLinear(512, 384, pattern, dtype=torch.bfloat16, bias=False)
        kept = torch.from_numpy(layer.weight.to_matrix().mask())
        dense = layer.to_dense().requires_grad_()
        dy = torch.randn(tokens, 384).bfloat16()
        xs, xd = (torch.randn(tokens, 512, generator=torch.Generator().manual_seed(3)).bfloat16().requires_grad_() for _ in range(2))
        layer(xs).backward(dy)
        F.linear(xd, dense).backward(dy)
        gradient = copy.deepcopy(layer)
        gradient.weight.values.data = layer.weight.values.grad
        exact_dx, exact_dw = dy.double() @ dense.detach().double(), (dy.double().t() @ xd.detach().double()) * kept
        for ours, theirs, exact in ((xs.grad, xd.grad, exact_dx), (gradient.to_dense(), dense.grad * kept, exact_dw)):
            assert (ours.double() - exact).norm() <= 1.02 * (theirs.double() - exact).norm()


@pytest.mark.parametrize("by_features", [False, True])
@pytest.mark.parametrize("activation", ["none", "relu", "gelu", "gelu_tanh", "silu"])
def test_gradcheck(activation, by_features):
    layer = ct.SparseLinear(24, 10, "4:2:8", dtype=torch.float64, layout="feature" if by_features else "token")
    x = torch.randn((24, 3) if by_features else (3, 24), dtype=torch.float64, requires_grad=True)

    def call(x, values, bias):
        return torch.ops.coppice.linear(x, values, *layer.weight.arrays()[1:], bias, layer.weight.layout, activation,
                                        by_features)

    assert torch.autograd.gradcheck(call, (x, layer.weight.values, layer.bias))


def test_double_products_refuse_a_mixture():
    with pytest.raises(coppice.InvalidArgument, match="float64"):
        ct.SparseLinear(8, 8, "2:4")(torch.randn(2, 8, dtype=torch.float64))


def test_changes_are_noticed():
    layer = ct.SparseLinear(64, 64, "2:4", bias=False)
    x = torch.randn(4, 64)
    first = layer(x).detach()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(x).sum().backward()
    optimizer.step()
    close(layer(x), F.linear(x, layer.to_dense()), 1e-6)
    assert not torch.equal(layer(x), first)
    other = ct.SparseLinear(64, 64, "2:4", bias=False)  # with another mask
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer(x), other(x))
    layer.weight.values = torch.nn.Parameter(torch.zeros_like(layer.weight.values))
    assert not layer(x).any()
    layer.half().float()
    close(layer(x), F.linear(x, layer.to_dense()), 1e-6)


def test_a_dead_layer_is_forgotten():
    from coppice.torch import _cache
    ct.clear_cache()
    layer = ct.SparseLinear(64, 64, "2:4")
    layer(torch.randn(1, 64))
    assert len(_cache._entries) == 1
    del layer
    assert not _cache._entries


def test_damaged_arrays_are_refused():
    layer = ct.SparseLinear(64, 64, "2:4")
    with torch.no_grad():
        layer.weight.metadata[5] = 0
    with pytest.raises(coppice.InvalidArgument, match="row 5"):
        layer(torch.randn(1, 64))


def test_copies_and_files(tmp_path):
    _, _, layer = segmented_layer(activation="gelu")
    x = torch.randn(6, 50)
    want = layer(x)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(buffer, weights_only=False)):
        assert torch.equal(other(x), want) and other.extra_repr() == layer.extra_repr()
    assert set(layer.state_dict()) == {"bias", "weight.values", "weight.columns", "weight.metadata", "weight.input_permutation"}
    empty = ct.SparseLinear(50, 70, "16:2:8", row_segments=[30, 40], permuted=True, activation="gelu", device="meta")
    empty.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(empty(x), want)
    loaded = ct.SparseLinear(50, 70, "16:2:8", row_segments=[30, 40], permuted=True, activation="gelu")
    loaded.load_state_dict(layer.state_dict())
    assert torch.equal(loaded(x), want)


def test_safetensors_have_the_canonical_arrays(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    for dtype in BOUNDS:
        layer = ct.SparseLinear(64, 64, "16:2:8", bias=False, dtype=dtype)
        safetensors.save_file({f"up.{k}": v for k, v in layer.state_dict().items()}, tmp_path / "x.safetensors")
        coppice.save_file({"up.weight": layer.weight.to_matrix()}, tmp_path / "y.safetensors")
        ours, theirs = (safetensors.load_file(tmp_path / f) for f in ("x.safetensors", "y.safetensors"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(bits(ours[k]), bits(theirs[k])) for k in ours)
        other = ct.SparseLinear(64, 64, "16:2:8", bias=False, dtype=dtype)
        other.load_state_dict({k.removeprefix("up."): v for k, v in theirs.items()})
        assert torch.equal(bits(other.to_dense()), bits(layer.to_dense()))


def test_bad_arguments():
    layer = ct.SparseLinear(64, 48, "2:4")
    for bad, words in ((torch.randn(3, 63), "63"), (torch.randn(()), "shape"), (torch.randn(3, 64).half(), "convert"),
                       (torch.zeros(3, 64, dtype=torch.int64), "convert")):
        with pytest.raises(coppice.InvalidArgument, match=words):
            layer(bad)
    for options, words in (({"activation": "tanh"}, "activation"), ({"layout": "row"}, "layout")):
        with pytest.raises(coppice.InvalidArgument, match=words):
            ct.SparseLinear(8, 8, "2:4", **options)
    with pytest.raises(coppice.InvalidArgument):
        ct.SparseLinear(8, 8, "5:4")
    with torch.inference_mode():
        frozen = ct.SparseLinear(8, 8, "2:4")
        with pytest.raises(coppice.InvalidArgument, match="inference_mode"):
            frozen(torch.randn(1, 8))
        layer(torch.randn(1, 64))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which opcheck itself reads
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_opcheck(activation):
    layer = ct.SparseLinear(32, 24, "8:2:8")
    x = torch.randn(2, 3, 32, requires_grad=True)
    torch.library.opcheck(torch.ops.coppice.linear.default, op_arguments(layer, x, activation))
    feature = ct.SparseLinear(32, 24, "2:4", layout="feature")
    torch.library.opcheck(torch.ops.coppice.linear.default, op_arguments(feature, torch.randn(32, 5), activation))
    dy = torch.randn(2, 3, 24)
    arrays = [None if t is None else t.detach() for t in layer.weight.arrays()]
    torch.library.opcheck(torch.ops.coppice.linear_input_gradient.default, (dy, *arrays, layer.weight.layout, False))
    torch.library.opcheck(torch.ops.coppice.linear_values_gradient.default,
                          (dy, x.detach(), *arrays, layer.weight.layout, False))
    torch.library.opcheck(torch.ops.coppice.linear_add.default,
                          (x.detach(), *arrays, layer.bias.detach(), dy, layer.weight.layout))


def model():
    return torch.nn.Sequential(ct.SparseLinear(64, 96, "16:2:8", activation="gelu"), torch.nn.LayerNorm(96),
                               ct.SparseLinear(96, 64, "2:4"))


def test_compile():
    net = model()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    x, y = (torch.randn(5, 64, requires_grad=True) for _ in range(2))
    y.data.copy_(x.data)
    close(compiled(x), net(x), 1e-6)
    compiled(x).square().sum().backward()
    values = net[0].weight.values
    gradient, values.grad = values.grad, None
    net(y).square().sum().backward()
    close(x.grad, y.grad, 1e-5)
    close(gradient, values.grad, 1e-5)
    with torch.no_grad():
        values.mul_(2)
        close(compiled(x), net(x), 1e-6)
    for tokens in (7, 9):  # the second of them makes the token count dynamic
        other = torch.randn(tokens, 64)
        close(compiled(other), net(other), 1e-6)


def test_compile_with_inductor():
    net = model()
    x = torch.randn(5, 64)
    with torch.no_grad():
        close(torch.compile(net, fullgraph=True)(x), net(x), 1e-6)


def test_autocast():
    net = model()
    x = torch.randn(5, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for function in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
            y = function(x)
            assert y.dtype == torch.bfloat16
            close(y, net.to(torch.float32)(x.detach()), 2e-2)
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32 and net[0].weight.values.grad.dtype == torch.float32


def test_export():
    net = model().eval()
    x = torch.randn(5, 64)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("tokens", min=2)},))
    close(program.module()(x), net(x), 1e-6)
    close(program.module()(torch.cat([x, x])), net(torch.cat([x, x])), 1e-6)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    close(torch.export.load(buffer).module()(x), net(x), 1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning", "ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("gradients", [False, True])
def test_jit_trace_sees_the_operator(gradients):
    layer = ct.SparseLinear(64, 96, "2:4")
    with torch.set_grad_enabled(gradients):
        traced = torch.jit.trace(layer, torch.randn(5, 64))
        for tokens in (5, 2):
            x = torch.randn(tokens, 64)
            close(traced(x), layer(x), 1e-6)


def test_modes_see_the_operator():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    seen = []
    with torch.no_grad(), Names():
        ct.SparseLinear(64, 64, "2:4")(torch.randn(2, 64))
    assert "coppice.linear.default" in seen


def traced(function, *inputs):
    from torch.fx.experimental.proxy_tensor import make_fx
    return make_fx(function)(*inputs)


@pytest.mark.parametrize("pattern", ["2:4", "8:2:8", "vw4/4:8"])
def test_residuals_become_part_of_products(pattern):
    from coppice.torch._residual_pass import fuse_residuals
    layer = ct.SparseLinear(32, 48, pattern)
    *arrays, layout = layer.weight.operands()

    def linear(x, activation="none"):
        return torch.ops.coppice.linear(x, *arrays, layer.bias, layout, activation, False)

    x, residual = torch.randn(5, 16, 32), torch.randn(5, 16, 48)
    few = 8  # of each of 5
    with torch.no_grad():
        for add, count in [(lambda x, r: linear(x) + r, 1), (lambda x, r: r + linear(x), 1), (lambda x, r: linear(x) + linear(x).relu(), 1),
                           (lambda x, r: linear(x, "relu") + r, 0), (lambda x, r: torch.add(linear(x), r, alpha=2), 0),
                           (lambda x, r: linear(x) + r[0], 0), (lambda x, r: linear(x) + 1, 0), (lambda x, r: linear(x) + r.double(), 0),
                           (lambda x, r: (lambda y: (y + r) * y)(linear(x)), 0), (lambda x, r: (lambda y: y + y)(linear(x)), 0)]:
            module = traced(add, x, residual)
            assert fuse_residuals(module.graph, "cpu") == count
            module.graph.lint()
            module.recompile()
            close(module(x, residual), add(x, residual), 1e-6)
            assert fuse_residuals(traced(add, x, residual).graph) == 0  # of a GPU alone
            assert fuse_residuals(traced(add, x[:, :few], residual[:, :few]).graph, "cpu") == 0
        with pytest.raises(coppice.InvalidArgument, match="the residual is"):
            torch.ops.coppice.linear_add(x, *arrays, layer.bias, residual[0], layout)


def test_the_backend():
    net = model()
    x = torch.randn(5, 64)
    with torch.no_grad():
        for more in ({}, {"options": {"epilogue_fusion": False}}, {"mode": "default"}):
            torch._dynamo.reset()
            close(torch.compile(net, fullgraph=True, backend=ct.backend, **more)(x), net(x), 1e-6)
        with pytest.raises(coppice.InvalidArgument, match="this backend's own"):
            ct.backend(None, (), options={"post_grad_custom_pre_pass": lambda graph: None})


INSTALLED = any(entry.name == "coppice" for entry in importlib.metadata.entry_points(group="torch_dynamo_backends"))


@pytest.mark.skipif(not INSTALLED, reason="the package lies on PYTHONPATH and is not installed, so PyTorch does not find the backend by its name")
def test_the_backend_by_its_name():
    net = model()
    x = torch.randn(5, 64)
    with torch.no_grad():
        torch._dynamo.reset()
        close(torch.compile(net, fullgraph=True, backend="coppice")(x), net(x), 1e-6)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("shape", [(0, 4), (8, 0)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_layers_without_inputs_or_outputs(pattern, shape, permuted):
    layer = ct.SparseLinear(*shape, pattern, permuted=permuted)
    again = ct.SparseLinear(*shape, pattern, permuted=permuted)
    again.load_state_dict(layer.state_dict())
    x = torch.ones(3, shape[0], requires_grad=True)
    for y in (layer(x), again(x), ct.SparseLinear.from_matrix(layer.weight.to_matrix(), layer.bias)(x), layer.to_linear()(x)):
        assert torch.equal(y, layer.bias.expand(3, shape[1]))
    layer(x).sum().backward()
    assert torch.equal(layer.bias.grad, torch.full((shape[1],), 3.0)) and not x.grad.any()


@pytest.mark.parametrize("layout", ["token", "feature"])
def test_the_meta_device_knows_shapes(layout):
    layer = ct.SparseLinear(16, 8, "2:4", layout=layout, activation="relu", device="meta")
    x = torch.empty((3, 16) if layout == "token" else (16, 3), device="meta")
    for y in (layer(x), torch.no_grad()(layer)(x)):
        assert y.device.type == "meta" and y.shape == ((3, 8) if layout == "token" else (8, 3)) and y.dtype == torch.float32
