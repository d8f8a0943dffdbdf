"""The trainer on GPUs: every method, resumed, and a process each. Skipped without one, which COPPICE_REQUIRE_GPU=1 makes a failure."""

import os
import socket

import pytest

from torch_support import torch

import coppice.torch
from torch_trainer_runs import METHODS, STEPS, make_trainer, rows, same, train_together

if os.environ.get("COPPICE_REQUIRE_GPU") == "1":
    assert torch.cuda.is_available()
elif not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

CUDA = {"device": "cuda"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_resumed_on_a_gpu(method, dtype, tmp_path):
    whole = make_trainer(tmp_path / "a", method, dtype=dtype, **CUDA)
    assert whole.run()
    for steps in (7, STEPS):
        part = make_trainer(tmp_path / "b", method, dtype=dtype, **CUDA)
        while part.step < steps:
            part._log(part._step())
        part.save()
        part.processes.close()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(part.model.state_dict()[name].float(), value.float(), rtol=1e-2, atol=1e-3)
    assert len(rows(tmp_path / "a")) == len(rows(tmp_path / "b")) == STEPS
    if method != "dense":
        assert len(coppice.torch.sparsify_(part.finish().cpu()).sparse) == 2  # in fp32, which no GPU kernel takes for all of them


def test_masks_as_on_the_cpu(tmp_path):
    """In fp32 both devices choose the same weights and come to the same sums."""
    for device in ("cpu", "cuda"):
        make_trainer(tmp_path / device, noise=0.0, device=device).run()
    cpu, gpu = ([float(row["loss"]) for row in rows(tmp_path / device)] for device in ("cpu", "cuda"))
    assert gpu == pytest.approx(cpu, rel=1e-2)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "two").mkdir()
    torch.multiprocessing.spawn(train_together, (tmp_path / "two", port, 2, "cuda"), nprocs=2)
    states = [torch.load(tmp_path / "two" / f"{rank}.pt", map_location="cpu") for rank in range(2)]
    assert same(*states)
    alone = make_trainer(tmp_path / "one", model_seed=0, noise=0.0)
    alone.run()
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(states[0][name], value, rtol=1e-2, atol=1e-3)
    assert rows(tmp_path / "two")[-1]["step"] == str(STEPS)
