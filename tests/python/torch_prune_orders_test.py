"""coppice.prune by gradients, and with channels in other orders."""

import numpy as np
import pytest

from torch_models import batches_for, make_model, save_model, torch, transformers, write_text

import coppice
import coppice.huggingface  # noqa: F401  packed checkpoints
from coppice.pruning import cli


def weights_of(directory):
    checkpoint = coppice.Checkpoint(directory)
    return {w.name: checkpoint.read(w) for w in checkpoint.linear_weights()}


def logits(directory, name):
    model = type(make_model(name)).from_pretrained(directory).eval()
    with torch.no_grad():
        return torch.cat([model(**batch)[0] for batch in batches_for(name)])


def test_fisher_is_that_of_calibrate(tmp_path):
    model = save_model(tmp_path / "m", "gpt2")
    batches = batches_for("gpt2", 6)
    coppice.calibrate(make_model("gpt2"), batches, tmp_path / "s", fisher=8, checkpoint=model)
    stats = coppice.Statistics(tmp_path / "s")
    for sequential in (False, True):
        report = coppice.prune(model, tmp_path / f"{sequential}", "2:4", "fisher", batches, fisher=8, sequential=sequential)
        assert report.sequential == sequential and all(0 < w.error < 1 for w in report.weights)
    dense, alone, ordered = (weights_of(tmp_path / name) for name in ("m", "False", "True"))
    for name, weight in dense.items():
        sums, samples = stats.fisher(name)
        assert samples == 6 and sums.shape == (-(-weight.shape[1] // 8) * weight.shape[0], 8, 8)
        want = coppice.fisher_prune(weight, "2:4", sums, samples)
        assert want.error < want.magnitude_error
        np.testing.assert_allclose(alone[name], want.weight, rtol=1e-4, atol=1e-6)
        assert np.array_equal(alone[name], ordered[name]) == (".h.0." in name)  # the second block saw what the first became


def test_fisher_of_masked_models_takes_the_mask_token_of_the_directory(tmp_path):
    model = save_model(tmp_path / "m", "bert-mlm")
    report = coppice.prune(model, tmp_path / "p", "2:4", "fisher", batches_for("bert-mlm"))
    assert {w.method for w in report.weights} == {"fisher"}


def original_rows(new, old):
    """For each row of `new` the row of `old` that it is, but for zeros."""
    return [next(i for i, row in enumerate(old) if np.array_equal(row[one != 0], one[one != 0])) for one in new]


FOLDS = {  # consumer: producer, in the first block
    "bert": {"encoder.layer.0.output.dense.weight": "encoder.layer.0.intermediate.dense.weight",
             "encoder.layer.0.attention.output.dense.weight": "encoder.layer.0.attention.self.value.weight"},
    "llama": {"model.layers.0.mlp.down_proj.weight": "model.layers.0.mlp.up_proj.weight"},
}


@pytest.mark.parametrize("name", FOLDS)
def test_folded_orders(name, tmp_path):
    """What is written is the dense model with zeros, some of its channels elsewhere."""
    model = save_model(tmp_path / "m", name, hidden_size=32, intermediate_size=48)
    report = coppice.prune(model, tmp_path / "p", "2:4", "wanda", batches_for(name), permute=True)
    plain = coppice.prune(model, tmp_path / "q", "2:4", "wanda", batches_for(name), sequential=True)
    folded = {w.name for w in report.weights if w.order == "folded"}
    assert set(FOLDS[name]) <= folded
    assert report.weights[-1].error < plain.weights[-1].error  # the MLP's last
    before, after = weights_of(tmp_path / "m"), weights_of(tmp_path / "p")
    for weight in after.values():
        assert coppice.Pattern("2:4") in coppice.detect(weight)
    for consumer, producer in FOLDS[name].items():
        order = original_rows(after[producer], before[producer])
        assert sorted(order) == list(range(len(order))) and order != sorted(order)
        kept = after[consumer] != 0
        assert np.array_equal(after[consumer][kept], before[consumer][:, order][kept])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "p", "q"]


def test_shared_heads_fold_together(tmp_path):
    """Two query heads read one head of v: pruned to nothing lost, the model gives what it gave."""
    model = save_model(tmp_path / "m", "llama", hidden_size=32)
    original = make_model("llama", hidden_size=32)
    with torch.no_grad():  # only half of v's channels count, neighbours of each other
        for layer in original.model.layers:
            layer.self_attn.o_proj.weight[:, [i for i in range(32) if i % 16 < 8]] *= 1e-3
    original.save_pretrained(model)
    report = coppice.prune(model, tmp_path / "p", "dense", "magnitude", pattern_for={"*o_proj*": "2:4"}, permute=True)
    assert {w.order for w in report.weights} == {"folded"}
    coppice.prune(model, tmp_path / "q", "dense", "magnitude", pattern_for={"*o_proj*": "2:4"})
    dense, folded, plain = (logits(tmp_path / directory, "llama") for directory in "mpq")
    assert torch.linalg.norm(folded - dense) < 0.02 * torch.linalg.norm(plain - dense)


@pytest.mark.parametrize("name, method", [("bert", "obs"), ("llama", "fisher"), ("gpt2", "wanda"), ("bert", "magnitude")])
def test_stored_orders(name, method, tmp_path):
    model = save_model(tmp_path / "m", name)
    batches = None if method == "magnitude" else batches_for(name)
    elsewhere = {"bert": "*attention.output*", "llama": "*o_proj*", "gpt2": "*attn.c_proj*"}[name]
    options = dict(pattern_for={elsewhere: "2:4"}, fisher=8)
    report = coppice.prune(model, tmp_path / "p", "vw4/2:4", method, batches, permute=True, pack=True, **options)
    packed = coppice.Checkpoint(tmp_path / "p")
    orders = {w.name: w.order for w in report.weights}
    assert packed.is_packed and "stored" in orders.values()
    for weight in report.weights:
        sparse = packed.read_packed(weight.name)
        assert (sparse.input_permutation is not None) == (orders[weight.name] == "stored") and str(sparse.pattern) == weight.pattern
    coppice.unpack_checkpoint(tmp_path / "p", tmp_path / "d")
    torch.testing.assert_close(logits(tmp_path / "p", name), logits(tmp_path / "d", name), rtol=1e-4, atol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "m", "p"]


def test_packing_without_orders(tmp_path):
    model = save_model(tmp_path / "m", "vit")
    coppice.prune(model, tmp_path / "a", "2:4", "magnitude", pack=True)
    coppice.prune_checkpoint(model, tmp_path / "b", "2:4")
    coppice.pack_checkpoint(tmp_path / "b", tmp_path / "c", "2:4")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "c" / "model.safetensors").read_bytes()


