"""The state_dict of replaced blocks: the names, and the arrays, that their modules had before."""

import torch
from torch import nn

from . import _cache
from ._linear import SparseLinear


class Wrapper(nn.Module):
    """Holds one module that stood in its place, under the name `inner`, which no state_dict shows."""

    inner = ""

    def state_dict(self, *_, destination=None, prefix="", keep_vars=False):
        return self._modules[self.inner].state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[f"{prefix}{self.inner}.{key[len(prefix):]}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class PartOfStack(nn.Module):
    """One of the layers of a Stack, `stack.part(index)`, whose memory is part of the stack's."""

    def state_dict(self, *_, destination=None, prefix="", keep_vars=False):
        return self.stack.part(self.index).state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)

    def _load_from_state_dict(self, state_dict, prefix, metadata, *rest):
        part, metadata = self.stack.part(self.index), dict(metadata, assign_to_params_buffers=False)
        own = {key: state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
        part._load_from_state_dict(own, prefix, metadata, *rest)
        part.weight._load_from_state_dict(own, f"{prefix}weight.", metadata, *rest)
        freeze_again(self.stack.layer.weight)
        if "stack" in self._modules:  # which is asked next for what it just got
            self.stack.state_dict(destination=state_dict, prefix=f"{prefix}stack.")


def freeze_again(weight):
    """Its arrays changed past its own modules. What is packed of arrays that are not frozen goes by their versions, which parts share."""
    if weight.packed is not None:
        _cache.freeze_again(weight.packed, weight.arrays(), weight.frozen_layout, weight.frozen_dtype)


def sparse_layers(model):
    """{name in the state_dict: SparseLinear}; of a stack its parts, over the same memory."""
    found, inside = {}, set()
    for name, module in model.named_modules():
        if isinstance(module, PartOfStack):
            found[name] = module.stack.part(module.index)
            inside.add(module.stack.layer)
        elif isinstance(module, Wrapper) and isinstance(module._modules[module.inner], SparseLinear):
            found[name] = module._modules[module.inner]
            inside.add(found[name])
        elif isinstance(module, SparseLinear) and module not in inside:
            found[name] = module
    return found


def is_replaced(model):
    """Whether replace_blocks_ changed something of it."""
    return any(isinstance(module, (Wrapper, PartOfStack)) for module in model.modules())


def rows_between(tensor, lengths, index):
    """The rows of one part; None of None."""
    begin = sum(lengths[:index])
    return None if tensor is None else tensor.detach()[begin : begin + lengths[index]]
