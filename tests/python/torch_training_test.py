"""Ways of sparse training and distillation losses, each against its formula."""

import copy

import numpy as np
import pytest

from torch_models import make_model, torch, transformers

import coppice
import coppice.torch
from coppice.training import (FixedMask, SrSte, StructureDecay, ThreeStageLora, cosine_distance, decay_schedule, distillation_kl,
                              distilled, hidden_mse)
from coppice.training.methods import compress

nn = torch.nn


def mlp(seed=0, conv=False):
    torch.manual_seed(seed)
    first = transformers.pytorch_utils.Conv1D(24, 16) if conv else nn.Linear(16, 24)
    return nn.Sequential(first, nn.GELU(), nn.Linear(24, 8))


def data(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(32, 16, generator=generator), torch.randn(32, 8, generator=generator)


def loss_of(model, seed=1):
    x, y = data(seed)
    return (model(x) - y).square().mean()


def train(model, optimizer, steps, first=0):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def matrix(module):
    return module.weight.detach().t() if type(module).__name__ == "Conv1D" else module.weight.detach()


@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("pattern", ["2:4", "vw8/2:4", "8:2:8"])
def test_sr_ste_is_its_formula(pattern, conv):
    model = mlp(conv=conv)
    weight = matrix(model[0]).clone()
    mask = torch.from_numpy(coppice.magnitude_mask(weight.contiguous(), pattern))
    masked = copy.deepcopy(model)
    masked[0].weight.data.copy_((weight * mask).t() if conv else weight * mask)
    masked[2].weight.data *= torch.from_numpy(coppice.magnitude_mask(model[2].weight, pattern))
    loss_of(masked).backward()
    gradient = masked[0].weight.grad.t() if conv else masked[0].weight.grad
    want = weight - 0.5 * (gradient + 0.03 * ~mask * weight)

    method = SrSte(model, pattern, decay=0.03)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    method.attach(optimizer)
    train(model, optimizer, 1, first=1)
    torch.testing.assert_close(method.layers[0].matrix(method.layers[0].parameter.detach()), want)
    want_mask = torch.from_numpy(coppice.magnitude_mask(want.contiguous(), pattern))
    assert torch.equal(method.layers[0].matrix(method.layers[0].how.mask), want_mask) and 0 < method.log()["flips"] < 1
    method.finish()
    torch.testing.assert_close(matrix(model[0]), want * want_mask)
    assert [layer.pattern for layer in coppice.torch.sparsify_(model).layers] == [pattern] * 2


def test_masks_change_when_they_should():
    model = mlp()
    method = SrSte(model, "2:4", every=3, until=7)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    method.attach(optimizer)
    changed = []
    for step in range(1, 11):
        before = method.layers[0].how.mask.clone()
        train(model, optimizer, 1, first=step)
        changed.append(not torch.equal(before, method.layers[0].how.mask))
    assert [i + 1 for i, c in enumerate(changed) if c] == [3, 6]
    outside = ~method.layers[0].how.mask
    still = method.layers[0].parameter.detach()[outside].clone()
    train(model, optimizer, 1)
    assert torch.equal(still, method.layers[0].parameter.detach()[outside])


def test_decay_is_neither_scaled_nor_clipped():
    results = []
    for scale in (1.0, 1024.0):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        SrSte(model, "2:4", decay=0.1).attach(optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(loss_of(model)).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        scaler.step(optimizer)
        results.append(model[0].parametrizations.weight.original.detach())
    torch.testing.assert_close(*results)


def test_layers_are_those_of_the_blocks():
    model = make_model("bert-classes")
    method = SrSte(model, {"*query*": "2:4", "*": "4:8"})
    assert len(method.layers) == 12 and {str(layer.pattern) for layer in method.layers} == {"2:4", "4:8"}
    assert not any("classifier" in layer.name or "pooler" in layer.name for layer in method.layers)
    assert "4:8" in str(method)
    with pytest.raises(ValueError, match="no linear layer"):
        SrSte(make_model("bert"), "2:4", filter="nothing")
    with pytest.raises(ValueError, match="every"):
        SrSte(mlp(), "2:4", every=0)


def test_a_fixed_mask_stays():
    model = mlp()
    coppice.torch.prune_(model, "2:4")
    zero = model[0].weight == 0
    method = FixedMask(model, "2:4")
    optimizer = torch.optim.AdamW(model.parameters(), 0.05)
    train(model, method.attach(optimizer).optimizer, 3)
    method.finish()
    assert torch.equal(model[0].weight == 0, zero) and not hasattr(model[0], "parametrizations")


def fisher_by_hand(model, steps, block):
    """Sums of g g^T of the first layer over `steps` batches, with training by SGD in between."""
    model, sums = copy.deepcopy(model), 0
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        g = model[0].weight.grad.double().reshape(-1, block)
        sums = sums + g[:, :, None] * g[:, None, :]
        optimizer.step()
    return model[0].weight.detach(), sums


def test_structure_decay_is_the_librarys_update():
    model = mlp()
    weight, sums = fisher_by_hand(model, 4, 8)
    want = coppice.fisher_prune(weight, "8:2:8", sums, 4)
    method = StructureDecay(model, "8:2:8", [(4, coppice.Pattern("8:2:8"))], samples=10, block=8)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    train(model, method.attach(optimizer).optimizer, 4)
    np.testing.assert_allclose(method.layers[0].parameter.detach(), want.weight, rtol=1e-4, atol=1e-5)
    assert np.array_equal(method.layers[0].how.mask, want.mask)
    train(model, optimizer, 2)
    method.finish()
    coppice.compress(model[0].weight.detach(), None, "8:2:8")


@pytest.mark.parametrize("conv", [False, True])
def test_structure_decay_goes_in_steps(conv):
    model = mlp(conv=conv)
    schedule = decay_schedule("8:2:8", 40)
    assert [str(pattern) for _, pattern in schedule] == ["8:5/7:8", "8:4/6:8", "8:3:8", "8:2:8"]
    assert [step for step, _ in schedule] == [2, 5, 9, 12]
    method = StructureDecay(model, "8:2:8", schedule, samples=2)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    method.attach(optimizer)
    densities = []
    for step in range(14):
        train(model, optimizer, 1, first=step)
        densities.append(method.log()["density"])
    assert densities[0] == 1 and densities[1:] == sorted(densities[1:], reverse=True)
    assert [densities[step - 1] for step, _ in schedule] == [5 / 8, 4 / 8, 3 / 8, 2 / 8] and densities[-1] == 2 / 8
    assert method.sums is None
    with pytest.raises(ValueError, match="schedule"):
        StructureDecay(mlp(), "2:4", [])
    with pytest.raises(ValueError, match="needs fisher or magnitude"):
        StructureDecay(mlp(), "2:4", schedule, by="x")


def test_prunings_to_compare_with():
    assert [(step, str(pattern)) for step, pattern in decay_schedule("8:2:8", 40, prunings=1)] == [(12, "8:2:8")]
    model = mlp()
    method = StructureDecay(model, "2:4", [(1, "3:4"), (2, "2:4")], by="magnitude")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    train(model, method.attach(optimizer).optimizer, 1)
    weight = method.layers[0].parameter.detach()
    assert np.array_equal(method.layers[0].how.mask, coppice.magnitude_mask(weight, "3:4")) and method.sums is None
    assert torch.equal(model[0].weight != 0, method.layers[0].how.mask)


@pytest.mark.parametrize("conv", [False, True])
def test_three_stages_of_lora(conv):
    model = mlp(conv=conv)
    method = ThreeStageLora(model, "2:4", 40, rank=4, scale=1.0, dense=0.1, dynamic=0.2, interval=4)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.05)
    method.attach(optimizer)
    layer = method.layers[0]
    base, stages, merges = layer.parameter.detach().clone(), [], []
    for step in range(40):
        before = layer.parameter.detach().clone()
        mask = layer.how.mask.clone()
        train(model, optimizer, 1, first=step)
        stages.append(method.stage)
        if not torch.equal(before, layer.parameter):
            merges.append(step + 1)
            assert not layer.how.b.any() and layer.how.b not in optimizer.state
            own = layer.matrix(layer.parameter.detach()).contiguous()
            assert np.array_equal(layer.matrix(layer.how.mask), coppice.magnitude_mask(own, "2:4"))
        else:
            assert torch.equal(mask, layer.how.mask)
    assert stages == [1] * 3 + [2] * 8 + [3] * 29 and merges == [4, 8, 12]
    assert not torch.equal(base, layer.parameter)
    want = layer.module.weight.detach().clone()
    x = data()[0]
    y = model(x)
    method.finish()
    assert torch.equal(model[0].weight, want) and torch.equal(model(x), y) and model[0].weight.requires_grad
    coppice.compress(matrix(model[0]).contiguous(), None, "2:4")
    with pytest.raises(ValueError, match="shares"):
        ThreeStageLora(mlp(), "2:4", 10, dense=0.8, dynamic=0.3)


def test_only_lora_is_trained():
    model = mlp()
    method = ThreeStageLora(model, "2:4", 10, dense=0, dynamic=0)
    before = method.layers[0].parameter.detach().clone()
    assert method.layers[0].how.mask.float().mean() == 0.5 and method.stage == 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    train(model, method.attach(optimizer).optimizer, 2)
    assert torch.equal(before, method.layers[0].parameter) and method.layers[0].how.b.any()


def test_compressed_weights_are_trained_at_kept_positions():
    """A masked weight and a compressed one, the same steps."""
    masked = mlp()
    coppice.torch.prune_(masked, "8:2:8")
    compressed = copy.deepcopy(masked)
    coppice.torch.sparsify_(compressed)
    method = FixedMask(masked, "8:2:8")
    for model in (masked, compressed):
        train(model, torch.optim.AdamW(model.parameters(), 0.01), 4)
    method.finish()
    torch.testing.assert_close(masked[0].weight.detach(), compressed[0].to_dense(), rtol=1e-4, atol=1e-6)


def test_a_weight_that_happens_to_be_zero_makes_no_layer_sparse():
    model = mlp()
    with torch.no_grad():
        model[0].weight[3, 5] = 0
    assert compress(model, "2:4") == 2
    assert all((layer.to_dense() == 0).float().mean() == 0.5 for layer in (model[0], model[2]))
    kept = mlp(1)
    coppice.torch.prune_(kept, "1:4")
    want = [layer.weight.clone() for layer in (kept[0], kept[2])]
    assert compress(kept, "2:8") == 2  # it has its zeros, and 1:4 fits
    assert all(torch.equal(layer.to_dense(), weight) for layer, weight in zip((kept[0], kept[2]), want))


def test_losses():
    torch.manual_seed(3)
    student, teacher = torch.randn(2, 5, 7, requires_grad=True), torch.randn(2, 5, 7, requires_grad=True)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    p, q = (torch.softmax(logits.double() / 3, -1) for logits in (teacher, student))
    kl = 9 * (p * (p / q).log()).sum(-1)
    torch.testing.assert_close(distillation_kl(student, teacher, 3.0).double(), kl.mean())
    torch.testing.assert_close(distillation_kl(student, teacher, 3.0, mask).double(), kl[mask.bool()].mean())
    cosine = 1 - (student * teacher).sum(-1) / student.norm(dim=-1) / teacher.norm(dim=-1)
    torch.testing.assert_close(cosine_distance(student, teacher, mask), cosine[mask.bool()].mean())
    wanted = (student - teacher).square().mean(-1)[mask.bool()].mean() / teacher.square().mean(-1)[mask.bool()].mean()
    torch.testing.assert_close(hidden_mse(student, teacher, mask), wanted)
    both = distilled(cosine.mean().detach(), distillation_kl(student, teacher), 0.25)
    both.backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0
    torch.testing.assert_close(both, 0.75 * cosine.mean() + 0.25 * distillation_kl(student, teacher))
    assert distilled(None, kl, 1.0) is kl
