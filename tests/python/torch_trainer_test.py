"""The trainer: the same bits whether a run was interrupted or not, several processes, what it logs and refuses."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from torch_support import torch

import coppice.torch
from coppice.training.schedules import Order, rate
from torch_trainer_runs import METHODS, STEPS, make_trainer, rows, same, train_two

@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_resuming_gives_the_same_bits(method, dtype, tmp_path):
    whole = make_trainer(tmp_path / "a", method, dtype=dtype, evaluate_every=7)
    assert whole.run()
    for _ in range(6):  # stops after 5, 10, ... steps, one of them in the middle of what structure decay gathers
        part = make_trainer(tmp_path / "b", method, dtype=dtype, save_every=5, evaluate_every=7)
        begin = part.step
        while part.step < min(begin + 6, STEPS):  # the sixth is lost
            part._log(part._step())
            if part.step % 5 == 0:
                part.save()
        part.processes.close()
    again = make_trainer(tmp_path / "b", method, dtype=dtype, save_every=5, evaluate_every=7)
    assert again.run() and again.step == STEPS
    assert same(whole.model.state_dict(), again.model.state_dict())
    assert [row["loss"] for row in rows(tmp_path / "a")] == [row["loss"] for row in rows(tmp_path / "b")]
    assert not list(tmp_path.glob("b/*.tmp*"))
    if method != "dense":
        report = coppice.torch.sparsify_(again.finish())
        assert len(report.sparse) == 2


def test_a_killed_run_goes_on(tmp_path):
    """SIGKILL at any moment, while checkpoints are written after every step."""
    whole = make_trainer(tmp_path / "a", steps=100)
    whole.run()
    code = (f"import sys, pathlib; sys.path.insert(0, {os.path.dirname(__file__)!r}); import torch_trainer_runs as t\n"
            "t.make_trainer(pathlib.Path(sys.argv[1]), steps=100, save_every=1).run()")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "b")])
    for _ in range(3000):
        if (tmp_path / "b" / "checkpoint.pt").exists() or process.poll() is not None:
            break
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    again = make_trainer(tmp_path / "b", steps=100)
    assert 0 < again.step < 100
    again.run()
    assert same(whole.model.state_dict(), again.model.state_dict())
    assert [row["loss"] for row in rows(tmp_path / "a")] == [row["loss"] for row in rows(tmp_path / "b")]


def test_two_processes_train_as_one(tmp_path):
    (tmp_path / "two").mkdir()
    states = train_two(tmp_path / "two", "cpu")
    assert same(*states)
    alone = make_trainer(tmp_path / "one", model_seed=0, noise=0.0)
    alone.run()
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(states[0][name], value, rtol=1e-3, atol=1e-5)
    assert rows(tmp_path / "two")[-1]["step"] == str(STEPS)


def test_the_gradient_of_two_processes_is_that_of_one(tmp_path):
    """Without noise: the halves of a batch together are the batch."""
    order = Order(30, 8, seed=3)
    halves = [Order(30, 8, seed=3, rank=rank, size=2) for rank in range(2)]
    for step in (0, 1, 2, 3, 11):
        assert halves[0](step) + halves[1](step) == order(step)
    epoch = sum((order(step) for step in range(3)), [])
    assert len(set(epoch)) == 24 and epoch != sum((order(step) for step in range(3, 6)), [])
    assert order(1) == Order(30, 8, seed=3)(1)


def test_time_is_up(tmp_path):
    trainer = make_trainer(tmp_path, seconds=0.0)
    assert not trainer.run() and trainer.step == 1
    assert make_trainer(tmp_path).step == 1


def test_rates():
    assert [round(rate(step, 10, 1.0, 2, "linear"), 3) for step in (0, 1, 2, 6, 9)] == [0.5, 1.0, 1.0, 0.5, 0.125]
    assert rate(0, 10, 1.0, 0, "cosine") == 1 and abs(rate(5, 10, 1.0, 0, "cosine") - 0.5) < 1e-9
    assert rate(9, 10, 2.0, 0, "constant") == 2
    assert [round(rate(step, 48, 1.0, 0, "cyclic"), 3) for step in (0, 2, 4, 6)] == [1, 0.55, 1, 0.55]


def test_refuses(tmp_path):
    make_trainer(tmp_path, seconds=0.0).run()
    with pytest.raises(ValueError, match="made with rate 0.01, not 0.5"):
        make_trainer(tmp_path, rate=0.5)
    with pytest.raises(ValueError, match="made with a method"):
        make_trainer(tmp_path, "dense")
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="is no checkpoint"):
        make_trainer(tmp_path)
    for options, message in ((dict(steps=0), "steps"), (dict(dtype="int4"), "dtype: got"), (dict(batch=7), "does not divide"),
                             (dict(schedule="x"), "needs one of constant")):
        with pytest.raises(ValueError, match=message):
            make_trainer(tmp_path / "other", **options)
    with pytest.raises(ValueError, match="does not divide among"):
        Order(10, 3, 0, 0, 2)
