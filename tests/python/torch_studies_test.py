"""The scripts of the training studies, a run of every kind on tiny models."""

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from torch_models import make_model, tokenizer, torch
from torch_recipes_test import pair_data

import coppice

sys.path.insert(0, str(Path(__file__).parents[2] / "bench" / "python" / "studies"))
import gpt  # noqa: E402
import jobs  # noqa: E402
import minilm  # noqa: E402
import report  # noqa: E402


def arguments(tmp_path, **changes):
    given = dict(data=tmp_path / "data", output=tmp_path / "out", device="cpu", dtype="float32", seeds=[0, 1], steps=4, batch=4, tiny=True, small=False,
                 grid=True, thin=False, only="", list=False, processes=1, threads=None, seconds=1e9)
    return argparse.Namespace(**{**given, **changes})


def run(study, args, wanted):
    """Results of the jobs of these (pattern, way)."""
    found = {}
    for job in study.jobs_of(args):
        key = job["pattern"], job["way"]
        if key in wanted and job["seed"] == 0 and key not in found:
            found[key] = study.work(job, args, args.output / "runs" / jobs.name_of(job), time.time() + 600)
    assert set(found) == set(wanted)
    return found


def test_gpt(tmp_path):
    (tmp_path / "data").mkdir()
    for part, count in (("train", 4000), ("test", 500)):
        np.save(tmp_path / "data" / f"{part}.npy", np.random.default_rng(1).integers(0, 8192, count).astype(np.uint16))
    args = arguments(tmp_path)
    wanted = [("dense", "dense"), *[("64:2:8", way) for way in ("decay", "gradual-mag", "obs", "greedy")], ("vw32/8:32", "decay"), ("2:4", "sr-ste-1e-2"), ("32:2:16", "gradual-mag")]
    found = run(gpt, args, wanted)
    assert all(np.isfinite(row["perplexity"]) for row in found.values())
    assert len({row["perplexity"] for row in found.values()}) == len(found)
    late = gpt.work(gpt.jobs_of(args)[2], args, tmp_path / "late", time.time())  # stops after a step, and goes on
    assert late is None and (tmp_path / "late" / "checkpoint.pt").exists()
    assert gpt.work(gpt.jobs_of(args)[2], args, tmp_path / "late", time.time() + 600) is not None


def test_minilm(tmp_path):
    (tmp_path / "data").mkdir()
    pair_data(tmp_path / "data")
    make_model("bert").save_pretrained(tmp_path / "data" / "model")
    tokenizer().save_pretrained(tmp_path / "data" / "model")
    args = arguments(tmp_path)
    args.output.mkdir()
    ways = [("2:4", way) for way in ("wanda+perm", "admm+perm", "obs+perm", "admm", "sr-ste", "lora")]
    found = run(minilm, args, [("dense", "dense"), *ways, ("64:2:8", "fixed"), ("64:2:8", "decay"), ("32:2:8", "wanda-greedy")])
    assert all(0 <= row["recall@10"] <= 1 for row in found.values())
    names = [jobs.name_of(job) for job in minilm.jobs_of(args)]
    assert len(set(names)) == len(names)
    thin = minilm.jobs_of(arguments(tmp_path, thin=True))
    assert {job["pattern"] for job in thin} == {"dense", "2:4", "64:2:8"} and all(job in minilm.jobs_of(args) for job in thin)


@pytest.mark.parametrize("permuted", [False, True])
def test_pruned_weights_have_their_order(permuted):
    class Stats:
        def gram(self, _name):
            x = np.random.default_rng(0).normal(size=(200, 16)) * np.arange(1, 17)
            return x.T @ x

        def square_sums(self, name):
            return self.gram(name).diagonal().copy()

    weight = torch.randn(8, 16).numpy()
    errors = {}
    for method in ("magnitude", "wanda", "obs"):
        scores = minilm.scores_of(weight, method, Stats(), "w")
        order = coppice.find_input_permutation(scores, "2:4").permutation if permuted else None
        new = minilm.pruned_weight(weight, "2:4", method, order, Stats(), "w")
        assert (new == 0).sum() == 64
        errors[method] = np.linalg.norm((weight - new) @ np.linalg.cholesky(Stats().gram("w")))
    assert errors["obs"] < errors["wanda"] < errors["magnitude"]


def test_jobs_go_on(tmp_path):
    args = arguments(tmp_path, list=True)
    table = [{"pattern": "2:4", "way": "x", "seed": seed} for seed in (0, 1)]
    (tmp_path / "out" / "results").mkdir(parents=True)
    assert jobs._one(lambda *_: None, table[0], args, time.time() + 9) is None and jobs.write_table(table, args.output) == 0
    assert jobs._one(lambda *_: {"m": 2.0}, table[1], args, time.time() - 1) is None
    assert jobs._one(lambda *_: {"m": 2.0}, table[1], args, time.time() + 9)["m"] == 2.0
    assert jobs.expected(table[0], args.output / "results") >= 0 == jobs.expected({"way": "y"}, args.output / "results")
    assert jobs.write_table(table, args.output) == 1
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["1"]


