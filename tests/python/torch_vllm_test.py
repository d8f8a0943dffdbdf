"""The plug-in for vLLM against stand-ins of the base classes that vLLM documents. vLLM itself is not run."""

import json
import sys
import types
from abc import ABC, abstractmethod

import pytest

from torch_models import make_model, save_model, torch

import coppice
import coppice.torch
import coppice.vllm
from safetensors.torch import load_file


class QuantizationConfig(ABC):
    def __init__(self):
        self.packed_modules_mapping = {}

    @abstractmethod
    def get_name(self): ...

    @abstractmethod
    def get_supported_act_dtypes(self): ...

    @classmethod
    @abstractmethod
    def get_min_capability(cls): ...

    @staticmethod
    @abstractmethod
    def get_config_filenames(): ...

    @classmethod
    @abstractmethod
    def from_config(cls, config): ...

    @abstractmethod
    def get_quant_method(self, layer, prefix): ...


class LinearMethodBase(ABC):
    @abstractmethod
    def create_weights(self, layer, input_size_per_partition, output_partition_sizes, input_size, output_size, params_dtype,
                       **extra_weight_attrs): ...

    @abstractmethod
    def apply(self, layer, x, bias=None): ...

    def process_weights_after_loading(self, layer):
        return


class LinearBase(torch.nn.Module):
    """Builds, loads and runs a layer in the order in which vLLM does."""

    def __init__(self, config, prefix, cols, sizes, ranks=1):
        super().__init__()
        self.quant_method = config.get_quant_method(self, prefix)
        self.quant_method.create_weights(self, cols, [size // ranks for size in sizes], cols, sum(sizes), torch.float32,
                                         weight_loader=None)


class UnquantizedLinearMethod:
    pass


@pytest.fixture
def config_class(monkeypatch):
    registered = {}
    layers = "vllm.model_executor.layers."
    modules = {name: types.ModuleType(name) for name in (
        "vllm", "vllm.model_executor", layers[:-1], layers + "linear", layers + "quantization", layers + "quantization.base_config")}
    modules[layers + "linear"].__dict__.update(
        LinearBase=LinearBase, LinearMethodBase=LinearMethodBase, UnquantizedLinearMethod=UnquantizedLinearMethod)
    modules[layers + "quantization.base_config"].QuantizationConfig = QuantizationConfig
    methods = []

    def register_quantization_config(name):
        def wrap(cls):
            assert name not in methods and issubclass(cls, QuantizationConfig)
            methods.append(name)
            registered[name] = cls
            return cls
        return wrap

    modules[layers + "quantization"].__dict__.update(
        QUANTIZATION_METHODS=methods, register_quantization_config=register_quantization_config)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    coppice.vllm.register()
    coppice.vllm.register()  # vLLM may call it twice
    return registered["coppice"]


@pytest.fixture(params=["2:4", "8:2:8", "vw4/2:8"])
def packed(request, tmp_path):
    """(config.json's part, the packed tensors, the dense ones)"""
    save_model(tmp_path / "m", "llama")
    coppice.prune_checkpoint(tmp_path / "m", tmp_path / "p", request.param)
    coppice.pack_checkpoint(tmp_path / "p", tmp_path / "k", request.param)
    config = json.loads((tmp_path / "k" / "config.json").read_text())["quantization_config"]
    return config, load_file(tmp_path / "k" / "model.safetensors"), load_file(tmp_path / "p" / "model.safetensors")


def load(layer, tensors, parts):
    """parts: {checkpoint's module: shard}, as a model's load_weights goes through them."""
    parameters = dict(layer.named_parameters())
    for module, shard in parts.items():
        for name, tensor in tensors.items():
            if name.startswith(module + ".weight."):
                parameter = parameters[name.removeprefix(module + ".")]
                parameter.weight_loader(parameter, tensor, *([] if shard is None else [shard]))
    layer.quant_method.process_weights_after_loading(layer)


ATTENTION, MLP = "model.layers.0.self_attn.", "model.layers.0.mlp."


@pytest.mark.parametrize("prefix, cols, parts", [
    (MLP + "down_proj", 24, {MLP + "down_proj": None}),
    (MLP + "gate_up_proj", 16, {MLP + "gate_proj": 0, MLP + "up_proj": 1}),
    (ATTENTION + "qkv_proj", 16, {ATTENTION + f"{p}_proj": p for p in "qkv"}),
])
def test_layers_multiply_as_their_dense_weights(config_class, packed, prefix, cols, parts):
    quantization, tensors, dense = packed
    config = config_class.from_config(quantization)
    config.packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
    weight = torch.cat([dense[module + ".weight"] for module in parts])
    layer = LinearBase(config, prefix, cols, [len(dense[module + ".weight"]) for module in parts])
    load(layer, tensors, parts)
    x, bias = torch.randn(3, cols), torch.randn(len(weight))
    torch.testing.assert_close(layer.quant_method.apply(layer, x), x @ weight.T, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(layer.quant_method.apply(layer, x, bias), x @ weight.T + bias, rtol=1e-4, atol=1e-6)


def test_what_is_not_packed_is_left_to_vllm(config_class, packed):
    config = config_class.from_config(packed[0])
    assert config.get_quant_method(torch.nn.Embedding(2, 2), "model.embed_tokens") is None
    layer = LinearBase.__new__(LinearBase)
    torch.nn.Module.__init__(layer)
    assert isinstance(config.get_quant_method(layer, "lm_head"), UnquantizedLinearMethod)
    assert config.get_name() == "coppice" and torch.float16 in config.get_supported_act_dtypes()
    assert config_class.get_min_capability() == 80 and config_class.get_config_filenames() == []


def test_refuses_what_it_cannot_do(config_class, packed):
    quantization, tensors, _ = packed
    config = config_class.from_config(quantization)
    with pytest.raises(coppice.InvalidArgument, match="tensor_parallel_size=1"):
        LinearBase(config, MLP + "up_proj", 16, [24], ranks=2)
    with pytest.raises(coppice.InvalidArgument, match="the layer has"):
        LinearBase(config, MLP + "up_proj", 16, [32])
    config.packed_modules_mapping = {"gate_up_proj": ["gate_proj", "up_proj"]}
    del config.weights[MLP + "gate_proj.weight"]
    with pytest.raises(coppice.InvalidArgument, match="need one pattern"):
        LinearBase(config, MLP + "gate_up_proj", 16, [24, 24])
    with pytest.raises(coppice.InvalidArgument, match="version 2"):
        config_class.from_config({"format_version": 2, "weights": {}})
    layer = LinearBase(config, MLP + "up_proj", 16, [24])
    with pytest.raises(coppice.InvalidArgument, match="needed is"):
        layer.weight.values.weight_loader(layer.weight.values, torch.zeros(1, 2))


def test_damaged_arrays_are_refused(config_class, packed):
    quantization, tensors, _ = packed
    layer = LinearBase(config_class.from_config(quantization), MLP + "up_proj", 16, [24])
    with pytest.raises(coppice.InvalidArgument):
        load(layer, {name: torch.full_like(tensor, 0) if tensor.dtype == torch.uint8 else tensor for name, tensor in tensors.items()},
             {MLP + "up_proj": None})
