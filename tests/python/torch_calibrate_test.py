"""coppice.calibrate on tiny random models: its sums against hooks of the test's own and against autograd."""

import json
import os
import subprocess

import numpy as np
import pytest

from torch_models import MODELS, batches_for, make_model, save_model, torch, transformers, write_text

import coppice
from coppice.calibration import cli
from coppice.calibration.gradients import Loss
from coppice.models.blocks import BLOCKS, blocks_of
from coppice.models.names import linear_modules, saved_names, stored_name, stored_tensors
from coppice.models.text import special_tokens, window_starts, windows
from coppice.torch import prune_


def inputs_by_hand(model, batches):
    """{module: fp64 [tokens, cols]}."""
    seen, handles = {}, []
    for module in model.modules():
        if type(module).__name__ in ("Linear", "Conv1D"):
            def hook(module, args, _kwargs):
                seen.setdefault(module, []).append(args[0].detach().double().numpy())
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    for handle in handles:
        handle.remove()
    return {module: np.concatenate([x.reshape(-1, x.shape[-1]) for x in parts]) for module, parts in seen.items()}


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("table", [True, False])
def test_gram_matrices_are_those_of_the_model(name, table, tmp_path, monkeypatch):
    if not table:
        monkeypatch.setattr("coppice.models.blocks.BLOCKS", {})
    model, batches = make_model(name), batches_for(name, 6)
    report = coppice.calibrate(model, batches, tmp_path / "s.safetensors", held_out_every=3)
    assert report.block_by_block == table
    assert sorted(os.listdir(tmp_path)) == ["s.held_out.safetensors", "s.safetensors"]
    modules = linear_modules(model)
    for which, chosen in (("calibration", (0, 1, 3, 4)), ("held_out", (2, 5))):
        stats = coppice.Statistics(report.files[which])
        assert stats.set == which and stats.weights == report.weights
        seen = inputs_by_hand(model, [batches[i] for i in chosen])
        assert set(stats.weights) == {weight for weight, module in modules.items() if module in seen}
        for weight in stats.weights:
            x = seen[modules[weight]]
            np.testing.assert_allclose(stats.gram(weight), x.T @ x, rtol=1e-4, atol=1e-3)
            np.testing.assert_array_equal(stats.square_sums(weight), np.diagonal(stats.gram(weight)))
            assert stats.samples(weight) == len(x)


def test_a_model_is_left_as_it_was(tmp_path):
    model, batches = make_model("gpt2"), batches_for("gpt2")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.config.use_cache = True
    coppice.calibrate(model, batches, tmp_path / "s", fisher=4)
    wanted = coppice.calibrate(model, batches, tmp_path / "s").weights
    sums = {weight: coppice.Statistics(tmp_path / "s").gram(weight) for weight in wanted}
    model.train()
    model.transformer.h[0].eval()
    coppice.calibrate(model, batches, tmp_path / "s")  # without dropout
    assert all(np.array_equal(sums[weight], coppice.Statistics(tmp_path / "s").gram(weight)) for weight in wanted)
    assert model.training and model.transformer.h[1].mlp.training and not model.transformer.h[0].mlp.training
    assert model.config.use_cache is True
    assert all(torch.equal(before[n], p) and p.requires_grad and p.grad is None for n, p in model.named_parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())


def test_layers_fed_by_one_tensor_share_it(tmp_path):
    for sharing in (True, False):
        report = coppice.calibrate(make_model("llama"), batches_for("llama"), tmp_path / "s", sharing=sharing)
        layer = "model.layers.1."
        q, k, v = (report.weights[f"{layer}self_attn.{p}_proj.weight"] for p in "qkv")
        gate, up = (report.weights[f"{layer}mlp.{p}_proj.weight"] for p in ("gate", "up"))
        assert (q == k == v and gate == up) == sharing and q != gate


def test_tokens_that_only_fill_up_do_not_count(tmp_path):
    model, ids = make_model("bert"), batches_for("bert", 1)[0]["input_ids"]
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    report = coppice.calibrate(model, [{"input_ids": ids, "attention_mask": mask}], tmp_path / "a")
    separate = [{"input_ids": ids[:1]}, {"input_ids": ids[1:, :5]}]
    wanted = coppice.calibrate(model, separate, tmp_path / "b")
    a, b = (coppice.Statistics(r.files["calibration"]) for r in (report, wanted))
    for weight in a.weights:
        if "pooler" not in weight:
            assert a.samples(weight) == b.samples(weight) == 17
        np.testing.assert_allclose(a.gram(weight), b.gram(weight), rtol=1e-4, atol=1e-3)


