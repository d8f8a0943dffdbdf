"""Transformer blocks of coppice.torch on a GPU. Skipped without one, which COPPICE_REQUIRE_GPU=1 makes a failure."""

import copy
import os

import pytest

import coppice
from coppice import _core
from torch_models import make_model, torch

import coppice.torch as ct
from coppice.torch import _block_ops
from coppice.torch._block_modules import FeatureNorm
from torch.nn import functional as F

if os.environ.get("COPPICE_REQUIRE_GPU") == "1":
    assert _core.has_cuda and _core.cuda_device_count() > 0 and torch.cuda.is_available()
elif not (_core.has_cuda and torch.cuda.is_available()):
    pytest.skip("needs a GPU and a build with COPPICE_CUDA=ON", allow_module_level=True)

# The compiler of torch 2.11 warns of itself.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::UserWarning", "default::FutureWarning")
CUDA = torch.device("cuda", 0)
BOUNDS = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
LARGER = dict(hidden_size=128, intermediate_size=256, num_attention_heads=4)
SIZES = {"bert-mlm": LARGER, "gpt2": dict(n_embd=128, n_head=4), "llama": dict(LARGER, num_key_value_heads=2), "vit": LARGER}


def close(got, want, bound):
    got, want = got.detach().double().cpu(), want.detach().double().cpu()
    assert got.shape == want.shape and got.isfinite().all()
    assert (got - want).norm() <= bound * want.norm()


@pytest.mark.parametrize("dtype", BOUNDS)
def test_norm_against_torch(dtype):
    for tokens in (1, 7, 33, 64, 200, 1000):
        for features in (8, 24, 63, 256, 768, 1000, 4096):
            wide = torch.randn(tokens, features + 8, device=CUDA).to(dtype)
            weight, bias = (1 + torch.randn(2, features, device=CUDA)).to(dtype)
            for x in (wide[:, :features].contiguous(), wide[:, :features], wide[:, 3:features + 3]):
                exact = x.double()
                y = _block_ops.norm(x, weight, bias, 1e-5, False)
                assert y.stride() == (1, tokens) or tokens == 1
                close(y, F.layer_norm(exact, (features,), weight.double(), bias.double(), 1e-5), BOUNDS[dtype])
                close(y, F.layer_norm(x, (features,), weight, bias, 1e-5), BOUNDS[dtype])
                y = _block_ops.norm(x, weight, None, 1e-6, True)
                close(y, exact * torch.rsqrt(exact.square().mean(-1, True) + 1e-6) * weight.double(), BOUNDS[dtype])
    assert _block_ops.norm(torch.empty(2, 0, 16, device=CUDA, dtype=dtype), None, None, 1e-5, True).shape == (2, 0, 16)
    x = torch.randn(3, 5, 40, device=CUDA).to(dtype)
    close(_block_ops.norm(x, None, None, 1e-5, False), F.layer_norm(x.double(), (40,), eps=1e-5), BOUNDS[dtype])


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("pattern", ["2:4", "64:2:8", "vw32/8:32"])
def test_gated(pattern, dtype):
    for bias in (False, True):
        gate, up = (ct.SparseLinear(256, 192, pattern, bias, dtype=dtype).to(CUDA) for _ in range(2))
        for tokens in (1, 40, 80, 333):
            x = torch.randn(tokens, 256, device=CUDA).to(dtype)
            want = F.silu(F.linear(x.double(), gate.to_dense().double(), gate.bias.double() if bias else None)) * \
                F.linear(x.double(), up.to_dense().double(), up.bias.double() if bias else None)
            for view in (x, x.t().contiguous().t()):
                for feature_major in (False, True):
                    y = torch.ops.coppice.gated(view, *gate.weight.arrays(), gate.bias, gate.weight.layout, *up.weight.arrays(),
                                                up.bias, up.weight.layout, "silu", feature_major, False)
                    assert tokens == 1 or y.stride(0) == (1 if feature_major else 192)
                    close(y, want, 2 * BOUNDS[dtype])
                y = torch.ops.coppice.pair(view, *gate.weight.arrays(), gate.bias, gate.weight.layout, *up.weight.arrays(), up.bias,
                                           up.weight.layout, False)
                close(F.silu(y[0].double()) * y[1].double(), want, 2 * BOUNDS[dtype])


