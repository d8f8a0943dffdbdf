"""coppice.torch: models, pruned and compressed in place."""

import numpy as np
import pytest

import coppice
from torch_support import torch

import coppice.torch as ct
from torch import nn


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(32, 64)
        self.up = nn.Linear(64, 128)
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.down = nn.Linear(128, 64)
        self.classify = nn.Linear(64, 10)
        self.head = nn.Linear(64, 32, bias=False)
        self.head.weight = self.embed.weight

    def get_output_embeddings(self):
        return self.classify

    def forward(self, ids):
        x = self.embed(ids)
        x = x + self.attention(x, x, x)[0]
        return self.head(x + self.down(torch.relu(self.up(x))))


def inputs():
    return torch.randint(0, 32, (3, 7))


def reasons(report):
    return {layer.name: layer.reason for layer in report.layers}


def relative(got, want):
    return ((got - want).norm() / want.norm()).item()


def test_prune_and_sparsify():
    model, ids = Tied(), inputs()
    report = ct.prune_(model, {"up": "16:2:8", "*": "2:4"})
    assert {layer.name: layer.pattern for layer in report.pruned} == {"up": "16:2:8", "down": "2:4"}
    why = reasons(report)
    assert "another module" in why["head"] and "output head" in why["classify"]
    assert "NonDynamicallyQuantizableLinear" in why["attention.out_proj"]
    assert all(word in str(report) for word in ("up", "128x64", "16:2:8", "%"))
    up = report.layers[[layer.name for layer in report.layers].index("up")]
    want = coppice.magnitude_mask(model.up.weight, "16:2:8")
    assert 0.3 < up.kept_magnitude < 0.7 and (model.up.weight.detach().numpy() != 0).sum() == want.sum()

    before = model(ids)
    sparse = ct.sparsify_(model)
    assert {layer.name: layer.pattern for layer in sparse.sparse} == {"up": "16:2:8", "down": "2:4"}
    assert isinstance(model.up, ct.SparseLinear) and type(model.classify) is nn.Linear
    assert relative(model(ids), before) < 1e-6
    assert sparse.sparse[0].nbytes < 0.3 * sparse.sparse[0].dense_bytes and "why dense" in str(sparse)


def test_filters_and_patterns():
    model = Tied()
    for filter in ("up", ["u*"], lambda name, module: module.out_features == 128):
        report = ct.prune_(model, lambda name, module: "2:4" if name != "down" else None, filter=filter)
        assert [layer.name for layer in report.pruned] == ["up"] and "filter" in reasons(report)["down"]
    assert reasons(ct.prune_(model, {"up": "2:4"}))["down"] == "no pattern for it"
    report = ct.sparsify_(model, filter=lambda name, module: name != "up")
    assert not report.sparse and "filter" in reasons(report)["up"] and "prune it first" in reasons(report)["down"]
    assert ct.sparsify_(model, {"up": "4:8"}).sparse[0].pattern == "4:8"  # 2:4 satisfies it


def test_what_breaks_the_pattern_stays_dense():
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64))
    ct.prune_(model, "2:4")
    with torch.no_grad():
        model[1].weight[3, 8:12] = 1
    del model[2].coppice_pattern  # as of a model that something else pruned
    report = ct.sparsify_(model)
    assert "row 3" in reasons(report)["1"] and type(model[1]) is nn.Linear
    assert report.layers[0].pattern == report.layers[2].pattern == "2:4"
    with pytest.raises(coppice.InvalidArgument, match="from_linear"):
        ct.sparsify_(nn.Linear(8, 8))


def test_encoder_layers_still_run():
    model = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).eval()
    ct.prune_(model, "2:4")
    report = ct.sparsify_(model)
    assert "reads its weight itself" in reasons(report)["linear1"]
    with torch.no_grad():
        model(torch.randn(2, 5, 64))


def calibrated(model, x):
    sums = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            sums[name] = coppice.Gram(module.in_features)
            module.register_forward_hook(lambda module, given, _, name=name: sums[name].add(given[0].detach()))
    with torch.no_grad():
        model(x)
    return sums


@pytest.mark.parametrize("method", ["wanda", "ria", "obs", "admm"])
def test_methods_with_statistics(method):
    x = torch.randn(300, 32) @ torch.randn(32, 32)
    model = nn.Sequential(nn.Linear(32, 48), nn.Linear(48, 16))
    sums = calibrated(model, x)
    reference = {name: module.weight.detach().clone() for name, module in model.named_children()}
    report = ct.prune_(model, "2:4", method, statistics=sums)
    for layer in report.layers:
        weight = model.get_submodule(layer.name).weight
        coppice.compress(weight, None, "2:4")
        assert layer.error == pytest.approx(coppice.output_error(reference[layer.name], weight.detach(), sums[layer.name].gram))
        assert 0 < layer.error < 1
    assert not ct.sparsify_(model).dense
    again = nn.Sequential(nn.Linear(32, 48), nn.Linear(48, 16))
    given = {f"{name}.weight": (s.square_sums if method in ("wanda", "ria") else s.gram) for name, s in sums.items()}
    ct.prune_(again, "2:4", method, statistics=given)
    with pytest.raises(coppice.InvalidArgument, match="statistics has nothing for the layer 1"):
        ct.prune_(again, "2:4", method, statistics={"0": sums["0"]})
    with pytest.raises(coppice.InvalidArgument, match="needs statistics="):
        ct.prune_(again, "2:4", method)


def test_scores_and_bad_arguments():
    model = nn.Sequential(nn.Linear(16, 8, dtype=torch.bfloat16))
    scores = np.tile(np.array([1, 4, 3, 2], np.float32), (8, 4))
    ct.prune_(model, "2:4", "scores", scores={"0": torch.from_numpy(scores)})
    assert ((model[0].weight != 0).numpy() == np.tile([False, True, True, False], (8, 4))).all()
    with pytest.raises(coppice.InvalidArgument, match="method"):
        ct.prune_(model, "2:4", "random")
    with pytest.raises(coppice.InvalidArgument, match="Gram matrix"):
        ct.prune_(model, "2:4", "obs", statistics={"0": np.ones(16)})
    with pytest.raises(coppice.InvalidArgument, match="pattern"):
        ct.prune_(model, 3)
    with pytest.raises(coppice.InvalidArgument):
        ct.prune_(model, "5:4")


def test_training_keeps_the_mask():
    torch.manual_seed(3)
    teacher, x = nn.Linear(64, 32), torch.randn(256, 64)
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32))
    ct.prune_(model, "2:4")
    ct.sparsify_(model)
    mask = model[0].weight.to_matrix().mask()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x) - teacher(x).detach()).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert (model[0].weight.to_matrix().mask() == mask).all()
    assert not model[0].to_dense().numpy()[~mask].any()