def test_verdicts_and_diversity(tmp_path, capsys):
    assert [round(report.diversity(p), 4) for p in ("16:2:5", "128:2:5", "16:2:8", "64:2:8")] == [0.3785, 0.3609, 0.2572, 0.2323]
    kinds = [round(report.diversity(p), 4) for p in ("2:4", "2:8", "vw32/8:32", "bw4x4/8:32")]
    assert kinds == [0.4479, 0.4165, 0.0158, 0.0316] and report.diversity("dense") is None  # ln 6 / 4, ...
    assert [report.kept(p) for p in ("2:4", "vw32/8:32", "bw4x4/8:32", "64:2:5")] == [50, 25, 25, 40]
    rows = ["pattern,way,seed,test_loss", "dense,dense,0,4.0", "dense,dense,1,4.0"]
    for number, pattern in enumerate(["128:2:8", "64:2:8", "32:2:8", "16:2:8"]):
        for seed in (0, 1):
            loss = 4.4 - 0.02 * number + 0.001 * seed
            rows += [f"{pattern},sr-ste,{seed},{loss}", f"{pattern},decay,{seed},{loss}", f"{pattern},at-once,{seed},{loss + 0.1}"]
            rows += [f"{pattern},gradual-mag,{seed},{loss - 0.1}"]
    (tmp_path / "results.csv").write_text("\n".join(rows) + "\n")
    found = report.read(tmp_path / "results.csv", "test_loss")
    said = report.verdicts(found, True, report.STUDIES["gpt"][3])
    assert "at once: **confirmed**" in said and "both gradual: **contradicted**" in said and "better in 8 of 8 pairs" in said
    assert "sr-ste, M = 8: rank correlation +1.00 over 4 patterns (seed 0), +1.00 over 4 patterns (seed 1)" in report.grid_correlations(found, "sr-ste", ("dense", "dense"), True)
    assert "| `64:2:8` |  | 4.381 (0.00071), +9.5 % | 4.381" in report.tables(found, ("dense", "dense"))


def test_changes_are_against_the_dense_model_of_the_same_seed(tmp_path):
    rows = ["dense,dense,0,4.0", "dense,dense,1,5.0", "2:4,decay,1,5.1", "2:4,obs,0,4.2", "2:4,obs,1,5.25"]
    (tmp_path / "results.csv").write_text("\n".join(["pattern,way,seed,test_loss", *rows]) + "\n")
    found = report.read(tmp_path / "results.csv", "test_loss")
    assert "| `2:4` |  | 5.1, +2.0 %, 1 seed | 4.725 (0.74), +5.0 % |" in report.tables(found, ("dense", "dense"))
    assert len(report.differences(found, "decay", "obs")) == 1
    rows = ["once,dense,dense,0,0.8", "once,2:4,magnitude,0,0.4", "recovered,2:4,fixed,1,0.6"]
    (tmp_path / "results.csv").write_text("\n".join(["stage,pattern,way,seed,recall@10", *rows]) + "\n")
    found = report.read(tmp_path / "results.csv", "recall@10")
    one, other = report.tables(found, ("dense", "once dense")).split("\n\n")  # a dense model that no seed changes stands for each
    assert "| `2:4` |  | 0.4, -50.0 % |" in one and "| `2:4` | 0.6, -25.0 % |" in other


def test_the_command_runs_processes_side_by_side(tmp_path):
    for part, count in (("train", 4000), ("test", 500)):
        np.save(tmp_path / f"{part}.npy", np.random.default_rng(1).integers(0, 8192, count).astype(np.uint16))
    command = [sys.executable, gpt.__file__, tmp_path, "-o", tmp_path / "out", "--tiny", "--seeds", "0", "--processes", "2", "--only",
               "dense_dense,2-4_obs_,64-2-5_greedy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 runs are done" in done.stdout
    assert "3 of 3 runs are done" in subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    table = (tmp_path / "out" / "results.csv").read_text()
    assert [row["way"] for row in csv.DictReader(table.splitlines())] == ["dense", "obs", "greedy"]


def test_what_a_table_has_is_not_run_again(tmp_path):
    wanted = [{"pattern": pattern, "way": "obs", "seed": seed} for seed in (0, 1) for pattern in ("2:4", "vw4/2:4")]
    (tmp_path / "done.csv").write_text("pattern,way,seed,test_loss,seconds\n2:4,obs,0,4.5,1.0\nvw4/2:4,obs,1,5.5,1.0\n2:4,obs,7,4.0,1.0\n")
    (tmp_path / "results").mkdir()
    jobs.take_done(tmp_path / "done.csv", wanted, tmp_path / "results")
    assert jobs.write_table(wanted, tmp_path) == 2
    assert report.read(tmp_path / "results.csv", "test_loss") == {("2:4", "obs"): {"0": 4.5}, ("vw4/2:4", "obs"): {"1": 5.5}}