def test_names_are_those_of_the_checkpoint(tmp_path):
    """With and without the base model's prefix, and where transformers calls parameters differently."""
    for name in ("bert-mlm", "vit", "llama"):
        model = make_model(name)
        model.save_pretrained(tmp_path / name)
        stored = stored_tensors(tmp_path / name)
        assert set(saved_names(model).values()) >= stored
        assert set(linear_modules(model, stored)) == set(linear_modules(model)) & stored
        found = {w.name for w in coppice.Checkpoint(tmp_path / name).linear_weights()}
        assert found and found <= set(linear_modules(model, stored))
    base = transformers.BertModel.from_pretrained(tmp_path / "bert-mlm", add_pooling_layer=False)
    assert set(linear_modules(base, stored_tensors(tmp_path / "bert-mlm"))) == {
        w.name for w in coppice.Checkpoint(tmp_path / "bert-mlm").linear_weights()}
    assert stored_name(["b.weight"], "bert", {"bert.b.weight"}) == "bert.b.weight"
    assert stored_name(["c.weight"], "bert", {"b.weight"}) is None


@pytest.mark.parametrize("name, loss", [("bert", "embedding"), ("bert-mlm", "masked-lm"), ("gpt2", "lm"), ("llama", "lm"),
                                        ("llama", "embedding"), ("vit", "embedding")])
