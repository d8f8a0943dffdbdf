"""coppice.prune: a checkpoint directory in, a pruned one out."""

import dataclasses
import fnmatch

from .. import _core
from ..calibration.gradients import GradientSums, Loss
from ..calibration.inputs import Gatherer
from ..calibration.run import padding_of, run_with_gradients
from ..models.arrays import holds, read_weight, write_weight
from ..models.blocks import BlockWalk, blocks_of, stages_of
from ..models.loading import check_device, kind_of, load_model
from ..models.names import linear_modules, stored_tensors
from ..models.text import tokenizer_of
from .methods import LayerInput, Options, PrunedWeight, prune_weight
from .orders import Orders
from .target import DenseWeights, correction_of
from .writing import write


@dataclasses.dataclass
class PruneReport:
    """weights: in the order in which they were pruned. sequential: later blocks saw what earlier ones became."""

    weights: list[PrunedWeight]
    sequential: bool
    written: object


def prune(model_dir, out_dir, pattern, method="obs", batches=None, *, pattern_for=None, include=(), exclude=(), sequential=True,
          target="own", missing="error", permute=False, permute_seconds=60.0, pack=False, damping=0.01, iterations=300,
          choice="automatic", columns="automatic", fisher=16, loss="auto", seed=0, device=None, dtype=None, threads=0, progress=None):
    """Prunes the linear layers of a transformers checkpoint in the order in which they run, and writes it dense with zeros, or packed.

    Each layer is calibrated on what the layers before it give after pruning; sequential=False: on what the dense model's give. obs and
    admm aim at what the dense layer makes of its changed inputs (target="own"), or at the outputs that the dense model's layer has
    (target="dense"), and so make up for what was lost before. batches: as for coppice.calibrate, or a function that makes them of the
    model; only method="magnitude" does without.
    Models whose blocks are not known (coppice/models/blocks.py) are calibrated at once, as if sequential were False.

    method: "obs", "admm", "fisher", "wanda", "ria" or "magnitude"; damping, iterations, choice and columns as obs_prune and admm_prune
    take them, choice as the search of fisher_prune. "fisher" takes gradients of `loss` ("lm", "masked-lm", "embedding" or "auto"), one a
    batch, of the whole model as far as it is pruned, in blocks of `fisher` weights. pattern_for: {glob over weights' names: another pattern}, the last that matches counts; "dense" leaves weights alone.
    include, exclude: globs, as Checkpoint.linear_weights takes them. missing="magnitude": so are weights pruned for which nothing was
    gathered (stacks of experts, layers that were not called), instead of refusing. device: where blocks run; pruning is the CPU's.
    dtype: of the model while it runs, none narrower than the checkpoint's. progress(stage): called before each stage.

    permute: columns in an order under which the pattern keeps more, where that makes the error smaller: beside packed weights that are
    read through indices (pack=True), or folded into the layer before where nothing lies between (docs/permutation.md). permute_seconds:
    for the search of one. pack: a packed checkpoint. Either needs the room of the dense checkpoint beside out_dir for a while.

    out_dir appears complete or not at all. Returns a PruneReport.
    """
    check_device(device)
    options = Options(method, target, damping, iterations, choice, columns, fisher, threads)
    if missing not in ("error", "magnitude"):
        raise _core.InvalidArgument(f"missing: got \"{missing}\", needs one of error, magnitude")
    _core.check_output(model_dir, out_dir)
    checkpoint = _core.Checkpoint(model_dir)
    if checkpoint.is_packed:
        raise _core.InvalidArgument(f"'{model_dir}' is packed: pruning needs dense weights; run 'coppice unpack' first")
    weights = checkpoint.linear_weights(include=list(include), exclude=list(exclude))
    patterns = patterns_of(weights, pattern, pattern_for or {})
    weights = {weight.name: weight for weight in weights if weight.name in patterns}
    if not weights:
        raise _core.InvalidArgument(f"'{model_dir}': no linear weight is left to prune; see 'coppice inspect'")
    orders = Orders(checkpoint, patterns, pack, permute_seconds) if permute else None
    job = Job(model_dir, checkpoint, weights, patterns, options, missing, orders)
    if method != "magnitude" or batches is not None:
        job.run_model(batches, sequential, (loss, seed), device, dtype, progress)
    written = write(model_dir, out_dir, patterns, job.pruned, orders, pack, include=list(include), exclude=list(exclude), threads=threads)
    return PruneReport(job.done, job.sequential, written)


def patterns_of(weights, pattern, pattern_for):
    """{weight: Pattern} of those that are pruned."""
    patterns = {weight.name: as_pattern(pattern) for weight in weights}
    for glob, other in pattern_for.items():
        matching = fnmatch.filter(patterns, glob)
        if not matching:
            raise _core.InvalidArgument(f"pattern_for '{glob}' matches only weights that are not pruned in this run")
        patterns.update(dict.fromkeys(matching, as_pattern(other)))
    dense = _core.Pattern("dense")
    return {name: chosen for name, chosen in patterns.items() if chosen != dense}


def as_pattern(pattern):
    return pattern if isinstance(pattern, _core.Pattern) else _core.Pattern(pattern)