def test_opcheck():
    gate, up = (ct.SparseLinear(128, 64, "64:2:8", dtype=torch.float16).to(CUDA) for _ in range(2))
    x = torch.randn(2, 40, 128, device=CUDA).half()
    with torch.no_grad():
        arrays = [[None if t is None else t.detach() for t in (*layer.weight.arrays(), layer.bias)] for layer in (gate, up)]
        for feature_major in (False, True):
            torch.library.opcheck(torch.ops.coppice.gated.default, (x, *arrays[0], gate.weight.layout, *arrays[1], up.weight.layout,
                                                                    "gelu", feature_major, False))
        torch.library.opcheck(torch.ops.coppice.pair.default, (x, *arrays[0], gate.weight.layout, *arrays[1], up.weight.layout, False))
        torch.library.opcheck(torch.ops.coppice.norm_by_features.default, (x, x[0, 0], None, None, None, 1e-5, True))
        mean, factor = torch.randn(2, 2, 40, device=CUDA)
        torch.library.opcheck(torch.ops.coppice.norm_by_features.default, (x, None, x[0, 0], mean, factor, 1e-5, False))
        close(torch.ops.coppice.norm_by_features(x, None, x[0, 0], mean, factor, 1e-5, False),
              (x.double() - mean[..., None].double()) * factor[..., None].double() + x[0, 0].double(), 1e-3)


def sparse_pair(name, pattern, dtype=torch.float16):
    """A sparse model on the GPU, and the same with its blocks replaced."""
    model = make_model(name, **SIZES[name], **({} if name == "vit" else {"max_position_embeddings": 256} if name != "gpt2"
                                               else {"n_positions": 256}))
    for parameter in model.parameters():
        if parameter.dim() == 1:
            with torch.no_grad():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    ct.prune_(model, pattern)
    model.to(CUDA, dtype)
    report = ct.sparsify_(model)
    assert report.sparse
    fused = copy.deepcopy(model)
    assert ct.replace_blocks_(fused).replaced
    return model, fused


def batch_for(name, count, length, dtype=torch.float16):
    if name == "vit":
        return {"pixel_values": torch.randn(count, 3, 32, 32, device=CUDA, dtype=dtype)}
    return {"input_ids": torch.randint(5, 45, (count, length), device=CUDA)}


@pytest.mark.parametrize("pattern", ["2:4", "64:2:8", "64:2:6", "16:2:8"])
@pytest.mark.parametrize("name", SIZES)
def test_models(name, pattern):
    model, fused = sparse_pair(name, pattern)
    with torch.no_grad():
        for count, length in ((1, 1), (1, 24), (2, 40), (3, 33), (8, 128)):
            batch = batch_for(name, count, length)
            close(fused(**batch).logits, model(**batch).logits, 5e-3)
    # Feature-major behind norms where what reads them gathers; 64:2:6 never reads tokens in place.
    seen = []
    for module in fused.modules():
        if isinstance(module, FeatureNorm):
            module.register_forward_hook(lambda module, args, output: seen.append((module.readers, output.stride())))
    with torch.no_grad():
        fused(**batch_for(name, 8, 128))
    if name in ("llama", "gpt2"):
        assert bool(seen) == (pattern != "2:4")
        for readers, strides in seen:
            in_place = _block_ops.reads_tokens(readers, torch.float16, 8 * 128, torch.cuda.current_device())
            assert (strides[-2:] == (1, 8 * 128)) != in_place
            assert pattern != "64:2:6" or not in_place


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("backend", ["inductor", ct.backend])
def test_compiled_and_in_a_graph(name, backend):
    model, fused = sparse_pair(name, "64:2:8")
    torch._dynamo.reset()
    compiled = torch.compile(fused, fullgraph=True, backend=backend)
    batch = batch_for(name, 8, 64)
    more = {} if name in ("bert-mlm", "vit") else {"use_cache": False}
    with torch.no_grad():
        want = model(**batch).logits
        close(compiled(**batch, **more).logits, want, 5e-3)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            compiled(**batch, **more)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = compiled(**batch, **more).logits
        next(iter(batch.values())).copy_(next(iter(batch_for(name, 8, 64).values())))
        graph.replay()
        close(y, model(**batch).logits, 5e-3)


