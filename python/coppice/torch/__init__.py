"""Compressed linear layers for PyTorch.

    import coppice.torch

    coppice.torch.prune_(model, "64:2:8")              # zeros in the weights of the linear layers
    report = coppice.torch.sparsify_(model)            # nn.Linear -> SparseLinear; print(report)
    coppice.torch.replace_blocks_(model)               # transformers: fewer launches and no transposes between layers
    y = model(x)                                       # also compiled, exported, under autocast

`SparseLinear` keeps its weight as the canonical arrays of docs/format.md, which are its state_dict, and packs them for
the kernels of its device when it is first called. The package `coppice` works without PyTorch; this module needs it.
"""

try:
    import torch as _torch
except ImportError as error:
    raise ImportError("coppice.torch needs PyTorch 2.6 or later; install it with: pip install 'coppice[torch]'") from error

from ._backend import backend
from ._cache import clear_cache
from ._freeze import freeze_
from ._linear import SparseLinear
from ._magnitude import magnitude_sparsify_
from ._prune import LayerResult, PruneReport, prune_
from ._sparsify import SparsifyReport, sparsify_
from ._weight import SparseWeight
from .blocks import BlocksReport, replace_blocks_

__all__ = ["BlocksReport", "LayerResult", "PruneReport", "SparseLinear", "SparseWeight", "SparsifyReport", "backend",
           "clear_cache", "freeze_", "magnitude_sparsify_", "prune_", "replace_blocks_", "sparsify_"]
