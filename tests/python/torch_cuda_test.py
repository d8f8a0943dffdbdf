"""coppice.torch on a GPU. Skipped without one, which COPPICE_REQUIRE_GPU=1 makes a failure."""

import copy
import gc
import os

import pytest

import coppice
from torch_support import torch

import coppice.torch as ct
from coppice import _core
from torch import nn
from torch.nn import functional as F

if os.environ.get("COPPICE_REQUIRE_GPU") == "1":
    assert _core.has_cuda and _core.cuda_device_count() > 0 and torch.cuda.is_available()
elif not (_core.has_cuda and torch.cuda.is_available()):
    pytest.skip("needs a GPU and a build with COPPICE_CUDA=ON", allow_module_level=True)

# PyTorch's compiler and a capture that is broken off warn of things that are not ours.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")]
PATTERNS = ["2:4", "64:2:8", "128:2:16", "16:2:5", "2:8", "vw32/8:32", "bw4x4/1:4"]
BOUNDS = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
CUDA = torch.device("cuda", 0)


def close(got, want, bound):
    got, want = got.detach().double().cpu(), want.detach().double().cpu()
    assert got.shape == want.shape and got.isfinite().all()
    assert (got - want).norm() <= bound * want.norm()


def layer_of(cols, rows, pattern, dtype=torch.float16, **options):
    return ct.SparseLinear(cols, rows, pattern, dtype=dtype, **options).to(CUDA)


def reference(layer, x):
    return F.linear(x.double(), layer.to_dense().double(), None if layer.bias is None else layer.bias.double())


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_products(pattern, dtype):
    for rows, cols in ((256, 512), (70, 90), (130, 264)):
        layer = layer_of(cols, rows, pattern, dtype)
        by_features = layer_of(cols, rows, pattern, dtype, layout="feature")
        by_features.load_state_dict(layer.state_dict())
        for tokens in (1, 5, 64, 333):
            x = torch.randn(tokens, cols + 3, device=CUDA, dtype=dtype)
            for view in (x[:, :cols].contiguous(), x[:, 1:cols + 1], x[:, :cols].t().contiguous().t()):
                want = reference(layer, view)
                close(layer(view), want, BOUNDS[dtype])
                with torch.no_grad():
                    y = by_features(view.t())
                    assert y.is_contiguous()
                    close(y.t(), want, BOUNDS[dtype])
        assert layer(torch.empty(2, 0, cols, device=CUDA, dtype=dtype)).shape == (2, 0, rows)


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu"])
def test_epilogue(activation):
    layer = layer_of(256, 128, "64:2:8", activation=activation)
    x = torch.randn(3, 40, 256, device=CUDA).half()
    want = torch.ops.coppice.linear(x.double().cpu(), *(None if t is None else t.detach().cpu().double()
                                    if t.is_floating_point() else t.cpu() for t in layer.weight.arrays()),
                                    layer.bias.detach().cpu().double(), layer.weight.layout, activation, False)
    with torch.no_grad():
        close(layer(x), want, 1e-3)
        layer.bias = nn.Parameter(layer.bias.float())
        close(layer(x), want, 1e-3)
    close(layer(x), want, 2e-3)


def test_moves_and_exact_dense():
    layer = ct.SparseLinear(256, 128, "64:2:8", dtype=torch.bfloat16)
    dense = layer.to_dense()
    x = torch.randn(4, 256).bfloat16()
    want = layer(x)
    on_gpu = copy.deepcopy(layer).to(CUDA)
    assert torch.equal(on_gpu.to_dense().cpu().view(torch.uint8), dense.view(torch.uint8))
    close(on_gpu(x.to(CUDA)), want, 8e-3)
    back = on_gpu.cpu()
    assert torch.equal(back(x), want)
    with pytest.raises(coppice.InvalidArgument, match="move"):
        back(x.to(CUDA))


