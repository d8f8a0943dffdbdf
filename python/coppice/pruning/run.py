"""coppice.prune: a checkpoint directory in, a pruned one out."""

import dataclasses
import fnmatch

from .. import _core
from ..calibration.inputs import Gatherer
from ..calibration.run import padding_of
from ..models.arrays import holds, read_weight, write_weight
from ..models.blocks import BlockWalk
from ..models.loading import load_model
from ..models.names import linear_modules, stored_tensors
from .methods import LayerInput, Options, PrunedWeight, prune_weight
from .target import DenseWeights, correction_of


@dataclasses.dataclass
class PruneReport:
    """weights: in the order in which they were pruned. sequential: later blocks saw what earlier ones became."""

    weights: list[PrunedWeight]
    sequential: bool
    written: object


def prune(model_dir, out_dir, pattern, method="obs", batches=None, *, pattern_for=None, include=(), exclude=(), sequential=True,
          target="own", missing="error", damping=0.01, iterations=300, choice="automatic", columns="automatic", device=None, dtype=None,
          threads=0, progress=None):
    """Prunes the linear layers of a transformers checkpoint in the order in which they run, and writes it dense with zeros.

    Each layer is calibrated on what the layers before it give after pruning; sequential=False: on what the dense model's give. obs and
    admm aim at what the dense layer makes of its changed inputs (target="own"), or at the outputs that the dense model's layer has
    (target="dense"), and so make up for what was lost before. batches: as for coppice.calibrate, or a function that makes them of the
    model; only method="magnitude" does without.
    Models whose blocks are not known (coppice/models/blocks.py) are calibrated at once, as if sequential were False.

    method: "obs", "admm", "wanda", "ria" or "magnitude"; damping, iterations, choice and columns as obs_prune and admm_prune take
    them. pattern_for: {glob over weights' names: another pattern}, the last that matches counts; "dense" leaves weights alone.
    include, exclude: globs, as Checkpoint.linear_weights takes them. missing="magnitude": so are weights pruned for which nothing was
    gathered (stacks of experts, layers that were not called), instead of refusing. device: where blocks run; pruning is the CPU's.
    dtype: of the model while it runs, none narrower than the checkpoint's. progress(stage): called before each stage.

    out_dir appears complete or not at all. Returns a PruneReport.
    """
    options = Options(method, target, damping, iterations, choice, columns, threads)
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
    job = Job(model_dir, checkpoint, weights, patterns, options, missing)
    if method != "magnitude" or batches is not None:
        job.run_model(batches, sequential, device, dtype, progress)
    written = _core.prune_checkpoint(
        model_dir, out_dir, patterns, prune=job.pruned, include=list(include), exclude=list(exclude), threads=threads)
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

    def __init__(self, model_dir, checkpoint, weights, patterns, options, missing):
        self.model_dir, self.checkpoint, self.weights, self.patterns = model_dir, checkpoint, weights, patterns
        self.options, self.missing = options, missing
        self.modules = {}
        self.done = []
        self.sequential = False

    def run_model(self, batches, sequential, device, dtype, progress):
        """Prunes inside of the model, stage by stage."""
        if batches is None:
            raise _core.InvalidArgument(f"method \"{self.options.method}\" needs batches to calibrate on")
        model = load_model(self.model_dir, dtype)
        self._find_modules(model)
        with BlockWalk(model, batches(model) if callable(batches) else batches, device) as walk:
            if not walk.batches:
                raise _core.InvalidArgument("batches: there is none")
            self.sequential = sequential and bool(walk.blocks)
            for stage in walk.stages(self.modules):
                if progress is not None:
                    progress(stage)
                self._prune_stage(walk, stage)

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
        array, told = prune_weight(weight, self.checkpoint.read(weight), self.patterns[name], inputs, self.options)
        write_weight(self.modules[name], array)
        self.done.append(told)

    def pruned(self, weight, array):
        """What prune_checkpoint asks for, weight by weight."""
        if weight.name in self.modules:
            return read_weight(self.modules[weight.name], array.dtype)
        pruned, told = prune_weight(weight, array, self.patterns[weight.name], None, self.options)
        self.done.append(told)
        return pruned