def test_fisher_blocks_are_sums_of_gradient_products(name, loss, tmp_path):
    model, batches, block = make_model(name), batches_for(name, 3), 5  # 5 does not divide 16 or 24
    report = coppice.calibrate(model, batches, tmp_path / "s", fisher=block, loss=loss, seed=3, mask_token=4, held_out_every=3)
    from safetensors.numpy import load_file

    tensors = load_file(report.files["calibration"])
    assert not any(n.endswith(".fisher") for n in load_file(report.files["held_out"]))
    loss_of, modules, gradients = Loss(model, loss, 3, 4), linear_modules(model), {}
    for batch in batches[:2]:
        model.zero_grad()
        loss_of(batch).backward()
        for weight, module in modules.items():
            grad = torch.zeros_like(module.weight) if module.weight.grad is None else module.weight.grad
            grad = grad.T if type(module).__name__ == "Conv1D" else grad
            gradients.setdefault(weight, []).append(grad.double().numpy().copy())
    assert sum(np.abs(parts).max() > 0 for parts in gradients.values()) >= len(gradients) - 1  # a head or pooler beside it
    for weight, parts in gradients.items():
        rows, cols = parts[0].shape
        want = np.zeros((rows, -(-cols // block), block, block))
        for b in range(want.shape[1]):
            for g in parts:
                piece = g[:, block * b : block * b + block]
                want[:, b, : piece.shape[1], : piece.shape[1]] += np.einsum("ri,rj->rij", piece, piece)
        np.testing.assert_allclose(tensors[weight + ".fisher"], want.reshape(-1, block, block), rtol=1e-6, atol=1e-20)
        assert tensors[weight + ".fisher_samples"][0] == 2


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_the_command_writes_what_pruning_reads(name, tmp_path, capsys):
    save_model(tmp_path / "m", name)
    text = write_text(tmp_path / "t.txt")
    cli.main([str(tmp_path / "m"), "--text", str(text), "--samples", "6", "--length", "12", "--held-out-every", "3",
              "-o", str(tmp_path / "s.safetensors")])
    assert "held_out" in capsys.readouterr().out
    stats = coppice.Statistics(tmp_path / "s.safetensors")
    assert {w.name for w in coppice.Checkpoint(tmp_path / "m").linear_weights()} <= set(stats.weights)


@pytest.mark.skipif(not os.environ.get("COPPICE"), reason="COPPICE does not name the coppice command")
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_the_command_coppice_prunes_by_it(name, tmp_path):
    save_model(tmp_path / "m", name)
    report = coppice.calibrate(make_model(name), batches_for(name, 6), tmp_path / "s.safetensors", held_out_every=3)
    shown = subprocess.run([os.environ["COPPICE"], "prune", tmp_path / "m", "--pattern", "2:4", "--method", "wanda", "--stats",
                            report.files["calibration"], "--held-out", report.files["held_out"], "--no-time", "--json", "-o",
                            tmp_path / "pruned"], check=True, capture_output=True, text=True).stdout
    for layer in json.loads(shown)["layers"]:
        assert layer["scored_by"] == "wanda" and 0 < layer["error"] < 1 and 0 < layer["held_out_error"] < 1


def test_windows(tmp_path):
    save_model(tmp_path / "m", "bert")
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    text = write_text(tmp_path / "t.txt", 100)
    assert special_tokens(tokens) == ([2], [3])
    ids = windows(tokens, [text, text], 6, 12, special=True)
    assert tuple(ids.shape) == (6, 12) and (ids[:, 0] == 2).all() and (ids[:, -1] == 3).all() and (ids[:, 1:-1] > 4).all()
    assert len(windows(tokens, [text], None, 12)) == 8
    starts = window_starts(1000, 9, 100)
    assert all(b - a >= 100 for a, b in zip(starts, starts[1:] + [1000]))


@pytest.mark.parametrize("options, message", [
    (["--length", "33"], "takes 32 tokens at most"),
    (["--samples", "100"], "enough for 33 samples"),
    (["--samples", "0"], "needs? to be 1 or more"),
    (["--only", "nothing*"], "no linear layer matches"),
    (["--held-out-every", "1"], "2 or more"),
    (["--fisher", "4", "--loss", "lm"], "a BertModel has no head for words"),
])
def test_errors_are_one_line_and_leave_nothing(tmp_path, options, message):
    save_model(tmp_path / "m", "bert")
    text = write_text(tmp_path / "t.txt")
    with pytest.raises(SystemExit, match=message):
        cli.main([str(tmp_path / "m"), "--text", str(text), "--samples", "6", "--length", "12", "-o", str(tmp_path / "s"), *options])
    assert sorted(os.listdir(tmp_path)) == ["m", "t.txt"]


def test_activations_that_are_no_numbers_are_an_error(tmp_path):
    model = make_model("bert")
    with torch.no_grad():
        blocks_of(model)[1].attention.self.value.weight.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="encoder.layer.1.attention.output.dense.weight' is not a number"):
        coppice.calibrate(model, batches_for("bert"), tmp_path / "s")
    assert not any(tmp_path.iterdir()) and not any("forward" in vars(m) for m in model.modules())


@pytest.mark.parametrize("model_type", sorted(" ".join(BLOCKS.values()).split()))
def test_the_table_names_blocks(model_type):
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(model_type)
        for field, value in (("num_hidden_layers", 2), ("num_layers", 2)):
            if hasattr(config, field):
                setattr(config, field, value)
        if hasattr(config, "layer_types"):
            config.layer_types = ["full_attention"] * 2
        model = transformers.AutoModel.from_config(config)
    assert len(blocks_of(model)) == 2


@pytest.mark.parametrize("method", ["wanda", "obs", "fisher"])
def test_prune_takes_the_file(method, tmp_path):
    """Of a model without a head, for one that has a head."""
    coppice.calibrate(make_model("bert"), batches_for("bert"), tmp_path / "s", fisher=8)
    stats = coppice.Statistics(tmp_path / "s")
    model = make_model("bert-mlm")
    name, weight = "bert.encoder.layer.1.output.dense", "encoder.layer.1.output.dense.weight"
    before = model.get_submodule(name).weight.detach().clone()
    prune_(model, "2:4", method, filter="*encoder*", statistics=stats)
    if method == "wanda":
        want = before.numpy() * coppice.score_mask(coppice.score_weights(before, "wanda", stats.square_sums(weight)), "2:4")
    else:
        want = (coppice.obs_prune(before, "2:4", stats.gram(weight)) if method == "obs"
                else coppice.fisher_prune(before, "2:4", *stats.fisher(weight))).weight
    assert np.array_equal(model.get_submodule(name).weight.detach(), want)
    with pytest.raises(coppice.InvalidArgument, match="nothing for the layer cls.predictions.transform.dense"):
        prune_(model, "2:4", method, filter="*transform*", statistics=stats)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", list(MODELS))
def test_one_block_at_a_time_is_on_the_gpu(name, tmp_path, monkeypatch):
    model, batches = make_model(name), batches_for(name, 4)
    wanted = coppice.Statistics(coppice.calibrate(model, batches, tmp_path / "a").files["calibration"])
    resident = []

    def look(stage):
        resident.append({p.device.type for block in blocks_of(model) for p in block.parameters()})

    report = coppice.calibrate(model, batches, tmp_path / "b", device="cuda", progress=look)
    found = coppice.Statistics(report.files["calibration"])
    assert report.block_by_block and all(devices == {"cpu"} for devices in resident)
    assert {p.device.type for p in model.parameters()} == {"cpu"} and found.weights == wanted.weights
    for weight in wanted.weights:
        np.testing.assert_allclose(found.gram(weight), wanted.gram(weight), rtol=1e-3, atol=1e-3)