@pytest.mark.parametrize("layout", ["token", "feature"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradients(pattern, layout):
    for rows, cols, dtype in ((128, 256, torch.float16), (70, 90, torch.bfloat16)):
        layer = layer_of(cols, rows, pattern, dtype, layout=layout)
        x = torch.randn(50, cols, device=CUDA).to(dtype)
        dy = torch.randn(50, rows, device=CUDA).to(dtype)
        if layout == "feature":
            x, dy = x.t().contiguous(), dy.t().contiguous()
        x.requires_grad_()
        layer(x).backward(dy)
        cpu = copy.deepcopy(layer).cpu().double()
        xs = x.detach().cpu().double().requires_grad_()
        cpu(xs).backward(dy.cpu().double())
        close(x.grad, xs.grad, 2 * BOUNDS[dtype])
        close(layer.weight.values.grad, cpu.weight.values.grad, 2 * BOUNDS[dtype])
        close(layer.bias.grad, cpu.bias.grad, 2 * BOUNDS[dtype])


@pytest.mark.parametrize("pattern", ["2:8", "vw32/8:32"])
def test_gradients_of_fp32_against_autograd(pattern):
    layer = layer_of(512, 256, pattern, torch.float32)
    dense = layer.to_linear()
    x = torch.randn(50, 512, device=CUDA, requires_grad=True)
    dy = torch.randn(50, 256, device=CUDA)
    layer(x).backward(dy)
    dx, x.grad = x.grad, None
    dense(x).backward(dy)
    close(dx, x.grad, 1e-5)
    entry = ct._cache.lookup(*layer.weight.arrays(), layer.weight.layout)
    close(layer.weight.values.grad, dense.weight.grad.gather(1, entry.kept_columns(CUDA, torch.int32).long()), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_dense_and_kept_are_exact(pattern, dtype):
    for rows, cols in ((70, 90), (128, 24584), (3, 1)):
        layer = ct.SparseLinear(cols, rows, pattern, dtype=dtype, permuted=True)
        with torch.no_grad():
            layer.weight.input_permutation.copy_(torch.randperm(cols).to(torch.uint32))
            layer.weight.values[0, 0] = float("nan")
        want = layer.to_dense()
        layer.to(CUDA)
        torch.empty(rows, cols, device=CUDA, dtype=dtype).fill_(7)  # poisons what the allocator gives next
        got = layer.to_dense()
        assert torch.equal(got.cpu().view(torch.uint8), want.view(torch.uint8))
        if dtype in BOUNDS:
            entry = ct._cache.lookup(*layer.weight.arrays(), layer.weight.layout)
            kept = ct._cuda.gather(entry, got, torch.float32)
            assert torch.equal(kept.nan_to_num(), layer.weight.values.float().nan_to_num())


def test_changes_are_packed_again():
    layer = layer_of(256, 128, "64:2:8")
    x = torch.randn(9, 256, device=CUDA).half()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).float().square().mean().backward()
        optimizer.step()
        close(layer(x), reference(layer, x), 1e-3)


@pytest.mark.skipif(not _core.cuda_has_dense_library(), reason="cuBLASLt of the build's CUDA version is missing")
@pytest.mark.parametrize("dtype", [*BOUNDS, torch.float32])
@pytest.mark.parametrize("pattern", ["2:8", "4:8", "vw4/8:32", "bw4x4/1:4"])
def test_many_tokens_by_the_packed_weight(pattern, dtype):
    layer = layer_of(264, 130, pattern, dtype, bias=False)
    entry = ct._cache.lookup(*layer.weight.arrays(), layer.weight.layout)
    x = torch.randn(700, 264, device=CUDA).to(dtype)
    bound = BOUNDS.get(dtype, 1e-5)
    with torch.no_grad():
        y = layer(x)
        assert dtype in entry.packed and entry.columns_index is None, "nothing but the packed weight is needed"
        close(y, reference(layer, x), bound)
        layer.weight.values.mul_(-2)
        close(layer(x), reference(layer, x), bound)  # changed since: not packed again for one product
        assert dtype in entry.outdated and not entry.packed
        layer.freeze_()
        close(layer(x), reference(layer, x), bound)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_frozen_products(pattern):
    for rows, cols in ((256, 512), (70, 90)):
        layer = layer_of(cols, rows, pattern, activation="gelu").eval()
        state = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
        x = torch.randn(40, cols, device=CUDA).half()
        with torch.no_grad():
            want, dense = layer(x), layer.to_dense()
            layer.freeze_()
            assert layer.weight.device == CUDA and layer.weight.values.device.type == "cpu"
            assert torch.equal(layer(x), want)
            assert torch.equal(layer.to_dense(), dense) and layer.to_dense().is_cuda
            assert all(torch.equal(tensor.cpu(), state[name].cpu()) for name, tensor in layer.state_dict().items())
            copied = copy.deepcopy(layer)
            assert copied.weight.is_frozen and copied.weight.packed.data_ptr() != layer.weight.packed.data_ptr()
            other = layer_of(cols, rows, pattern, activation="gelu")
            layer.load_state_dict(other.state_dict())
            assert torch.equal(layer(x), other(x))
            assert torch.equal(copied(x), want)
            *arrays, layout_text = copied.weight.operands()
            assert torch.equal(torch.ops.coppice.linear(x, *arrays, copied.bias, layout_text, "gelu", False), want)
            assert torch.equal(copied.thaw_()(x), want)


@pytest.mark.parametrize("pattern", ["2:4", "64:2:8", "128:2:8", "128:2:16", "2:8", "vw32/8:32"])
def test_frozen_memory(pattern):
    layer = ct.SparseLinear(4096, 4096, pattern, dtype=torch.float16, bias=False)
    own = layer.weight.nbytes
    gc.collect()
    before = torch.cuda.memory_allocated()
    ct.freeze_(layer, "cuda")
    with torch.no_grad():
        layer(torch.randn(1, 4096, device=CUDA).half())
    assert own <= layer.weight.packed.nbytes <= 1.03 * own
    # PyTorch's allocator leaves up to 1 MB of a block unused.
    assert own <= torch.cuda.memory_allocated() - before <= 1.03 * own + (1 << 20)
    del layer
    assert torch.cuda.memory_allocated() == before


def test_frozen_small_weights_share_memory():
    net = nn.Sequential(*(layer_of(768, 768, pattern) for pattern in ("64:2:8", "2:4", "2:8") for _ in range(8))).eval()
    x = torch.randn(4, 768, device=CUDA).half()
    with torch.no_grad():
        want = net(x)
        own = sum(layer.weight.nbytes for layer in net)
        net.cpu()
        ct.clear_cache()
        gc.collect()
        before = torch.cuda.memory_allocated()
        ct.freeze_(net, "cuda")
        biases = sum(layer.bias.nbytes for layer in net if layer.bias is not None)
        assert torch.equal(net(x), want)
        with torch.cuda.stream(torch.cuda.Stream()):
            assert torch.equal(net(x), want)
    torch.cuda.synchronize()
    assert len({layer.weight.packed.untyped_storage().data_ptr() for layer in net}) == 1
    assert torch.cuda.memory_allocated() - before <= 1.03 * own + 512 * len(net) + biases + (1 << 20)
    compiled = torch.compile(net, fullgraph=True, mode="reduce-overhead")
    with torch.no_grad():
        for _ in range(3):
            torch.compiler.cudagraph_mark_step_begin()
            assert torch.allclose(compiled(x), want, atol=1e-2)


def test_frozen_is_compiled_and_captured():
    net = nn.Sequential(layer_of(256, 512, "64:2:8"), nn.ReLU(), layer_of(512, 256, "2:4")).eval()
    x = torch.randn(8, 256, device=CUDA).half()
    with torch.no_grad():
        want = net(x)
        ct.freeze_(net)
        assert torch.equal(net(x), want)
        for mode in ("default", "reduce-overhead"):
            compiled = torch.compile(net, fullgraph=True, mode=mode)
            for _ in range(3):
                torch.compiler.cudagraph_mark_step_begin()
                close(compiled(x), want, 1e-3)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = net(x)
        graph.replay()
        assert torch.equal(y, want)
        wide = layer_of(256, 512, "64:2:8", torch.float32).freeze_(dtype=torch.bfloat16)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            close(wide(x.float()), reference(wide, x), 8e-3)
    with pytest.raises(coppice.InvalidArgument, match="frozen in torch.float16"), torch.no_grad():
        net[0](x.bfloat16())
    with pytest.raises(coppice.InvalidArgument, match="no gradients"):
        net(x.requires_grad_())


def test_cuda_graph():
    layer = layer_of(512, 256, "64:2:8", activation="gelu")
    x = torch.randn(16, 512, device=CUDA).half()
    with torch.no_grad():
        layer(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = layer(x)
        for _ in range(3):
            x.normal_()
            graph.replay()
            assert torch.equal(y, layer(x))
        fresh = layer_of(512, 256, "64:2:8")
        with pytest.raises(coppice.DeviceError, match="once before"):
            with torch.cuda.graph(torch.cuda.CUDAGraph()):
                fresh(x)
    torch.cuda.synchronize()


def test_streams():
    layer = layer_of(512, 512, "64:2:8")
    x = torch.randn(64, 512, device=CUDA).half()
    with torch.no_grad():
        for _ in range(20):
            layer.weight.values.mul_(1.01)
            on_main = layer(x)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                on_side = layer(x)
            torch.cuda.synchronize()
            assert torch.equal(on_main, on_side)


def test_batch_invariance():
    layer = layer_of(1024, 512, "64:2:8")
    layer.batch_invariant = True
    x = torch.randn(500, 1024, device=CUDA).half()
    with torch.no_grad():
        whole = layer(x)
        for tokens in (1, 2, 17, 64, 129):
            assert torch.equal(layer(x[:tokens]), whole[:tokens])
    with pytest.raises(coppice.InvalidArgument, match="batch_invariant"):
        layer.cpu()(x.cpu())


def test_autocast_and_compile():
    net = nn.Sequential(layer_of(256, 512, "64:2:8", torch.float32, activation="gelu"), nn.LayerNorm(512, device=CUDA),
                        layer_of(512, 256, "2:4", torch.float32))
    x = torch.randn(33, 256, device=CUDA, requires_grad=True)
    with torch.no_grad():
        want = F.linear(F.layer_norm(F.gelu(reference(net[0], x)), (512,)), net[2].to_dense().double(), net[2].bias.double())
    for backend in ("aot_eager", "inductor"):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y = torch.compile(net, fullgraph=True, backend=backend)(x)
        assert y.dtype == torch.bfloat16
        close(y, want, 2e-2)
        x.grad = None
        y.float().sum().backward()
        assert x.grad.isfinite().all() and net[0].weight.values.grad.dtype == torch.float32


def test_compile_with_cuda_graphs():
    # The weights are packed by the first call of the compiled code.
    net = nn.Sequential(layer_of(256, 512, "64:2:8"), nn.ReLU(), layer_of(512, 256, "2:4"))
    compiled = torch.compile(net, fullgraph=True, mode="reduce-overhead")
    with torch.no_grad():
        for _ in range(4):
            x = torch.randn(8, 256, device=CUDA).half()
            torch.compiler.cudagraph_mark_step_begin()
            close(compiled(x), net(x), 1e-3)
    net.requires_grad_(False)  # gradients that add up would lie in memory of the graph
    for _ in range(4):
        x = torch.randn(8, 256, device=CUDA).half().requires_grad_()
        torch.compiler.cudagraph_mark_step_begin()
        compiled(x).float().square().sum().backward()
        got, x.grad = x.grad.clone(), None
        net(x).float().square().sum().backward()
        close(got, x.grad, 2e-3)


def test_opcheck():
    layer = layer_of(128, 64, "64:2:8")
    arrays = [None if t is None else t.detach() for t in layer.weight.arrays()]
    x = torch.randn(6, 128, device=CUDA).half()
    torch.library.opcheck(torch.ops.coppice.linear.default, (x, *arrays, layer.bias.detach(), layer.weight.layout, "none", False))


def test_what_the_gpu_cannot_multiply():
    x = torch.randn(3, 64, device=CUDA)
    with pytest.raises(coppice.InvalidArgument, match="no kernel for 2:4 in torch.float32"):
        layer_of(64, 64, "2:4", torch.float32)(x)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)).to(CUDA)
    ct.prune_(model, "2:4")
    report = ct.sparsify_(model)
    assert all("no kernel" in layer.reason for layer in report.layers)
    with torch.no_grad():
        model(x)


def test_memory_goes_with_the_layer():
    x = torch.randn(1, 4096, device=CUDA).half()
    layer = layer_of(4096, 4096, "2:4")
    layer(x)
    used = torch.cuda.memory_allocated()
    layers = [layer_of(4096, 4096, "2:4") for _ in range(4)]
    for one in layers:
        one(x)
    assert torch.cuda.memory_allocated() > used + 8 * layer.weight.nbytes - (1 << 20)
    del layers, one
    assert torch.cuda.memory_allocated() == used


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_second_gpu():
    other = torch.device("cuda", 1)
    for pattern in ("2:4", "64:2:8", "2:8"):
        layer = layer_of(512, 256, pattern)
        elsewhere = copy.deepcopy(layer).to(other)
        x = torch.randn(40, 512, device=CUDA, dtype=torch.float16)
        with torch.no_grad():
            y = elsewhere(x.to(other))  # while device 0 is the current one
            assert y.device == other and torch.equal(y.to(CUDA), layer(x))
            with pytest.raises((RuntimeError, ValueError), match="cuda:0|device 0"):
                elsewhere(x)
