"""What a layer is aimed at when the blocks before it were pruned."""

import contextlib

import torch

from ..calibration.inputs import Recorder


class DenseWeights:
    """The weights of a stage before it is pruned, to run its dense form again."""

    def __init__(self, modules, device):
        self.modules = modules
        self.weights = {name: module.weight.data.to(device, copy=True) for name, module in modules.items()}

    @contextlib.contextmanager
    def installed(self):
        pruned = {name: module.weight.data for name, module in self.modules.items()}
        for name, module in self.modules.items():
            module.weight.data = self.weights[name]
        try:
            yield
        finally:
            for name, module in self.modules.items():
                module.weight.data = pruned[name]

    def inputs(self, walk, stage, i, gatherer):
        """What the gatherer's layers are given for batch i in the dense model."""
        gatherer.pause()
        with self.installed(), Recorder({name: self.modules[name] for name in gatherer.cols}) as recorder:
            walk.step(stage, i, "dense")
        return recorder.inputs


def correction_of(sums, damping):
    """[cols, cols] float64: T such that W T gives the changed inputs Y the outputs that W gave the dense model's inputs X.

    min over V of ||Y V^T - X W^T||^2 + r ||V - W||^2 has V^T = (Y^T Y + r)^-1 (Y^T X + r) W^T. Pruning V by the Gram matrix Y^T Y then
    is pruning against the dense model's outputs: ||Y U^T - X W^T||^2 = ||Y (U - V)^T||^2 + what no U can change (for r = 0). r is
    `damping` times the mean of the diagonal, as in the methods themselves. None where the inputs are all zero.
    """
    gram, cross = sums.total, sums.cross
    ridge = damping * gram.diagonal().mean()
    if not ridge > 0:
        return None
    identity = ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex((gram + gram.T) / 2 + identity)
    if failed:
        return None
    return torch.cholesky_solve(cross + identity, factor).T.contiguous().cpu().numpy()