@pytest.mark.parametrize("pattern", ["2:4", "64:2:8", "16:2:8", "2:8"])
@pytest.mark.parametrize("tokens", [64, 72, 512, 4096])
def test_residuals_in_products(pattern, tokens):
    """The operator against an addition, and in a compiled module, where it comes for more than 64 tokens alone."""
    layer = ct.freeze_(ct.SparseLinear(512, 640, pattern, dtype=torch.float16), CUDA)
    x, residual = torch.randn(tokens, 512, device=CUDA).half(), torch.randn(tokens, 640, device=CUDA).half()
    with torch.no_grad():
        want = layer(x).float() + residual.float()
        *weight, layout = layer.weight.operands()
        close(torch.ops.coppice.linear_add(x, *weight, layer.bias, residual, layout), want, 1e-3)
        wide = torch.randn(tokens, 648, device=CUDA).half()[:, 8:]  # lies otherwise
        close(torch.ops.coppice.linear_add(x, *weight, layer.bias, wide, layout), layer(x).float() + wide.float(), 1e-3)
        assert torch.ops.coppice.linear_add(x[:0], *weight, layer.bias, residual[:0], layout).shape == (0, 640)
        torch._dynamo.reset()
        compiled = torch.compile(lambda x, r: r + layer(x), backend=ct.backend, dynamic=False)
        close(compiled(x, residual), want, 1e-3)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            compiled(x, residual)
        calls = [event.key for event in profile.key_averages() if event.key.startswith("coppice::linear")]
        assert calls == ["coppice::linear" if tokens <= 64 else "coppice::linear_add"]


def test_gradients_go_the_way_of_the_parts():
    model, fused = sparse_pair("llama", "64:2:8", torch.bfloat16)
    batch = batch_for("llama", 4, 64)
    for one in (model, fused):
        one(**batch).logits.float().square().mean().backward()
    close(fused.model.layers[0].mlp.down_proj.weight.values.grad, model.model.layers[0].mlp.down_proj.weight.values.grad, 5e-2)
    stacked = fused.model.layers[0].self_attn.q_proj.stack.layer.weight.values.grad
    close(stacked[:128], model.model.layers[0].self_attn.q_proj.weight.values.grad, 5e-2)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_state_of_replaced_blocks(frozen):
    """Read past what is packed, and loaded into it."""
    model, fused = sparse_pair("llama", "64:2:8")
    other, _ = sparse_pair("llama", "64:2:8")
    if frozen:
        ct.freeze_(fused, CUDA)
    batch = batch_for("llama", 2, 64)
    with torch.no_grad():
        want = fused(**batch).logits
        state = fused.state_dict()
        assert list(state) == list(model.state_dict())
        assert all(torch.equal(tensor.cpu(), state[name].cpu()) for name, tensor in model.state_dict().items())
        del state
        assert torch.equal(fused(**batch).logits, want)
        for parameter in other.parameters():
            parameter.mul_(1.5)
        fused.load_state_dict(other.state_dict())
        close(fused(**batch).logits, other(**batch).logits, 5e-3)


def test_autocast_goes_the_way_of_the_parts():
    model, fused = sparse_pair("bert-mlm", "64:2:8")
    batch = batch_for("bert-mlm", 4, 64)
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
        close(fused(**batch).logits, model(**batch).logits, 2e-2)


def test_norm_refuses_what_does_not_fit():
    with pytest.raises(coppice.InvalidArgument):
        _core.cuda_normalize(4, 8, 256, 4, 256, 4, "float16", 0, 0, 1e-5, True, 256, 256, True, 0)


@pytest.mark.parametrize("pattern", ["2:4", "64:2:8", "16:2:5", "vw32/8:32"])
def test_magnitude_on_the_gpu_is_that_of_the_cpu(pattern):
    for dtype in BOUNDS:
        model = torch.nn.Sequential(torch.nn.Linear(96, 72), torch.nn.Linear(72, 130, bias=False)).to(CUDA, dtype)
        want = copy.deepcopy(model)
        ct.prune_(want, pattern)
        ct.sparsify_(want)
        assert len(ct.magnitude_sparsify_(model, pattern).sparse) == 2
        for got, other in zip(model, want, strict=True):
            for a, b in zip(got.weight.arrays(), other.weight.arrays(), strict=True):
                assert (a is None and b is None) or torch.equal(a, b)
        x = torch.randn(70, 96, device=CUDA).to(dtype)
        with torch.no_grad():
            close(model(x), want(x), 1e-6)


def test_magnitude_refuses():
    model = torch.nn.Sequential(torch.nn.Linear(64, 64))
    with pytest.raises(coppice.InvalidArgument, match="prune_ and sparsify_ work anywhere"):
        ct.magnitude_sparsify_(model, "2:4")
    model.to(CUDA).half()
    with torch.no_grad():
        model[0].weight[3, 5] = float("nan")
    with pytest.raises(coppice.InvalidArgument, match="NaN at row 3, column 5"):
        ct.magnitude_sparsify_(model, "2:4")
