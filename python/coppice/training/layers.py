"""The linear layers of a model that are trained sparse, and what stands in the place of their weights meanwhile."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from ..models.report import table
from ..torch._layers import linear_layers, pattern_for
from ..torch._linear import is_conv1d
from .masks import select_masks


def chosen_layers(model, pattern, filter=None):
    """{name: (module, pattern)}. filter None: the linear layers of the model's blocks, or where those are not known all that
    `coppice.torch.prune_` would take. pattern: as there."""
    from ..models.blocks import blocks_of

    blocks = None if filter is not None else blocks_of(model)
    inside = None if blocks is None else {module for block in blocks for module in block.modules()}
    found = {}
    for name, module, reason in list(linear_layers(model, filter)):
        wanted = None if reason or (inside is not None and module not in inside) else pattern_for(pattern, name, module)
        if wanted is not None:
            found[name] = module, wanted
    if not found:
        raise ValueError("no linear layer of the model is chosen; see filter= and pattern=")
    return found


class _StraightThrough(torch.autograd.Function):
    """The masked weight, and the gradient as if it were the whole."""

    @staticmethod
    def forward(_ctx, weight, mask):
        return weight.masked_fill(~mask, 0)

    @staticmethod
    def backward(_ctx, gradient):
        return gradient, None


class MaskedWeight(nn.Module):
    """What a module has for its weight while that is masked: a parametrization of torch.nn.utils.parametrize.

    mask: bool, of the weight's shape, in the state_dict. straight_through: masked weights have gradients, too.
    """

    def __init__(self, mask, straight_through=False):
        super().__init__()
        self.register_buffer("mask", mask)
        self.straight_through = straight_through

    def forward(self, weight):
        if self.straight_through:
            return _StraightThrough.apply(weight, self.mask)
        return weight.masked_fill(~self.mask, 0)


class Layer:
    """One linear layer during training. Matrices here are [out_features, in_features], whatever the module stores."""

    def __init__(self, name, module, pattern):
        self.name, self.module, self.pattern = name, module, pattern
        self.transposed = is_conv1d(module)

    def parametrize(self, how):
        parametrize.register_parametrization(self.module, "weight", how, unsafe=True)
        self.how = how

    @property
    def parameter(self):
        """The parameter behind the weight."""
        return self.module.parametrizations.weight.original

    def matrix(self, tensor):
        return tensor.t() if self.transposed else tensor

    def set_mask(self, mask):
        """Returns how many entries changed, a tensor."""
        mask = self.matrix(mask)
        changed = (mask != self.how.mask).sum()
        self.how.mask.copy_(mask)
        return changed

    def bake(self):
        """Leaves the module as it was, with the masked weight."""
        parametrize.remove_parametrizations(self.module, "weight", leave_parametrized=True)
        self.module.coppice_pattern = str(self.pattern)  # for sparsify_


class Method:
    """What all ways of sparse training share: their layers, the hooks of the optimizer, the count of its steps.

        method = SrSte(model, "2:4")
        method.attach(optimizer)        # from now on optimizer.step() does what the method asks for
        ...
        method.finish()                 # weights with zeros, as coppice.torch.prune_ leaves them

    Gradients are changed when optimizer.step() begins: after they were unscaled, clipped and averaged over processes. `steps` counts calls
    of it, masks are in the model's state_dict, everything else in the method's.
    """

    def __init__(self, model, pattern, filter=None):
        self.layers = [Layer(name, module, wanted) for name, (module, wanted) in chosen_layers(model, pattern, filter).items()]
        self.steps = 0
        self.handles = []

    def attach(self, optimizer):
        self.optimizer = optimizer
        self.handles = [optimizer.register_step_pre_hook(lambda *_: self.before_step()),
                        optimizer.register_step_post_hook(lambda *_: self._after_step())]
        return self

    @torch.no_grad()
    def _after_step(self):
        self.steps += 1
        self.after_step()

    def before_step(self):
        """Gradients are final, weights are old."""

    def after_step(self):
        """Weights are new; `steps` counts this one."""

    @torch.no_grad()
    def choose(self, scores=None):
        """New masks, by the magnitudes of the parameters or by scores(layer). Returns how many entries changed, a tensor."""
        together = {}
        for layer in self.layers:
            together.setdefault(str(layer.pattern), []).append(layer)
        changed = []
        for layers in together.values():
            found = [layer.matrix(layer.parameter) if scores is None else scores(layer) for layer in layers]
            changed += [layer.set_mask(mask) for layer, mask in zip(layers, select_masks(found, layers[0].pattern))]
        return sum(changed)

    def finish(self):
        """Takes the method off the model: plain weights, zero where the masks are clear."""
        for handle in self.handles:
            handle.remove()
        self.handles = []
        for layer in self.layers:
            layer.bake()

    def log(self):
        """Numbers for a log, by name."""
        return {}

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]

    def __str__(self):
        shapes = ["x".join(map(str, layer.matrix(layer.parameter).shape)) for layer in self.layers]
        return table(["layer", "shape", "pattern"], [[layer.name, shape, str(layer.pattern)] for layer, shape in zip(self.layers, shapes)])


class FixedMask(Method):
    """The mask stays; only what it keeps is trained. masks: {layer: bool [out, in]}; None: the weights that are not zero."""

    def __init__(self, model, pattern, filter=None, masks=None):
        super().__init__(model, pattern, filter)
        for layer in self.layers:
            mask = layer.matrix(layer.module.weight.detach()) != 0 if masks is None else torch.as_tensor(masks[layer.name])
            layer.parametrize(MaskedWeight(layer.matrix(mask.to(layer.module.weight.device)).contiguous()))
