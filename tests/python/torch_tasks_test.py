"""Tasks of coppice.evaluate beside those of torch_evaluate_test.py, against calculations of the tests' own."""

import json

import numpy as np
import pytest

from torch_models import WORDS, make_model, save_model, tokenizer, torch, transformers

import coppice
from coppice.calibration import cli as calibrate_cli
from coppice.evaluation import cli
from coppice.evaluation.encoder_tasks import ranks

SIZE = {"height": 32, "width": 32}


def write_task(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(count, seed):
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(3, 9))) for _ in range(count)]


def save_images(folder, count=7):
    """Random images in folders LABEL_0, ...; all of them, by name."""
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(2)
    made = []
    for i in range(count):
        path = folder / f"LABEL_{i % 3}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        made.append((path, generator.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)))
        image.fromarray(made[-1][1]).save(path)
    return made


def save_vit(directory):
    save_model(directory, "vit")
    transformers.ViTImageProcessorPil(size=SIZE).save_pretrained(directory)
    return directory


def test_images(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("coppice.evaluation.costs.SECONDS", 0.01)
    images = save_images(tmp_path / "images")
    save_vit(tmp_path / "m")
    model, processor = make_model("vit"), transformers.ViTImageProcessorPil(size=SIZE)
    with torch.no_grad():
        answers = [int(model(**processor(images=[array], return_tensors="pt")).logits.argmax()) for _, array in images]
    right = [answer == i % 3 for i, answer in enumerate(answers)]
    found = coppice.evaluate(tmp_path / "m", task=tmp_path / "images", tokens=[2])
    assert found["task"] == {"kind": "images", "accuracy": sum(right) / 7, "samples": 7} and found["latency_of"] == "images"
    rows = [{"image": f"images/{path.parent.name}/{path.name}", "label": answer} for (path, _), answer in zip(images, answers)]
    cli.main([str(tmp_path / "m"), "--task", str(write_task(tmp_path / "t", rows)), "--tokens", "1"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "accuracy (7 samples) 1.0000" in shown and "ms for 1 images" in shown


def test_images_calibrate(tmp_path):
    images = save_images(tmp_path / "images")
    save_vit(tmp_path / "m")
    calibrate_cli.main([str(tmp_path / "m"), "--images", str(tmp_path / "images"), "--samples", "3", "-o", str(tmp_path / "s")])
    weight = "vit.encoder.layer.0.attention.attention.query.weight"
    assert coppice.Statistics(tmp_path / "s").samples(weight) == 3 * 5  # four patches and the class
    with pytest.raises(SystemExit, match="has 7 images, enough for 7 samples"):
        calibrate_cli.main([str(tmp_path / "m"), "--images", str(tmp_path / "images"), "--samples", "8", "-o", str(tmp_path / "s")])
    with pytest.raises(SystemExit, match="a ViTForImageClassification takes images: pass --images"):
        calibrate_cli.main([str(tmp_path / "m"), "--text", str(images[0][0])])


def test_words(tmp_path):
    torch.manual_seed(3)
    names = {"O": 0, "B-X": 1, "I-X": 2}
    base = make_model("bert-classes").config.to_dict()
    config = transformers.BertConfig(**{**base, "label2id": names, "id2label": {i: name for name, i in names.items()}})
    model = transformers.BertForTokenClassification(config).eval()
    model.save_pretrained(tmp_path / "m")
    tokenizer().save_pretrained(tmp_path / "m")
    words = [text.split() for text in texts(20, 4)]
    with torch.no_grad():
        answers = [model(**tokenizer()(w, is_split_into_words=True, return_tensors="pt")).logits[0, 1:-1].argmax(-1).tolist() for w in words]
    labels = [[list(names)[(a + (i % 5 == 0)) % 3] for i, a in enumerate(answer)] for answer in answers]
    rows = [{"tokens": w, "labels": label} for w, label in zip(words, labels)]
    found = coppice.evaluate(tmp_path / "m", task=write_task(tmp_path / "t", rows))["task"]
    want = [(names[label], a) for row, answer in zip(labels, answers) for label, a in zip(row, answer)]
    assert found["words"] == len(want) and found["accuracy"] == pytest.approx(np.mean([a == b for a, b in want]))
    both, given, made = (sum(test) for test in zip(*((a == b != 0, a != 0, b != 0) for a, b in want)))
    assert found["f1"] == pytest.approx(2 * both / (given + made))
    with pytest.raises(ValueError, match="of sample 1 are 2 and 1"):
        coppice.evaluate(tmp_path / "m", task=write_task(tmp_path / "t", [{"tokens": ["w1", "w2"], "labels": [0]}]))


def test_similarity(tmp_path):
    assert ranks(torch.tensor([3.0, 1, 1, 7])).tolist() == [3, 1.5, 1.5, 4]
    save_model(tmp_path / "m", "bert")
    first, second = texts(30, 5), texts(30, 6)
    model = make_model("bert")

    def vector(text):
        with torch.no_grad():
            return model(**tokenizer()(text, return_tensors="pt")).last_hidden_state[0].mean(0)

    cosines = torch.stack([torch.cosine_similarity(vector(a), vector(b), dim=0) for a, b in zip(first, second)])
    rows = [{"text": a, "text_pair": b, "score": float(c) ** 3} for a, b, c in zip(first, second, cosines)]
    found = coppice.evaluate(tmp_path / "m", task=write_task(tmp_path / "t", rows))["task"]
    assert found["kind"] == "similarity" and found["pairs"] == 30 and found["spearman"] == pytest.approx(1, abs=1e-6)
    save_model(tmp_path / "c", "bert-classes")
    with pytest.raises(ValueError, match="needs? a model of one output, this one has 3"):
        coppice.evaluate(tmp_path / "c", task=tmp_path / "t")


def test_choices(tmp_path):
    save_model(tmp_path / "m", "llama")
    model, rows = make_model("llama"), []
    for text, a, b in zip(texts(12, 7), texts(12, 8), texts(12, 9)):
        ends = []
        for choice in (" " + a, " " + b):
            alone, whole = (tokenizer()(part, return_tensors="pt")["input_ids"] for part in (text, text + choice))
            begin = alone.shape[1] - 1  # the separator behind the text goes
            with torch.no_grad():
                steps = model(input_ids=whole).logits[0, begin - 1 : -1].log_softmax(-1)
            ends.append(float(steps.gather(1, whole[0, begin:, None]).sum()))
        rows.append({"text": text, "choices": [" " + a, " " + b], "answer": int(ends[1] > ends[0])})
    rows[0]["answer"] ^= 1
    found = coppice.evaluate(tmp_path / "m", task=write_task(tmp_path / "t", rows))["task"]
    assert found["accuracy"] == pytest.approx(11 / 12) and 0 <= found["accuracy_per_character"] <= 1 and found["samples"] == 12
    with pytest.raises(ValueError, match="of sample 1: got 2, needs 0 to 1"):
        coppice.evaluate(tmp_path / "m", task=write_task(tmp_path / "t", [dict(rows[0], answer=2)]))
    assert coppice.evaluate(tmp_path / "m", task=write_task(tmp_path / "t", rows), length=4)["task"]["samples"] == 12


@pytest.mark.parametrize("row, message", [
    ({"tokens": ["w1"], "labels": [0]}, 'kind "tokens", which a BertModel does not do; needs a ...ForTokenClassification'),
    ({"image": "x.png", "label": 0}, "needs a ...ForImageClassification"),
    ({"text": "a", "choices": ["b"], "answer": 0}, "needs a ...ForCausalLM"),
])
def test_tasks_that_a_model_does_not_do(tmp_path, row, message):
    save_model(tmp_path / "m", "bert")
    with pytest.raises(SystemExit, match=message):
        cli.main([str(tmp_path / "m"), "--task", str(write_task(tmp_path / "t", [row]))])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="needs a folder of images for each label"):
        cli.main([str(tmp_path / "m"), "--task", str(tmp_path / "empty")])
