"""Running a model block by block: only one block need be on the device, and only its inputs are kept."""

import contextlib
import dataclasses

import torch

# Where the base model keeps its blocks, in the order in which they run, each fed by the one before. Other models run whole.
BLOCKS = {
    "encoder.layer": "bert bert-generation camembert electra mpnet roberta xlm-roberta",
    "transformer.layer": "distilbert",
    "layers": "deit gemma llama mistral olmo olmo2 phi phi3 qwen2 qwen3 stablelm starcoder2 vit",
    "h": "gpt2",
    "decoder.layers": "opt",
}


def blocks_of(model):
    """The model's blocks by the table, or None."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    path = next((path for path, types in BLOCKS.items() if model_type in types.split()), None)
    try:
        return None if path is None else list(model.base_model.get_submodule(path))
    except AttributeError:  # another version of transformers, or a model with other modules
        return None


@dataclasses.dataclass
class Stage:
    """A part of the model that is worked on at one time: a block, or all that is in none."""

    name: str
    modules: dict  # weight -> module
    block: int | None = None


def stages_of(blocks, modules):
    """modules: {weight: module}. Blocks in order, then what is in none of them."""
    left = dict(modules)
    for i, block in enumerate(blocks):
        inside = set(block.modules())
        own = {weight: module for weight, module in left.items() if module in inside}
        for weight in own:
            del left[weight]
        if not left and not own:
            return
        yield Stage(f"block {i + 1} of {len(blocks)}", own, i)
    if left:
        yield Stage("the rest of the model" if blocks else "the model", left)


class _Done(Exception):
    """The block has run; what follows is not needed."""


class BlockWalk:
    """Runs batches through a model in stages.

    The model's own forward runs every time, with all blocks but one replaced by what the block before it gave: so each block gets
    the masks and positions that the model makes for it. Steps with keep=True leave the block's output in their lane, for the next
    block: every batch takes one, in every lane that is used, before the next stage begins.

    batches: of arguments by name, or the one tensor that the model takes. device: where blocks run; the rest of the model
    stays there during the walk, blocks only while they run. None: the model stays where it is. It is in evaluation mode during the
    walk. Used as a `with` block.
    """

    def __init__(self, model, batches, device=None, whole=False):
        self.model, self.batches = model, list(batches)
        self.home = next(model.parameters()).device
        self.device = torch.device(device) if device is not None else self.home
        self.blocks = [] if whole else blocks_of(model) or []
        self.lanes = {}  # (lane, batch) -> what the next block reads

    def stages(self, modules):
        return stages_of(self.blocks, modules)

    def __enter__(self):
        self.training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        self._move_rest(self.device)
        if not self.blocks:
            self._move(self.model, self.device)
        return self

    def __exit__(self, *_):
        self._move(self.model, self.home)
        for module in self.training:
            module.training = True

    def run(self, stage, before=None, lane="dense", keep=False):
        """Every batch through the stage; before(i) is called before batch i."""
        with self.on_device(stage):
            for i in range(len(self.batches)):
                if before is not None:
                    before(i)
                self.step(stage, i, lane, keep)

    def step(self, stage, i, lane="dense", keep=False):
        """Batch i through a stage that is on the device, reading what its lane's last kept step gave."""
        found = []
        with torch.no_grad(), self._replaced(stage.block, self.lanes.get((lane, i)), found):
            try:
                call(self.model, to_device(self.batches[i], self.device))
            except _Done:
                pass
        if keep and found:
            self.lanes[lane, i] = found[0]

    @contextlib.contextmanager
    def _replaced(self, present, previous, found):
        def replay(*_args, **_kwargs):
            return to_device(previous, self.device)

        def done(_module, _args, output):
            found.append(to_device(output, self.home))
            raise _Done

        last = len(self.blocks) if present is None else present
        handle = None if present is None else self.blocks[present].register_forward_hook(done)
        for block in self.blocks[:last]:
            block.forward = replay
        try:
            yield
        finally:
            for block in self.blocks[:last]:
                del block.forward
            if handle is not None:
                handle.remove()

    @contextlib.contextmanager
    def on_device(self, stage):
        if stage.block is None:
            yield
            return
        block = self.blocks[stage.block]
        self._move(block, self.device)
        try:
            yield
        finally:
            self._move(block, self.home)

    def _move(self, module, device):
        if self.device != self.home:
            module.to(device)

    def _move_rest(self, device):
        if self.device == self.home:
            return
        inside = {module for block in self.blocks for module in block.modules()}
        for module in self.model.modules():
            if module in inside:
                continue
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(device)
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = buffer.to(device)


def to_device(value, device):
    """Tensors in tuples, lists and dicts, moved."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: to_device(entry, device) for name, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(to_device(entry, device) for entry in value)
    return value


def call(model, batch, **more):
    return model(**batch, **more) if isinstance(batch, dict) else model(batch, **more)
