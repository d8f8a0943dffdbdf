"""Training sparse models: pieces for any training loop, and a small trainer (docs/training.md).

    method = coppice.training.SrSte(model, "2:4")
    method.attach(optimizer)                       # any optimizer of torch.optim
    ...                                            # your loop
    method.finish()                                # zeros in the weights, as coppice.torch.prune_ leaves them
"""

from .. import torch as _torch  # noqa: F401  says what to install where there is no PyTorch
from .decay import StructureDecay, decay_schedule
from .layers import FixedMask, Method
from .lora import ThreeStageLora
from .losses import cosine_distance, distillation_kl, distilled, hidden_mse
from .masks import select_mask
from .sr_ste import SrSte
from .trainer import Trainer, TrainOptions

__all__ = ["FixedMask", "Method", "SrSte", "StructureDecay", "ThreeStageLora", "TrainOptions", "Trainer", "cosine_distance",
           "decay_schedule", "distillation_kl", "distilled", "hidden_mse", "select_mask"]
