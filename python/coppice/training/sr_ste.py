"""SR-STE (Zhou et al., "Learning N:M Fine-grained Structured Sparse Neural Networks from Scratch", ICLR 2021, section 3)."""

import torch

from .layers import MaskedWeight, Method
from .masks import select_mask


class SrSte(Method):
    """Trains all weights through a mask that follows their magnitudes.

    The forward pass takes the masked weight, the gradient goes straight through to all weights, and those that are masked decay:
    gradient + decay * (1 - mask) * weight. The mask is chosen anew after `every` optimizer steps; from step `until` on it stays, and only
    the kept weights are trained. decay: 2e-4 in the paper, which trains by SGD; by AdamW 1e-2 was far better (docs/studies/gpt_from_scratch.md);
    0 is the plain straight-through estimator.
    """

    def __init__(self, model, pattern, filter=None, *, decay=2e-4, every=1, until=None):
        super().__init__(model, pattern, filter)
        if every < 1 or decay < 0:
            raise ValueError(f"every {every}, decay {decay}: needs every >= 1 and decay >= 0")
        self.decay, self.every, self.until = decay, every, until
        self.flips = None
        for layer in self.layers:
            mask = select_mask(layer.matrix(layer.module.weight), layer.pattern)
            layer.parametrize(MaskedWeight(layer.matrix(mask).contiguous(), straight_through=True))

    @property
    def is_fixed(self):
        return self.until is not None and self.steps >= self.until

    @torch.no_grad()
    def before_step(self):
        for layer in self.layers:
            weight = layer.parameter
            if weight.grad is not None and self.decay > 0 and not self.is_fixed:
                weight.grad.add_(weight.masked_fill(layer.how.mask, 0), alpha=self.decay)

    def after_step(self):
        if not self.is_fixed and self.steps % self.every == 0:
            self.flips = self.choose()
        self._set_gradients()

    def _set_gradients(self):
        for layer in self.layers:
            layer.how.straight_through = not self.is_fixed

    def log(self):
        """flips: the share of weights whose mask changed at the last choice."""
        if self.flips is None:
            return {}
        return {"flips": float(self.flips) / sum(layer.parameter.numel() for layer in self.layers)}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self._set_gradients()
