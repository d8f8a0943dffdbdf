"""Structure decay with second-order pruning (VENOM, SC 2023, sections 5 and 6)."""

import numpy as np
import torch

from .. import fisher_prune, structure_decay
from ..models.gradient_sums import GradientSums
from .layers import MaskedWeight, Method
from .masks import select_mask


def decay_schedule(pattern, steps, *, prunings=0, first=0.04, last=0.3):
    """[(step, Pattern)]: the library's patterns on the way to `pattern` (structure_decay), spread evenly from the share `first` to the
    share `last` of `steps` optimizer steps. VENOM's own, epochs 2 to 14 of 50, are the defaults.
    prunings: how many of them; 0: one for each weight that a group loses, at most 8; 1: to the pattern itself, at `last`."""
    found = structure_decay(pattern, steps=prunings)
    span = (last - first) / max(1, len(found) - 1)
    return [(max(1, round(steps * (last - span * (len(found) - 1 - i)))), step.pattern) for i, step in enumerate(found)]


class StructureDecay(Method):
    """Prunes in steps of falling density, each by the Fisher matrix of the gradients just before it, with the library's update of the
    weights that stay (`coppice.fisher_prune`); between steps the mask is fixed.

    schedule: [(step, pattern)] with ascending steps, see decay_schedule: one for all layers, or a function of a layer's pattern. samples:
    how many gradients, one of every optimizer step before a pruning, are gathered; as many as there are between two prunings at most.
    block: neighbouring weights of a row whose correlations count; damping: of the Fisher matrix, in units of its mean diagonal.
    Sums take 4 * block bytes a weight while they are gathered. by: "fisher", or "magnitude" to compare with: masks alone.
    """

    def __init__(self, model, pattern, schedule, filter=None, *, by="fisher", samples=64, block=16, damping=0.01, threads=0):
        super().__init__(model, pattern, filter)
        if by not in ("fisher", "magnitude") or samples < 1:
            raise ValueError(f"by {by}, samples {samples}: needs fisher or magnitude, and 1 or more")
        self.by, self.samples, self.damping, self.threads, self.block = by, samples, damping, threads, block
        for layer in self.layers:
            layer.schedule = [(int(step), wanted) for step, wanted in (schedule(layer.pattern) if callable(schedule) else schedule)]
            layer.parametrize(MaskedWeight(torch.ones_like(layer.module.weight, dtype=torch.bool)))
        starts = {step for layer in self.layers for step, _ in layer.schedule}
        if not starts or min(starts) < 1 or any(sorted(s) != list(s) for s in ([step for step, _ in x.schedule] for x in self.layers)):
            raise ValueError("schedule: needs steps of 1 or more, ascending")
        self.points = sorted(starts)
        self.sums = None

    def before_step(self):
        following = next((point for point in self.points if point > self.steps), None)
        if self.by == "magnitude" or following is None or following - self.steps > self.samples:
            return
        if self.sums is None:
            self.sums = self._new_sums()
        self.sums.add()

    def _new_sums(self):
        layers = {layer.name: layer for layer in self.layers}
        return GradientSums(layers, self.block, None, gradient=_gradient, dtype=torch.float32)

    def after_step(self):
        if self.steps not in self.points:
            return
        for layer in self.layers:
            wanted = dict(layer.schedule).get(self.steps)
            if wanted is not None:
                self._prune(layer, wanted)
        self.sums = None

    def _prune(self, layer, pattern):
        weight = layer.matrix(layer.module.weight.detach())
        if self.by == "magnitude":
            layer.set_mask(select_mask(weight, pattern))
            return
        result = fisher_prune(weight.float().cpu().contiguous(), pattern, self.sums.of(layer.name), self.sums.samples,
                              damping=self.damping, threads=self.threads)
        layer.parameter.copy_(layer.matrix(torch.from_numpy(np.ascontiguousarray(result.weight))))
        layer.set_mask(torch.from_numpy(np.ascontiguousarray(result.mask)).to(weight.device))

    def log(self):
        kept = sum(int(layer.how.mask.sum()) for layer in self.layers)
        return {"density": kept / sum(layer.how.mask.numel() for layer in self.layers)}

    def state_dict(self):
        gathered = None if self.sums is None else {"samples": self.sums.samples, "sums": dict(self.sums.sums)}
        return {**super().state_dict(), "gathered": gathered}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.sums = None
        if state["gathered"] is not None:
            self.sums = self._new_sums()
            self.sums.samples = state["gathered"]["samples"]
            self.sums.sums = {layer.name: state["gathered"]["sums"][layer.name].to(layer.parameter.device) for layer in self.layers}


def _gradient(layer):
    gradient = layer.parameter.grad
    return layer.matrix(torch.zeros_like(layer.parameter) if gradient is None else gradient).float()
