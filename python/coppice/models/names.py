"""Which module holds which weight of a checkpoint."""

import fnmatch
from pathlib import Path

import torch
from safetensors import safe_open
from transformers.core_model_loading import revert_weight_conversion

from ..torch._linear import is_conv1d as is_transposed


def stored_tensors(model_dir):
    """The names of the tensors in a checkpoint directory."""
    names = set()
    for path in sorted(Path(model_dir).glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            names.update(file.keys())
    if not names:
        raise ValueError(f"'{model_dir}' holds no .safetensors file")
    return names


def saved_names(model):
    """{name in the state_dict: the name under which save_pretrained writes it}.

    transformers gives modules other names than its checkpoints have (ViT's q_proj is stored as attention.attention.query):
    it is asked with empty tensors what it would write. Tensors that are merged or split are left out.
    """
    marks = {name: torch.empty(tensor.shape, device="meta") for name, tensor in model.state_dict().items()}
    parameters = {id(mark): name for name, mark in marks.items()}
    written = revert_weight_conversion(model, dict(marks))
    return {parameters[id(mark)]: name for name, mark in written.items() if id(mark) in parameters}


def stored_name(names, prefix, stored):
    """The first of a parameter's possible names that the checkpoint has: with or without the base model's prefix."""
    for name in names:
        for candidate in (name, f"{prefix}.{name}", name.removeprefix(prefix + ".")):
            if candidate in stored:
                return candidate
    return None


def linear_modules(model, stored=None, only="*"):
    """{weight's name in the checkpoint: module} of nn.Linear and GPT-2's Conv1D.

    stored: the checkpoint's tensors; None: those that save_pretrained would write. Modules whose weight is not among them are
    left out, as are those whose weight's name does not match the glob `only`.
    """
    saved = saved_names(model)
    known = set(saved.values()) if stored is None else stored
    prefix = getattr(model, "base_model_prefix", "") or ""
    found = {}
    for name, module in model.named_modules():
        if not (isinstance(module, torch.nn.Linear) or is_transposed(module)):
            continue
        parameter = name + ".weight"
        weight = stored_name([n for n in (saved.get(parameter), parameter) if n], prefix, known)
        if weight is not None and fnmatch.fnmatchcase(weight, only):
            found[weight] = module
    if not found:
        raise ValueError(f"no linear layer matches '{only}'")
    return found


def columns(module):
    """Input features."""
    return int(module.weight.shape[0 if is_transposed(module) else 1])
