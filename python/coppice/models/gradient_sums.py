"""Sums of g g^T over gradients g."""

import numpy as np
import torch

from ..torch._linear import is_conv1d as is_transposed


class GradientSums:
    """Sums for blocks of B neighbouring weights of a row.

    modules: {weight: module}, of whatever `gradient` takes and gives a matrix [rows, cols] for. device: of the sums; None: where the
    gradients are.
    """

    def __init__(self, modules, block, device, gradient=None, dtype=torch.float64):
        self.modules, self.block, self.device, self.dtype = modules, block, device, dtype
        self.gradient = gradient or weight_gradient
        self.samples = 0
        self.sums = {}  # weight -> [rows * ceil(cols / B), B, B]

    def add(self):
        """Adds the gradients of this moment as one sample."""
        for weight, module in self.modules.items():
            blocks = self._blocks(self.gradient(module))
            if weight not in self.sums:
                shape = (blocks.shape[0], self.block, self.block)
                self.sums[weight] = torch.zeros(shape, dtype=self.dtype, device=self.device or blocks.device)
            self.sums[weight] += blocks[:, :, None] * blocks[:, None, :]
        self.samples += 1

    def _blocks(self, grad):
        missing = -grad.shape[1] % self.block
        return torch.nn.functional.pad(grad, (0, missing)).reshape(-1, self.block)

    def of(self, weight):
        """float64 [blocks, B, B]"""
        sums = self.sums[weight].double().cpu().numpy()
        if not np.isfinite(sums).all():
            raise RuntimeError(f"a gradient of '{weight}' is not a number")
        return sums

    def tensors(self):
        """What a statistics file holds of them."""
        found = {}
        for weight in self.sums:
            found[weight + ".fisher"] = self.of(weight)
            found[weight + ".fisher_samples"] = np.array([self.samples], dtype=np.int64)
        return found


def weight_gradient(module):
    """fp64 [rows, cols]; zeros if the loss does not depend on the weight."""
    weight = module.weight
    grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    return (grad.T if is_transposed(module) else grad).double()
