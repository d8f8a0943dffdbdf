"""coppice.torch.replace_blocks_ on tiny transformers with random weights: the same outputs, on the CPU."""

import copy
import sys
from pathlib import Path

import pytest

import coppice
from torch_models import batches_for, make_model, torch, transformers

import coppice.torch as ct
from coppice.torch import _cache
from coppice.torch._block_modules import FeatureLinear, FeatureNorm, GatedMlp, StackedProjection
from coppice.torch._block_table import ROLES
from safetensors.torch import load_file
from torch import nn

NAMES = ["bert-mlm", "gpt2", "llama", "vit"]
PATTERNS = ["2:4", "4:2:8", "vw4/4:8"]
# What a block of each model becomes, by kind.
WANTED = {"bert-mlm": (0, 3, 0, 1), "gpt2": (2, 0, 0, 1), "llama": (2, 3, 1, 0), "vit": (2, 3, 0, 1)}


def sparse_model(name, pattern="4:2:8", **changes):
    model = make_model(name, **changes)
    for parameter in model.parameters():  # biases and norms that do something
        if parameter.dim() == 1:
            with torch.no_grad():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    ct.prune_(model, pattern)
    ct.sparsify_(model)
    return model


def outputs(model, name, **changes):
    with torch.no_grad():
        return [model(**batch).logits for batch in batches_for(name, count=2, **changes)]


def counts(model):
    kinds = (FeatureNorm, StackedProjection, GatedMlp, FeatureLinear)
    return tuple(sum(type(module) is kind for module in model.modules()) for kind in kinds)


def close(got, want, bound=1e-5):
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.isfinite().all()
        assert (a - b).norm() <= bound * b.norm()


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_stay(name, pattern):
    model = sparse_model(name, pattern)
    want = outputs(model, name)
    report = ct.replace_blocks_(model)
    norms, *rest = WANTED[name]
    wanted = [norms if pattern == "4:2:8" else 0, *rest]
    assert counts(model) == tuple(2 * n for n in wanted)  # two blocks
    assert {part.reason for part in report.parts if part not in report.replaced} <= {"what reads it takes either layout"}
    close(outputs(model, name), want)
    close(outputs(copy.deepcopy(model), name), want)


@pytest.mark.parametrize("name", NAMES)
def test_compiles_whole(name):
    model = sparse_model(name)
    want = outputs(model, name)
    ct.replace_blocks_(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        close([compiled(**batch).logits for batch in batches_for(name, count=2)], want)


def test_gradients_flow_through_all_parts():
    for name in NAMES:
        model = sparse_model(name)
        batch = batches_for(name, count=1)[0]
        before = copy.deepcopy(model)
        before(**batch).logits.square().sum().backward()
        ct.replace_blocks_(model)
        model(**batch).logits.square().sum().backward()
        after, compared = dict(model.named_parameters()), 0
        for key, parameter in before.named_parameters():
            if key in after:  # others are stacked
                close([after[key].grad], [parameter.grad], 1e-4)
                compared += 1
        assert compared > 4
        for key, parameter in after.items():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_generation_with_a_cache():
    for name in ("gpt2", "llama"):
        model = sparse_model(name)
        tokens = batches_for(name, count=1)[0]["input_ids"]
        options = dict(max_new_tokens=6, do_sample=False, attention_mask=torch.ones_like(tokens))
        want = model.generate(tokens, **options)
        ct.replace_blocks_(model)
        assert torch.equal(model.generate(tokens, **options), want)


def test_stack_keeps_track_of_its_inputs():
    model = sparse_model("llama", pattern="2:4")
    attention = copy.deepcopy(model.model.layers[0].self_attn)
    ct.replace_blocks_(model)
    stacked = model.model.layers[0].self_attn
    x, other = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    with torch.no_grad():
        for tensor, names in ((x, "qkv"), (x, "qqk"), (other, "vk"), (x, "q")):
            for letter in names:
                projection = getattr(stacked, letter + "_proj")
                close([projection(tensor)], [getattr(attention, letter + "_proj")(tensor)])
        stacked.q_proj(x)
        x.mul_(2)  # the same tensor, changed: nothing that waits for it may be taken
        close([stacked.k_proj(x)], [attention.k_proj(x)])
        stacked.v_proj(x), stacked.q_proj(x)
        assert stacked.q_proj.stack.x is None
    with torch.inference_mode():
        close([stacked.v_proj(other)], [attention.v_proj(other)])


def test_vectors_that_projections_do_not_fill():
    """k and v have 8 rows, vectors 16: they restart in the stacked weight as they did in each."""
    model = sparse_model("llama", pattern="16:2:8")
    want = outputs(model, "llama")
    ct.replace_blocks_(model)
    weight = model.model.layers[0].self_attn.q_proj.stack.layer.weight
    assert list(weight.grid.row_segments) == [16, 8, 8]
    close(outputs(model, "llama"), want)


def test_what_is_left_alone():
    model = make_model("llama")
    ct.prune_(model, {"*k_proj*": "2:4", "*gate_proj*": None, "*": "4:2:8"})
    ct.sparsify_(model)
    want = outputs(model, "llama")
    report = ct.replace_blocks_(model)
    reasons = {part.modules[0]: part.reason for part in report.parts if part.block == 1}
    assert reasons["self_attn.q_proj"] == "patterns or dtypes differ"
    assert "gate_proj" in reasons["mlp"] and "gate_proj" in reasons["post_attention_layernorm"]
    assert reasons["input_layernorm"] == "what reads it takes either layout"
    assert not report.replaced and "2:4" not in str(report) and "not compressed" in str(report)
    close(outputs(model, "llama"), want, 0)

    dense = make_model("bert-mlm")
    assert not ct.replace_blocks_(dense).replaced
    model = sparse_model("vit")
    ct.replace_blocks_(model)
    assert all("replaced before" in part.reason or part.part == "norm" for part in ct.replace_blocks_(model).parts)
    with pytest.raises(coppice.InvalidArgument, match="does not know the blocks of Linear"):
        ct.replace_blocks_(nn.Linear(4, 4))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_stays_what_it_was(name):
    model, other = sparse_model(name), sparse_model(name, seed=1)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    ct.replace_blocks_(model)
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[key], tensor) for key, tensor in before.items())
    want = outputs(other, name)
    outputs(model, name)  # packs what is to be outdated
    for assign in (False, True):
        report = model.load_state_dict(other.state_dict(), assign=assign)
        assert not report.missing_keys and not report.unexpected_keys
        close(outputs(model, name), want)
    for key, tensor in other.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor)


