"""Three-staged LoRA training (Beyond 2:4, 2024, section 4): dense LoRA, then masks that change, then a fixed mask."""

import math

import torch
from torch import nn

from .layers import Method


class LoraWeight(nn.Module):
    """(weight + scale * b a), masked; the weight itself is not trained."""

    def __init__(self, layer, rank, scale):
        super().__init__()
        weight = layer.module.weight
        rows, cols = layer.matrix(weight).shape
        self.scale, self.transposed = scale, layer.transposed
        self.a = nn.Parameter(torch.empty(rank, cols, dtype=weight.dtype, device=weight.device))
        self.b = nn.Parameter(torch.zeros(rows, rank, dtype=weight.dtype, device=weight.device))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))

    def whole(self, weight):
        """Without the mask."""
        change = (self.b @ self.a) * self.scale
        return weight + (change.t() if self.transposed else change)

    def forward(self, weight):
        return self.whole(weight).masked_fill(~self.mask, 0)


class ThreeStageLora(Method):
    """W' = (W + B A) * mask, of which A and B are trained, W is not.

    Of `steps` optimizer steps the share dense trains without a mask. At its end, and during the share dynamic after every `interval`
    steps, B A is added to W, B begins at zero again, and the mask is chosen anew; then it is fixed. In the paper both shares together are at
    most 0.1. scale: of B A. scores(name, weight): what masks are chosen by, a tensor like the weight; None: its magnitudes.
    finish() gives (W + B A) * mask.
    """

    def __init__(self, model, pattern, steps, filter=None, *, rank=16, scale=2.0, dense=0.05, dynamic=0.05, interval=10, scores=None):
        super().__init__(model, pattern, filter)
        if min(dense, dynamic) < 0 or dense + dynamic > 1 or interval < 1 or rank < 1:
            raise ValueError(f"dense {dense}, dynamic {dynamic}, interval {interval}, rank {rank}: shares lie between 0 and 1 together, "
                             "interval and rank are 1 or more")
        self.scores = None if scores is None else lambda layer: scores(layer.name, layer.matrix(layer.parameter))
        self.first, self.fixed, self.interval = round(steps * dense), round(steps * (dense + dynamic)), interval
        for layer in self.layers:
            layer.parametrize(LoraWeight(layer, rank, scale))
            layer.parameter.requires_grad_(False)
        if self.first == 0:
            self.choose(self.scores)

    def after_step(self):
        behind = self.steps - self.first
        if self.steps == self.fixed or (behind >= 0 and self.steps < self.fixed and behind % self.interval == 0):
            self._merge()
            self.choose(self.scores)

    def _merge(self):
        for layer in self.layers:
            how = layer.how
            layer.parameter.copy_(how.whole(layer.parameter))
            how.b.zero_()
            for factor in (how.a, how.b):
                self.optimizer.state.pop(factor, None)  # momenta of what was merged

    @property
    def stage(self):
        return 1 if self.steps < self.first else 2 if self.steps < self.fixed else 3

    def log(self):
        return {"stage": self.stage}

    def finish(self):
        trained = [layer.module for layer in self.layers]
        super().finish()
        for module in trained:
            module.weight.requires_grad_(True)
