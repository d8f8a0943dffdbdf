"""coppice.evaluate: every measure against a calculation of the test's own, on tiny random models."""

import json
import math
import runpy

import pytest

from torch_models import WORDS, make_model, save_model, tokenizer, torch, transformers, write_text

import coppice
from coppice.evaluation import cli
from coppice.evaluation.encoder_tasks import pool, pooling_of
from coppice.evaluation.task_file import read_task


def sentences(count, seed=0, least=3):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(least, 9, (count,), generator=generator).tolist()
    return [" ".join(WORDS[i] for i in torch.randint(40, (n,), generator=generator).tolist()) for n in lengths]


def write_task(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_perplexity_is_that_of_every_window(tmp_path):
    save_model(tmp_path / "m", "llama")
    text = write_text(tmp_path / "t.txt", 50)
    found = coppice.evaluate(tmp_path / "m", text=[text], length=16)["words"]
    assert (found["measure"], found["length"], found["windows"]) == ("perplexity", 16, 3)
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "m")
    ids = torch.tensor(tokenizer()(text.read_text(), add_special_tokens=False)["input_ids"])
    losses = [float(model(input_ids=w[None], labels=w[None]).loss.detach()) for w in (ids[0:16], ids[16:32], ids[33:49])]
    assert found["value"] == pytest.approx(math.exp(sum(losses) / 3), rel=1e-5)
    assert coppice.evaluate(tmp_path / "m", text=[text], length=16, samples=1)["words"]["windows"] == 1


def test_pseudo_perplexity_hides_one_token_at_a_time(tmp_path):
    save_model(tmp_path / "m", "bert-mlm")
    text = write_text(tmp_path / "t.txt", 30)
    found = coppice.evaluate(tmp_path / "m", text=[text], length=12, samples=2)["words"]
    assert (found["measure"], found["length"], found["windows"]) == ("pseudo-perplexity", 12, 2)
    model = transformers.BertForMaskedLM.from_pretrained(tmp_path / "m").eval()
    ids = torch.tensor(tokenizer()(text.read_text(), add_special_tokens=False)["input_ids"])
    total = 0.0
    for begin in (0, 15):
        window = torch.cat([torch.tensor([2]), ids[begin : begin + 10], torch.tensor([3])])
        for place in range(1, 11):
            hidden = window.clone()
            hidden[place] = 4
            total -= float(model(input_ids=hidden[None]).logits[0, place].log_softmax(-1)[window[place]].detach())
    assert found["value"] == pytest.approx(math.exp(total / 20), rel=1e-5)


@pytest.mark.parametrize("pairs", [False, True])
def test_accuracy(tmp_path, pairs):
    save_model(tmp_path / "m", "bert-classes")
    model, tokens = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "m").eval(), tokenizer()
    texts, others = sentences(40), sentences(40, 1)
    with torch.no_grad():
        answers = [int(model(**tokens(a, b if pairs else None, return_tensors="pt")).logits.argmax()) for a, b in zip(texts, others)]
    labels = [answer if i % 4 else (answer + 1) % 3 for i, answer in enumerate(answers)]
    rows = [{"text": a, "text_pair": b, "label": label if i % 2 else f"LABEL_{label}"}
            for i, (a, b, label) in enumerate(zip(texts, others, labels))]
    if not pairs:
        rows = [{k: v for k, v in row.items() if k != "text_pair"} for row in rows]
    found = coppice.evaluate(tmp_path / "m", task=write_task(tmp_path / "t", rows))["task"]
    assert (found["kind"], found["accuracy"], found["samples"]) == ("classification", 0.75, 40)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_retrieval(name, tmp_path):
    save_model(tmp_path / "m", name)
    queries, documents = sentences(30, 2), sentences(30, 3)
    documents[1] = documents[0]  # one document, two queries
    rows = [{"query": q, "document": d} for q, d in zip(queries, documents)]
    found = coppice.evaluate(tmp_path / "m", task=write_task(tmp_path / "t", rows))["task"]
    model, tokens = type(make_model(name)).from_pretrained(tmp_path / "m").eval(), tokenizer()

    def vector(text):
        with torch.no_grad():
            states = model(**tokens(text, return_tensors="pt"), output_hidden_states=True).hidden_states[-1]
        return torch.nn.functional.normalize(states[0].mean(0), dim=0)

    unique = list(dict.fromkeys(documents))
    similar = torch.stack([vector(q) for q in queries]) @ torch.stack([vector(d) for d in unique]).T
    ranks = [int((row > row[unique.index(d)]).sum()) for row, d in zip(similar, documents)]
    assert found["documents"] == 29 and found["queries"] == 30 and found["pooling"] == "mean"
    assert found["recall@1"] == pytest.approx(sum(r < 1 for r in ranks) / 30)
    assert found["recall@10"] == pytest.approx(sum(r < 10 for r in ranks) / 30)
    assert found["mrr"] == pytest.approx(sum(1 / (r + 1) for r in ranks) / 30)


def test_pooling(tmp_path):
    states, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]])
    torch.testing.assert_close(pool(states, mask, "mean"), torch.stack([states[0, :2].mean(0), states[1, 1:].mean(0)]))
    assert torch.equal(pool(states, mask, "cls"), torch.stack([states[0, 0], states[1, 1]]))
    assert torch.equal(pool(states, mask, "last"), torch.stack([states[0, 1], states[1, 3]]))
    assert pooling_of(tmp_path) == "mean"
    (tmp_path / "1_Pooling").mkdir()
    for key, name in (("pooling_mode_cls_token", "cls"), ("pooling_mode_lasttoken", "last"), ("pooling_mode_mean_tokens", "mean")):
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({key: True}))
        assert pooling_of(tmp_path) == name