class Job:
    """One run: what was done to which weight, and the modules that hold the results until they are written."""

    def __init__(self, model_dir, checkpoint, weights, patterns, options, missing, orders):
        self.model_dir, self.checkpoint, self.weights, self.patterns = model_dir, checkpoint, weights, patterns
        self.options, self.missing, self.orders = options, missing, orders
        self.modules = {}
        self.done = []
        self.sequential = False

    def run_model(self, batches, sequential, loss, device, dtype, progress):
        """Prunes inside of the model, stage by stage."""
        if batches is None:
            raise _core.InvalidArgument(f"method \"{self.options.method}\" needs batches to calibrate on")
        model = load_model(self.model_dir, dtype)
        self._find_modules(model)
        by_gradients = self.options.method == "fisher"  # which need the whole model
        with BlockWalk(model, batches(model) if callable(batches) else batches, device, whole=by_gradients) as walk:
            if not walk.batches:
                raise _core.InvalidArgument("batches: there is none")
            blocks = blocks_of(model) or []
            self.sequential = sequential and bool(blocks)
            loss_of = Loss(model, *loss, self._mask_token(model)) if by_gradients else None
            for stage in stages_of(blocks if self.sequential or not by_gradients else [], self.modules):
                if progress is not None:
                    progress(stage)
                if by_gradients:
                    self._prune_by_gradients(walk, stage, loss_of)
                else:
                    self._prune_stage(walk, stage)

    def _mask_token(self, model):
        return tokenizer_of(self.model_dir).mask_token_id if kind_of(model) == "masked" else None

    def _find_modules(self, model):
        found = linear_modules(model, stored_tensors(self.model_dir))
        self.modules = {name: found[name] for name in self.weights if name in found}
        absent = [name for name in self.weights if name not in found]
        if absent and self.missing == "error":
            raise _core.InvalidArgument(
                f"'{absent[0]}' is in no linear layer of a {type(model).__name__}; exclude that weight, or pass missing=\"magnitude\"")
        for name, module in self.modules.items():
            if not holds(module, self.weights[name].dtype):
                raise _core.InvalidArgument(
                    f"dtype: the model runs in {module.weight.dtype}, which does not hold the {self.weights[name].dtype} that is "
                    f"written of '{name}'; leave dtype out")

    def _prune_stage(self, walk, stage):
        if not self.sequential:
            self._prune_layers(walk, stage, list(stage.modules), None)
            return
        dense = DenseWeights(stage.modules, walk.device) if self.options.aims else None
        for names in self._groups(walk, stage):
            self._prune_layers(walk, stage, names, dense)
        if stage.block is not None:
            if dense is not None:
                with walk.on_device(stage), dense.installed():
                    for i in range(len(walk.batches)):
                        walk.step(stage, i, "dense", keep=True)
            walk.run(stage, lane="pruned", keep=True)

    def _prune_by_gradients(self, walk, stage, loss_of):
        """By the gradients of the model as it is now."""
        gradients = GradientSums(stage.modules, self.options.block, walk.device)
        with Gatherer(stage.modules, walk.device) as gatherer:
            run_with_gradients(walk.model, walk, lambda i: gatherer.begin("calibration", padding_of(walk.batches[i])), gradients, loss_of, 0)
        gatherer.check()
        for name in stage.modules:
            found = gatherer.of(name) if name in gatherer.leader else None
            fisher = gradients.of(name), gradients.samples
            self._prune(name, None if found is None else LayerInput(found[0], found[1], None, fisher))

    def _groups(self, walk, stage):
        """Layers that share an input, in the order in which they are called; what is not called comes last."""
        with Gatherer(stage.modules, walk.device, with_gram=False) as gatherer, walk.on_device(stage):
            gatherer.begin("calibration")
            walk.step(stage, 0, "pruned")
        groups = {}
        for name, leader in gatherer.leader.items():
            groups.setdefault(leader, []).append(name)
        absent = [name for name in stage.modules if name not in gatherer.leader]
        return [*groups.values(), *([absent] if absent else [])]

    def _prune_layers(self, walk, stage, names, dense):
        """Layers whose inputs are what they are now, all of the stage before them being pruned (if sequential)."""
        with Gatherer({name: stage.modules[name] for name in names}, walk.device) as gatherer, walk.on_device(stage):
            for i, batch in enumerate(walk.batches):
                reference = None if dense is None else dense.inputs(walk, stage, i, gatherer)
                gatherer.begin("calibration", padding_of(batch), reference)
                walk.step(stage, i, "pruned" if self.sequential else "dense", keep=not self.sequential)
        gatherer.check()
        inputs = {leader: self._input(gatherer, leader) for leader in set(gatherer.leader.values())}
        for name in names:
            self._prune(name, inputs.get(gatherer.leader.get(name)))

    def _input(self, gatherer, leader):
        sums, found = gatherer.sums_of(leader), gatherer.of(leader)
        if found is None:
            return None
        correction = None if sums.cross is None else correction_of(sums, self.options.damping)
        return LayerInput(found[0], found[1], correction)

    def _prune(self, name, inputs):
        if inputs is None and self.missing == "error":
            raise _core.InvalidArgument(
                f"'{name}': no batch reached this layer; exclude that weight, or pass missing=\"magnitude\"")
        weight = self.weights[name]
        array, told = prune_weight(weight, self.checkpoint.read(weight), self.patterns[name], inputs, self.options, self.orders)
        write_weight(self.modules[name], array)
        self.done.append(told)

    def pruned(self, weight, array):
        """What prune_checkpoint asks for, weight by weight."""
        if weight.name in self.modules:
            return read_weight(self.modules[weight.name], array.dtype)
        pruned, told = prune_weight(weight, array, self.patterns[weight.name], None, self.options, self.orders)
        self.done.append(told)
        return pruned
