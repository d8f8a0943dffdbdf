"""Every recipe on a tiny model with random weights: the command trains, goes on, and writes what it says."""

import csv
import json

import numpy as np
import pytest

from torch_models import SIZES, WORDS, make_model, save_model, tokenizer, torch, transformers, write_text

import coppice
from coppice.training import cli
from coppice.training.recipes import squad

Image = pytest.importorskip("PIL.Image")


def random_words(generator, count):
    return " ".join(generator.choice(WORDS, count))


def squad_data(directory):
    generator = np.random.default_rng(2)
    for name, count in (("train.json", 12), ("dev.json", 6)):
        paragraphs = []
        for i in range(count):
            context = random_words(generator, 24 + i)
            answer = " ".join(context.split()[3:5])
            asked = {"id": str(i), "question": random_words(generator, 4), "answers": [{"text": answer, "answer_start": context.index(answer)}]}
            if i == 1:
                asked["answers"] = []
            paragraphs.append({"context": context, "qas": [asked]})
        (directory / name).write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


def image_data(directory):
    generator = np.random.default_rng(3)
    for part in ("train", "val"):
        for shade, name in enumerate(("dark", "light")):
            folder = directory / part / name
            folder.mkdir(parents=True)
            for i in range(5):
                pixels = generator.integers(0, 100, (40, 50 + i, 3)) + 150 * shade
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")


def text_data(directory):
    write_text(directory / "train.txt", 400)
    write_text(directory / "test.txt", 100, seed=6)


