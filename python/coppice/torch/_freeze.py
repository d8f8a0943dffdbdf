"""Compressed models that a GPU holds once."""

import torch

from . import _cuda
from ._linear import SparseLinear

# PyTorch's allocator leaves up to 1 MB behind a block of memory: much beside small weights, which share blocks.
_SMALL = 16 << 20
_SHARED = 64 << 20
_ALIGNMENT = 256


def freeze_(model, device=None, dtype=None):
    """Freezes every SparseLinear of a model for inference on a GPU, in place, and returns the model: the GPU then holds each weight
    once, packed, and the CPU its arrays (`SparseLinear.freeze_`). device: None takes each layer's own; else everything else
    of the model moves there, too. dtype: of the packed weights, such as what autocast makes of activations; None takes their own.
    Small weights that are frozen by one call share blocks of memory, each of which is free when the last of its weights is gone.

    A model that does not fit the GPU with its weights held twice is frozen from the CPU: freeze_(model, "cuda").
    """
    frozen = []
    for module in model.modules():
        if isinstance(module, SparseLinear):
            before = module.weight.packed
            module.freeze_(device, dtype)
            if module.weight.packed is not before:  # what was frozen before stays: a CUDA graph may know its address
                frozen.append(module.weight)
    for weights in _groups(frozen):
        _share_memory(weights)
    return model if device is None else model.to(device)


def _size(weight):
    return -(-weight.packed.nbytes // _ALIGNMENT) * _ALIGNMENT


def _groups(weights):
    """Small weights of a device, as many as fit a block."""
    groups = {}
    for weight in weights:
        if weight.packed.nbytes > _SMALL:
            continue
        of_device = groups.setdefault(weight.packed.device, [[]])
        if sum(map(_size, of_device[-1])) + _size(weight) > _SHARED:
            of_device.append([])
        of_device[-1].append(weight)
    return [group for of_device in groups.values() for group in of_device if len(group) > 1]


def _share_memory(weights):
    device = weights[0].packed.device
    memory = _cuda.lasting(sum(map(_size, weights)), torch.uint8, device)
    begin = 0
    for weight in weights:
        part = memory[begin:begin + weight.packed.nbytes]
        begin += _size(weight)
        weight.packed = part.copy_(weight.packed)
    _cuda.synchronize(device)
