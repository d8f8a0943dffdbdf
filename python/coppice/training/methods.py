"""The ways of training by name, for commands."""

from ..torch import prune_, sparsify_
from .decay import StructureDecay, decay_schedule
from .layers import FixedMask, chosen_layers
from .lora import ThreeStageLora
from .sr_ste import SrSte


def sr_ste(model, pattern, steps, *, decay=2e-4, every=1, fixed=1.0):
    """fixed: the share of the steps after which the mask stays."""
    return SrSte(model, pattern, decay=decay, every=every, until=None if fixed >= 1 else round(steps * fixed))


def structure_decay(model, pattern, steps, *, prunings=0, by="fisher", samples=64, block=16, damping=0.01, first=0.04, last=0.3):
    """prunings: how many, 0: as the pattern wants; 1: at once, at the share `last`."""
    return StructureDecay(model, pattern, lambda own: decay_schedule(own, steps, first=first, last=last, prunings=prunings), by=by,
                          samples=samples, block=block, damping=damping)


def lora(model, pattern, steps, *, rank=16, scale=2.0, dense=0.05, dynamic=0.05, interval=10):
    return ThreeStageLora(model, pattern, steps, rank=rank, scale=scale, dense=dense, dynamic=dynamic, interval=interval)


def fixed(model, pattern, _steps):
    """The zeros that the weights have, where they have any; else masks by magnitude."""
    prune_missing(model, pattern)
    return FixedMask(model, pattern)


METHODS = {"sr-ste": sr_ste, "decay": structure_decay, "lora": lora, "fixed": fixed}


def prune_missing(model, pattern):
    """Prunes the chosen layers that are dense, by magnitude; a weight that happens to be zero makes none sparse."""
    layers = {name: str(wanted) for name, (module, wanted) in chosen_layers(model, pattern).items()
              if (module.weight == 0).float().mean() <= wanted.sparsity / 2}
    if layers:
        prune_(model, lambda name, _module: layers.get(name))


def compress(model, pattern):
    """For the fixed mask on compressed weights: how many layers became SparseLinear. Kernels of a GPU are those of the activations' type, so
    that fp32 weights under autocast are multiplied in 16 bits; what a weight by itself could not be multiplied by there is not asked."""
    device = next(model.parameters()).device
    model.cpu()
    prune_missing(model, pattern)
    chosen = {name: str(wanted) for name, (_, wanted) in chosen_layers(model, pattern).items()}
    report = sparsify_(model, lambda name, _module: chosen.get(name), filter=lambda name, _module: name in chosen)
    model.to(device)
    if not report.sparse:
        raise ValueError(f"no layer could be compressed:\n{report}")
    return len(report.sparse)
