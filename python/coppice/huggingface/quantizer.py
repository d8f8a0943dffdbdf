"""The quantization method "coppice" of transformers: what from_pretrained and save_pretrained do with packed checkpoints."""

import torch
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from .._core import InvalidArgument
from ..torch._block_state import is_replaced
from .layers import FORMAT_VERSION, entries_of, install, replace, sparse_layers


@register_quantization_config("coppice")
class CoppiceConfig(QuantizationConfigMixin):
    """`quantization_config` of config.json. weights: {weight: its entry} (docs/checkpoint.md)."""

    METHOD = "coppice"

    def __init__(self, weights=None, format_version=FORMAT_VERSION, **_ignored):
        self.quant_method = self.METHOD
        self.format_version = format_version
        self.weights = dict(weights or {})

    def to_dict(self):
        return {"quant_method": self.quant_method, "format_version": self.format_version, "weights": self.weights}

    def to_diff_dict(self):
        return self.to_dict()


@register_quantizer("coppice")
class CoppiceQuantizer(HfQuantizer):
    """Replaces the modules of packed weights by SparseLinear before their arrays are read."""

    requires_calibration = True  # packed weights come from a checkpoint; nothing is pruned while loading

    def validate_environment(self, *_args, **_kwargs):
        version = self.quantization_config.format_version
        if version != FORMAT_VERSION:
            raise InvalidArgument(f"packed with format version {version}, this coppice reads version {FORMAT_VERSION}")

    def _process_model_before_weight_loading(self, model, **_kwargs):
        install(model, self.quantization_config.weights)

    def _process_model_after_weight_loading(self, model, **_kwargs):
        for name, layer in sparse_layers(model).items():
            try:
                layer.weight.to_matrix()  # files are not trusted: checks every index
            except InvalidArgument as error:
                raise InvalidArgument(f"'{name}.weight': {error}") from None
        return model

    def get_state_dict_and_metadata(self, model):
        """For save_pretrained, which writes config.json after this: of the layers as they are now."""
        model.config.quantization_config = self.quantization_config = CoppiceConfig(weights=entries_of(model))
        return None, {"coppice_format": str(FORMAT_VERSION)}

    def _dequantize(self, model, dtype=None):
        if is_replaced(model):
            raise InvalidArgument("this model's blocks were replaced by replace_blocks_; dequantize one whose blocks were not, such as a saved copy")
        if isinstance(dtype, str):  # of the config, once the model was saved
            dtype = getattr(torch, dtype)
        for name, layer in sparse_layers(model).items():
            replace(model, name, layer.to_linear().to(dtype))
        return model

    def is_serializable(self):
        return True

    @property
    def is_trainable(self):
        return True

    @property
    def is_compileable(self):
        return True
