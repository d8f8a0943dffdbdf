"""Runs a model over batches and sums up the inputs of its linear layers."""

import dataclasses

from ..models.blocks import BlockWalk, call, to_device
from ..models.loading import check_device, check_model
from ..models.names import linear_modules, stored_tensors
from .files import StatisticsParts
from .gradients import GradientSums, Loss
from .inputs import Gatherer


@dataclasses.dataclass
class CalibrationReport:
    """files: {set: path}; weights: {weight: the input that it multiplies}; block_by_block: False if the whole model ran at once."""

    files: dict
    weights: dict
    block_by_block: bool


def set_of(sample, held_out_every):
    last = held_out_every > 0 and sample % held_out_every == held_out_every - 1
    return "held_out" if last else "calibration"


def padding_of(batch):
    """[batch, tokens] with 0 where a token only fills up, or None."""
    mask = batch.get("attention_mask") if isinstance(batch, dict) else None
    return mask if mask is not None and mask.dim() == 2 else None


def calibrate(model, batches, output="stats.safetensors", *, held_out_every=0, only="*", gram=True, sharing=True, fisher=0,
              loss="auto", seed=0, mask_token=None, device=None, checkpoint=None, progress=None):
    """Writes the statistics file of a transformers model, for `coppice prune --stats` and coppice.Statistics.

    batches: dicts of the model's arguments ({"input_ids": ..., "attention_mask": ...}; tokens that only fill up do not count), or
    the one tensor that it takes. Models in the table of coppice/models/blocks.py run block by block: with device="cuda" and
    a model on the CPU, only one block of it and what lies outside of blocks are on the GPU. Others, and all with `fisher`, run whole.

    held_out_every=K puts every K-th batch into OUTPUT.held_out.safetensors instead. gram=False: sums of squares only (enough for
    Wanda and RIA). only: a glob over the weights' names. sharing=False: a matrix for every layer. fisher=B adds sums of gradient
    products for blocks of B weights, one gradient a batch, of `loss` ("lm", "masked-lm", "embedding" or "auto").
    checkpoint: the directory whose names for the weights are wanted; None: as save_pretrained would write them.
    progress(stage): called before each stage. Returns a CalibrationReport.
    """
    check_model(model, "calibrate")
    check_device(device)
    check(held_out_every, fisher)
    stored = None if checkpoint is None else stored_tensors(checkpoint)
    modules = linear_modules(model, stored, only)
    loss_of = Loss(model, loss, seed, mask_token) if fisher else None
    cached, model.config.use_cache = getattr(model.config, "use_cache", False), False
    try:
        with StatisticsParts(output, held_out_every > 0) as parts, \
                BlockWalk(model, batches, device, whole=bool(fisher)) as walk:
            for stage in walk.stages(modules):
                if progress is not None:
                    progress(stage)
                with Gatherer(stage.modules, walk.device, gram, sharing) as gatherer:
                    def before(i):
                        gatherer.begin(set_of(i, held_out_every), padding_of(walk.batches[i]))

                    gradients = None
                    if fisher:
                        gradients = GradientSums(modules, fisher, walk.device)
                        run_with_gradients(model, walk, before, gradients, loss_of, held_out_every)
                    else:
                        walk.run(stage, before, keep=True)
                gatherer.check()
                parts.add(gatherer, gradients)
            return CalibrationReport(parts.finish(), parts.weights, bool(walk.blocks))
    finally:
        model.config.use_cache = cached


def check(held_out_every, fisher):
    if held_out_every < 0 or held_out_every == 1:
        raise ValueError("--held-out-every needs to be 2 or more")
    if not 0 <= fisher <= 256:
        raise ValueError("--fisher needs to be 1 to 256")


def run_with_gradients(model, walk, before, gradients, loss_of, held_out_every):
    """The whole model, and its gradients for the batches of the calibration set."""
    wanted = {name: p.requires_grad for name, p in model.named_parameters()}
    model.requires_grad_(False)
    for module in gradients.modules.values():
        module.weight.requires_grad_(True)
    try:
        for i, batch in enumerate(walk.batches):
            before(i)
            batch = to_device(batch, walk.device)
            if set_of(i, held_out_every) == "held_out":
                call(model, batch)
                continue
            model.zero_grad(set_to_none=True)
            loss_of(batch).backward()
            gradients.add()
    finally:
        model.zero_grad(set_to_none=True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(wanted[name])