def test_asking_for_the_state_keeps_what_is_packed():
    """CUDA graphs know its address."""
    model = sparse_model("llama", pattern="2:4")
    ct.replace_blocks_(model)
    outputs(model, "llama")
    weight = model.model.layers[0].self_attn.q_proj.stack.layer.weight
    entry = _cache.lookup(*weight.operands())
    packed = entry.packed[torch.float32]
    state = model.state_dict()
    del state
    assert _cache.lookup(*weight.operands()) is entry and entry.packed[torch.float32] is packed
    model.load_state_dict({key: tensor.clone() for key, tensor in model.state_dict().items()})
    assert _cache.lookup(*weight.operands()).structure and torch.float32 not in _cache.lookup(*weight.operands()).packed


def test_loading_says_what_is_wrong():
    model = sparse_model("llama")
    state = model.state_dict()
    ct.replace_blocks_(model)
    weight = "model.layers.0.self_attn.k_proj.weight.values"
    with pytest.raises(RuntimeError, match=f"Missing key.*{weight}"):
        model.load_state_dict({key: tensor for key, tensor in state.items() if key != weight})
    with pytest.raises(RuntimeError, match=f"size mismatch for {weight}"):
        model.load_state_dict(dict(state, **{weight: torch.zeros(3, 3)}))
    with pytest.raises(RuntimeError, match="Unexpected key.*k_proj.other"):
        model.load_state_dict(dict(state, **{"model.layers.0.self_attn.k_proj.other": torch.zeros(3)}))


@pytest.mark.parametrize("name", NAMES)
def test_saved_models_are_those_of_before(name, tmp_path):
    model = sparse_model(name)
    model.save_pretrained(tmp_path / "a")
    want = outputs(model, name)
    ct.replace_blocks_(model)
    model.save_pretrained(tmp_path / "b")
    assert (tmp_path / "a" / "config.json").read_bytes() == (tmp_path / "b" / "config.json").read_bytes()
    plain, replaced = (load_file(tmp_path / d / "model.safetensors") for d in "ab")
    assert plain.keys() == replaced.keys() and all(torch.equal(replaced[key], tensor) for key, tensor in plain.items())
    close(outputs(type(model).from_pretrained(tmp_path / "b"), name), want)
    with pytest.raises(coppice.InvalidArgument, match="replaced by replace_blocks_"):
        model.dequantize()


@pytest.mark.parametrize("kind", ["MistralConfig", "Qwen2Config", "Qwen3Config"])
def test_other_rows_of_the_table(kind):
    torch.manual_seed(1)
    sizes = dict(vocab_size=46, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                 num_key_value_heads=1, max_position_embeddings=32, pad_token_id=0)
    config = getattr(transformers, kind)(**sizes)
    assert any(config.model_type in types.split() for types in ROLES)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    ct.prune_(model, "4:2:8")
    ct.sparsify_(model)
    want = outputs(model, "llama")
    ct.replace_blocks_(model)
    assert counts(model) == (4, 6, 2, 0)
    close(outputs(model, "llama"), want)


@pytest.mark.parametrize("attention", ["sdpa", "grouped"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_generation_of_the_study(name, attention, monkeypatch):
    """bench/python makes the tokens that transformers makes, in the memory that a graph would replay over."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench" / "python")
    study = __import__("end_to_end_models")
    monkeypatch.setattr(study, "attention_for", lambda *_: attention)
    model = sparse_model(name)
    tokens = batches_for(name, count=1)[0]["input_ids"][:1, :1]
    want = model.generate(tokens, max_new_tokens=8, do_sample=False, eos_token_id=None, attention_mask=torch.ones_like(tokens))
    ct.replace_blocks_(model)
    with torch.no_grad():
        generation = study.Generation(model, 12, torch.device("cpu"), torch.float32, "eager")
        generation.start(tokens.item())
        got = [tokens.item()]
        for _ in range(8):
            generation.step()
            got.append(generation.token.item())
    assert got == want[0].tolist()
    sys.modules.pop("end_to_end_models")
