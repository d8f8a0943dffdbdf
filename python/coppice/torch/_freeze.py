"""Compressed models that a GPU holds once."""

from ._linear import SparseLinear


def freeze_(model, device=None, dtype=None):
    """Freezes every SparseLinear of a model for inference on a GPU, in place, and returns the model: the GPU then holds each weight
    once, packed, and the CPU its arrays (`SparseLinear.freeze_`). device: None takes each layer's own; else everything else
    of the model moves there, too. dtype: of the packed weights, such as what autocast makes of activations; None takes their own.

    A model that does not fit the GPU with its weights held twice is frozen from the CPU: freeze_(model, "cuda").
    """
    for module in model.modules():
        if isinstance(module, SparseLinear):
            module.freeze_(device, dtype)
    return model if device is None else model.to(device)
