"""Models of a checkpoint directory, as transformers makes them."""

import os

import torch
import transformers

from .._core import DeviceError, FileError, InvalidArgument


def load_model(model_dir, dtype=None, device="cpu"):
    """The model of the class that config.json names, in evaluation mode, without a cache of keys."""
    if not os.path.isfile(os.path.join(model_dir, "config.json")):  # transformers would take it for a name on the hub
        raise FileError(f"'{model_dir}' is no directory with a config.json")
    torch.backends.cuda.matmul.allow_tf32 = False  # products in fp32, not in 10 bits
    torch.set_float32_matmul_precision("highest")
    config = transformers.AutoConfig.from_pretrained(model_dir)
    if (getattr(config, "quantization_config", None) or {}).get("quant_method") == "coppice":
        from .. import huggingface  # noqa: F401  registers the method
    name = (getattr(config, "architectures", None) or [""])[0]
    loader = getattr(transformers, name, transformers.AutoModel)
    given = {} if dtype is None else {"dtype": getattr(torch, dtype)}
    model = loader.from_pretrained(model_dir, **given)
    model.config.use_cache = False
    return model.to(device).eval()


def check_device(device):
    if device is not None and torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {device}: PyTorch sees no GPU; use cpu, or a PyTorch that is built for one")


def check_model(model, what):
    if not isinstance(model, transformers.PreTrainedModel):
        raise InvalidArgument(f"{what} needs a model of transformers, got {type(model).__name__}; for other modules add a layer's inputs to a "
                              "coppice.Gram, for coppice.torch.prune_")


def longest(model):
    """The most tokens that the model takes, or None."""
    most = getattr(model.config, "max_position_embeddings", None)
    return None if most is None else most - padding_offset(model)


def padding_offset(model):
    """RoBERTa and its kin count positions from behind the padding token's."""
    padding = getattr(getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None), "padding_idx", None)
    return 0 if padding is None else padding + 1


def kind_of(model):
    """"causal", "masked", "classifier", "tokens", "images" or "encoder": by the model's class."""
    name = type(model).__name__
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if name.endswith("ForMaskedLM"):
        return "masked"
    if "ForImageClassification" in name:  # DeiT's may end with WithTeacher
        return "images"
    return {"ForSequenceClassification": "classifier", "ForTokenClassification": "tokens"}.get(name[name.rfind("For"):], "encoder")


def takes_images(model):
    return getattr(model, "main_input_name", "") == "pixel_values"