def pair_data(directory):
    generator = np.random.default_rng(4)
    for part in ("train", "test"):
        rows = [{"query": random_words(generator, 4), "document": random_words(generator, 12)} for _ in range(20)]
        (directory / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def deit(directory):
    torch.manual_seed(0)
    config = transformers.DeiTConfig(image_size=32, patch_size=16, **SIZES)
    transformers.DeiTForImageClassification(config).save_pretrained(directory)


def bert(directory):
    make_model("bert", max_position_embeddings=64).save_pretrained(directory)
    tokenizer().save_pretrained(directory)


# recipe: (data, model, tokens, the measure)
RECIPES = {
    "squad": (squad_data, bert, 20, "f1"),
    "images": (image_data, deit, None, "accuracy"),
    "text": (text_data, lambda directory: save_model(directory, "llama"), 16, "perplexity"),
    "retrieval": (pair_data, bert, 16, "recall@10"),
}


def prepare(recipe, tmp_path):
    data, model, length, _ = RECIPES[recipe]
    (tmp_path / "data").mkdir()
    data(tmp_path / "data")
    model(tmp_path / "m")
    given = [] if length is None else ["--length", str(length)]
    return [recipe, str(tmp_path / "m"), str(tmp_path / "data"), "--steps", "6", "--batch", "4", "--rate", "0.01", *given]


def rows(directory):
    with open(directory / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def linear_weights(directory):
    checkpoint = coppice.Checkpoint(directory)
    return {weight.name: checkpoint.read(weight) for weight in checkpoint.linear_weights()}


@pytest.mark.parametrize("recipe, method", [("squad", "decay"), ("images", "sr-ste"), ("text", "lora"), ("retrieval", "sr-ste")])
def test_trains_sparse(recipe, method, tmp_path, capsys):
    common = [*prepare(recipe, tmp_path), "--pattern", "8:2:8", "--method", method, "-o", str(tmp_path / "out"), "--log-every", "1"]
    more = ["--teacher", str(tmp_path / "m"), "--hardness", "0.5"] if recipe in ("text", "retrieval") else []
    more += ["--option", "first=0.2", "--option", "last=0.6"] if method == "decay" else []
    cli.main([*common, *more, "--seconds", "0"])
    assert "1 of 6 steps are done" in capsys.readouterr().out and not (tmp_path / "out" / "model").exists()
    cli.main([*common, *more])
    assert RECIPES[recipe][3] in json.loads(capsys.readouterr().out)
    found = rows(tmp_path / "out")
    assert [int(row["step"]) for row in found] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(float(row["loss"])) for row in found) and found[-1][RECIPES[recipe][3]]
    weights = linear_weights(tmp_path / "out" / "model")
    assert weights
    for name, weight in weights.items():
        if not any(part in name for part in ("pooler", "classifier", "outputs")):
            assert coppice.Pattern("8:2:8") in coppice.detect(weight) or (weight == 0).mean() >= 0.7, name


def test_compressed_weights(tmp_path, capsys):
    common = prepare("text", tmp_path)
    cli.main([*common, "--pattern", "2:4", "--method", "fixed", "--compressed", "-o", str(tmp_path / "out")])
    assert "a step on compressed weights:" in capsys.readouterr().err
    import coppice.huggingface  # noqa: F401

    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert len(coppice.huggingface.layers.sparse_layers(model)) == 14
    cli.main([*common, "--method", "fixed", "-o", str(tmp_path / "masked")])
    masked = linear_weights(tmp_path / "masked" / "model")
    coppice.unpack_checkpoint(tmp_path / "out" / "model", tmp_path / "dense")
    for name, weight in linear_weights(tmp_path / "dense").items():
        np.testing.assert_allclose(weight, masked[name], rtol=1e-2, atol=1e-4)


def test_the_dense_model_learns(tmp_path):
    """Dark and light images can be told apart; so the data and their labels arrive."""
    arguments = prepare("images", tmp_path)
    cli.main([*arguments, "--steps", "40", "--method", "dense", "-o", str(tmp_path / "out"), "--weight-decay", "0.1"])
    assert float(rows(tmp_path / "out")[-1]["accuracy"]) == 1.0


def test_answers_of_squad(tmp_path):
    prepare("squad", tmp_path)
    recipe = squad.Squad(tmp_path / "m", tmp_path / "data", 20)
    asked = squad.questions(tmp_path / "data" / "train.json")
    found = [f for f in recipe.dataset if f["begin"]]
    assert {f["question"] for f in found} == set(range(12)) - {1} and len(recipe.dataset) > 12
    for feature in found:
        begin, end = (torch.full((len(feature["spans"]),), -1.0) for _ in range(2))
        begin[feature["begin"]] = end[feature["end"]] = 5.0
        question = asked[feature["question"]]
        assert recipe._answer(feature, begin, end, question["context"]) == (10.0, question["answers"][0][0])
        assert recipe._answer(feature, begin.flip(0), end.flip(0), question["context"])[0] <= 10.0
    assert recipe._scores("The w1, w2!", [("w9", 0), ("w1 w2", 0)]) == (1.0, 1.0)
    assert recipe._scores("w1 w3", [("w1 w2", 0)]) == (0.0, 0.5) and recipe._scores("", []) == (1.0, 1.0)


@pytest.mark.parametrize("arguments, message", [
    (["--option", "x=1"], "sr-ste has decay=0.0002, every=1"),
    (["--option", "every=x"], "--option every=x: needs a number, such as every=1"),
    (["--compressed"], "trains with --method fixed"),
    (["--pattern", "3:x"], "3:x"),
    (["--steps", "0"], "steps: got 0"),
    (["--length", "500"], "shorter than a window"),
])
def test_refuses(arguments, message, tmp_path):
    common = prepare("text", tmp_path)
    with pytest.raises(SystemExit, match=message):
        cli.main([*common, "-o", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize("recipe, glob", [("squad", "train"), ("images", "train/CLASS"), ("text", "train"), ("retrieval", "train")])
def test_missing_data(recipe, glob, tmp_path):
    arguments = prepare(recipe, tmp_path)
    (tmp_path / "empty").mkdir()
    arguments[2] = str(tmp_path / "empty")
    with pytest.raises(SystemExit, match=f"empty.*{glob}"):
        cli.main([*arguments, "-o", str(tmp_path / "out")])