def test_fold_and_order_errors(tmp_path):
    model = save_model(tmp_path / "m", "bert")
    with pytest.raises(coppice.InvalidArgument, match="has no fold 'x'"):
        coppice.write_folded(model, tmp_path / "p", {"x": np.arange(4, dtype=np.uint32)})
    with pytest.raises(coppice.InvalidArgument, match="pass pattern="):
        coppice.pack_checkpoint(model, tmp_path / "p", input_permutations={"x": np.arange(4, dtype=np.uint32)})
    with pytest.raises(coppice.InvalidArgument, match=r"needs \[blocks, B, B\]"):
        coppice.fisher_prune(np.ones((2, 4), np.float32), "2:4", np.ones((2, 4, 3)), 1)
    with pytest.raises(coppice.InvalidArgument, match='is of obs and admm, got method "fisher"'):
        coppice.prune(model, tmp_path / "p", "2:4", "fisher", [], target="dense")
    with pytest.raises(coppice.InvalidArgument, match="fisher: got 0"):
        coppice.prune(model, tmp_path / "p", "2:4", "fisher", [], fisher=0)
    coppice.calibrate(make_model("bert"), batches_for("bert"), tmp_path / "s")
    with pytest.raises(coppice.InvalidArgument, match="has no gradients of 'x'"):
        coppice.Statistics(tmp_path / "s").fisher("x")


def test_the_command(tmp_path, capsys):
    model = save_model(tmp_path / "m", "gpt2")
    text = write_text(tmp_path / "t.txt")
    cli.main([str(model), "--pattern", "2:4", "--text", str(text), "--samples", "4", "--length", "16", "--method", "fisher",
              "--fisher-block", "8", "--permute", "--pack", "-o", str(tmp_path / "p")])
    assert "folded" in capsys.readouterr().out
    assert coppice.Checkpoint(tmp_path / "p").is_packed
    cli.main([str(model), "--pattern", "2:4", "--method", "magnitude", "-o", str(tmp_path / "q")])  # needs no text
    with pytest.raises(SystemExit):
        cli.main([str(model), "--pattern", "2:4", "-o", str(tmp_path / "r")])
    assert "--method obs needs --text or --images" in capsys.readouterr().err
    assert isinstance(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "p").eval(), transformers.GPT2LMHeadModel)
