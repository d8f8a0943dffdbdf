"""coppice.training on a GPU. Skipped without one, which COPPICE_REQUIRE_GPU=1 makes a failure."""

import os

import pytest

from torch_support import torch

import coppice
import coppice.torch
from coppice.training.masks import select_masks, tensor_masks
from coppice.training.speed import compare_steps
from torch_trainer_runs import METHODS, STEPS, make_trainer, rows, same, train_two

if os.environ.get("COPPICE_REQUIRE_GPU") == "1":
    assert torch.cuda.is_available()
elif not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)


@pytest.mark.parametrize("pattern", ["2:4", "8:32", "vw32/8:32", "bw4x4/1:4", "64:2:5", "64:2:8", "16:2:16"])
def test_masks_keep_what_the_cpus_keep(pattern):
    weights = [torch.randn(shape) for shape in ((1, 1), (70, 90), (130, 257), (384, 1536))]
    kept = select_masks([weight.cuda() for weight in weights], pattern)
    for weight, mask, want in zip(weights, kept, tensor_masks(weights, coppice.Pattern(pattern))):
        assert mask.device.type == "cuda" and mask.dtype == torch.bool
        coppice.compress(weight, mask.cpu().numpy(), pattern)  # refuses what is not of the pattern
        scores = [weight.double().abs()[one].sum() for one in (mask.cpu(), want)]
        torch.testing.assert_close(*scores, rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_stopped_goes_on(method, dtype, tmp_path):
    part = make_trainer(tmp_path, method, dtype=dtype, device="cuda")
    for _ in range(11):  # in the middle of what structure decay gathers
        part._log(part._step())
    part.save()
    again = make_trainer(tmp_path, method, model_seed=3, dtype=dtype, device="cuda")
    assert again.step == 11
    for one, other in zip(part.model.state_dict().values(), again.model.state_dict().values()):
        assert other.device.type == "cuda" and torch.equal(one, other)
    assert again.run() and again.step == STEPS
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert len(losses) == STEPS and losses[-1] < losses[0]
    if method != "dense":
        report = coppice.torch.sparsify_(again.finish().cpu())
        assert len(report.sparse) == 2


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_the_cpus(method, tmp_path):
    for device in ("cpu", "cuda"):
        make_trainer(tmp_path / device, method, noise=0.0, device=device).run()
    cpu, gpu = ([float(row["loss"]) for row in rows(tmp_path / device)] for device in ("cpu", "cuda"))
    # LoRA draws its factors from the device's generator; masks of V:N:M may differ on a GPU, and what was kept differs from there on.
    steps = {"dense": STEPS, "sr-ste": STEPS, "decay": 7, "lora": 1}[method]
    torch.testing.assert_close(cpu[:steps], gpu[:steps], rtol=2e-3, atol=1e-5)


def test_compressed_steps_are_compared_under_autocast():
    """fp32 weights, which no kernel of 2:4 takes by themselves."""
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 256)).cuda()

    def loss(model, batch):
        with torch.autocast("cuda", torch.bfloat16):
            return model(batch["x"]).float().square().mean()

    found = compare_steps(model, "2:4", loss, {"x": torch.randn(512, 256, device="cuda")}, repeats=2)
    assert found["layers"] == 2 and found["speedup"] > 0


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_as_one(tmp_path):
    (tmp_path / "two").mkdir()
    states = train_two(tmp_path / "two", "cuda")
    assert same(*states)
    alone = make_trainer(tmp_path / "one", model_seed=0, noise=0.0)
    alone.run()
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(states[0][name], value, rtol=1e-2, atol=1e-3)
    assert rows(tmp_path / "two")[-1]["step"] == str(STEPS)