def test_bytes_of_weights_and_packed_models(tmp_path, monkeypatch):
    save_model(tmp_path / "m", "llama")
    coppice.prune_checkpoint(tmp_path / "m", tmp_path / "p", "2:4")
    coppice.pack_checkpoint(tmp_path / "p", tmp_path / "k")
    text = write_text(tmp_path / "t.txt", 100)
    monkeypatch.setattr("coppice.evaluation.costs.SECONDS", 0.01)
    dense, pruned, packed = (coppice.evaluate(tmp_path / d, text=[text], length=16, tokens=[1, 5]) for d in "mpk")
    checkpoint = coppice.Checkpoint(tmp_path / "m")
    assert dense["linear_weight_bytes"] == pruned["linear_weight_bytes"] == sum(
        4 * w.shape[0] * w.shape[1] for w in checkpoint.linear_weights())
    kept = coppice.Checkpoint(tmp_path / "k")
    assert packed["linear_weight_bytes"] == sum(kept.read_packed(w).nbytes for w in kept.packed_weights())
    assert dense["model_bytes"] - packed["model_bytes"] == dense["linear_weight_bytes"] - packed["linear_weight_bytes"]
    assert packed["words"]["value"] == pytest.approx(pruned["words"]["value"], rel=1e-4) != dense["words"]["value"]
    assert set(packed["latency"]) == {"1", "5"} and all(t["ms"] > 0 and t["runs"] >= 10 for t in packed["latency"].values())


def test_the_command_prints_one_table_and_writes_one_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("coppice.evaluation.costs.SECONDS", 0.01)
    save_model(tmp_path / "m", "gpt2")
    coppice.prune_checkpoint(tmp_path / "m", tmp_path / "p", "2:4")
    text = write_text(tmp_path / "t.txt")
    arguments = [str(tmp_path / "m"), "--against", str(tmp_path / "p"), "--text", str(text), "--length", "16", "--tokens", "4"]
    cli.main([*arguments, "--json", str(tmp_path / "r.json")])
    shown = capsys.readouterr().out
    assert "perplexity (length 16, 25 windows)" in shown and "ms for 4 tokens" in shown and "ratio" in shown
    document = json.loads((tmp_path / "r.json").read_text())
    assert [m["words"]["windows"] for m in document["models"]] == [25, 25]
    cli.main([*arguments[:1], *arguments[3:], "--no-time", "--json", "-"])
    assert json.loads(capsys.readouterr().out)["models"][0]["words"] == document["models"][0]["words"]


@pytest.mark.parametrize("name, options, message", [
    ("bert", ["--text", "TEXT"], "a BertModel predicts no words; use --task"),
    ("bert", ["--task", "LABELS"], "which a BertModel does not do; needs a ...ForSequenceClassification"),
    ("bert-classes", ["--task", "LABELS"], "label 'x': the model has LABEL_0"),
    ("bert", ["--task", "TEXT"], "line 1: not JSON"),
    ("bert", ["--length", "64"], "64 tokens: the model takes 32 at most"),
    ("bert", ["--tokens", "1,64"], "64 tokens: the model takes 32 at most"),
    ("bert", ["--no-time"], "nothing to measure"),
    ("llama", ["--text", "TEXT", "--samples", "1000"], "lower --samples"),
])
def test_errors_are_one_line(name, options, message, tmp_path):
    save_model(tmp_path / "m", name)
    files = {"TEXT": write_text(tmp_path / "t.txt"), "LABELS": write_task(tmp_path / "l", [{"text": "w1", "label": "x"}])}
    with pytest.raises(SystemExit, match=message):
        cli.main([str(tmp_path / "m"), *(str(files.get(option, option)) for option in options)])


def test_what_is_not_there(tmp_path, capsys):
    save_model(tmp_path / "m", "bert")
    with pytest.raises(SystemExit, match="nowhere' is no directory with a config.json"):  # and the hub is not asked
        cli.main([str(tmp_path / "nowhere"), "--tokens", "1"])
    with pytest.raises(SystemExit):
        cli.main([str(tmp_path / "m"), "--tokens", "x"])
    assert "argument --tokens: invalid numbers value: 'x'" in capsys.readouterr().err
    with pytest.raises(coppice.InvalidArgument, match="needs a model of transformers, got Linear"):
        coppice.calibrate(torch.nn.Linear(4, 4), [torch.zeros(1, 4)], tmp_path / "s")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path):
    save_model(tmp_path / "m", "bert")
    calls = (lambda: coppice.evaluate(tmp_path / "m", device="cuda"),
             lambda: coppice.prune(tmp_path / "m", tmp_path / "p", "2:4", "obs", [], device="cuda"),
             lambda: coppice.calibrate(make_model("bert"), [], tmp_path / "s", device="cuda"))
    for call in calls:
        with pytest.raises(coppice.DeviceError, match="PyTorch sees no GPU"):
            call()


def test_lines_of_a_task_are_of_one_kind(tmp_path):
    for rows, message in (([], "needs lines"), ([{"a": 1}], "needs lines"), ([[1]], "needs lines"),
                          ([{"text": "a", "label": 0}, {"query": "a", "document": "b"}], "line 2: needs text and label")):
        with pytest.raises(ValueError, match=message):
            read_task(write_task(tmp_path / "t", rows))


@pytest.mark.parametrize("name", ["calibrate", "prune", "evaluate"])
def test_commands_and_functions_share_a_name(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["coppice", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"coppice.{name}", run_name="__main__")
    assert end.value.code == 0 and f"python -m coppice.{name}" in capsys.readouterr().out
    assert callable(getattr(coppice, name))
