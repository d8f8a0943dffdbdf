"""Packed checkpoints in vLLM, through its interface for quantization methods of other packages.

`register` is an entry point of the group vllm.general_plugins: an installed coppice is found without being named. Layers of a packed
checkpoint (config.json: "quant_method": "coppice") then multiply by their compressed weight; projections that vLLM fuses (q, k and
v; gate and up) are fused as row segments, which the canonical form allows where their patterns are the same. One GPU only: tensor
parallelism is refused. This was tested against stand-ins of vLLM's base classes; it was never run under vLLM.
"""

import torch
from torch import nn

from ._core import InvalidArgument, Pattern

SHARDS = {"q": 0, "k": 1, "v": 2}  # as vLLM calls the parts of qkv_proj; other fused layers count


def register():
    """Makes vLLM know the method. Called by vLLM in every process."""
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS, register_quantization_config

    if "coppice" not in QUANTIZATION_METHODS:
        register_quantization_config("coppice")(make_config_class())


def make_config_class():
    """The subclasses of vLLM's bases, which are imported here and nowhere else."""
    from vllm.model_executor.layers.linear import LinearBase, LinearMethodBase, UnquantizedLinearMethod
    from vllm.model_executor.layers.quantization.base_config import QuantizationConfig

    class CoppiceLinearMethod(LinearMethodBase):
        """The linear layer of one or several packed weights."""

        def __init__(self, entries):
            self.entries = entries

        def create_weights(self, layer, input_size_per_partition, output_partition_sizes, input_size, output_size, params_dtype,
                           **_extra):
            if input_size_per_partition != input_size or sum(output_partition_sizes) != output_size:
                raise InvalidArgument("packed weights cannot be split between GPUs; set tensor_parallel_size=1")
            layer.weight = PackedParameters(self.entries, list(output_partition_sizes), input_size, params_dtype)

        def process_weights_after_loading(self, layer):
            layer.weight.finish()

        def apply(self, layer, x, bias=None):
            y = layer.weight.product(x)
            return y if bias is None else y + bias

    class CoppiceConfig(QuantizationConfig):
        def __init__(self, weights):
            super().__init__()
            self.weights = weights

        @classmethod
        def get_name(cls):
            return "coppice"

        @classmethod
        def get_supported_act_dtypes(cls):
            return [torch.float16, torch.bfloat16, torch.float32]

        @classmethod
        def get_min_capability(cls):
            return 80

        @staticmethod
        def get_config_filenames():
            return []

        @classmethod
        def from_config(cls, config):
            if config.get("format_version") != 1:
                raise InvalidArgument(f"packed with format version {config.get('format_version')}, this coppice reads version 1")
            return cls(config["weights"])

        def get_quant_method(self, layer, prefix):
            if not isinstance(layer, LinearBase):
                return None
            parent, _, child = prefix.rpartition(".")
            names = [f"{parent}.{part}" if parent else part for part in self.packed_modules_mapping.get(child, [child])]
            entries = [self.weights.get(name + ".weight") for name in names]
            if not any(entries):
                return UnquantizedLinearMethod()
            if not all(entries) or len({entry["pattern"] for entry in entries}) > 1:
                raise InvalidArgument(
                    f"'{prefix}' fuses {', '.join(names)}, which need one pattern; pack them alike, or run 'coppice unpack'")
            return CoppiceLinearMethod(entries)

    return CoppiceConfig


class PackedParameters(nn.Module):
    """The arrays of a layer while vLLM loads them, part by part; then what multiplies."""

    def __init__(self, entries, sizes, cols, dtype):
        super().__init__()
        from .torch import SparseWeight

        if any(entry["shape"] != [rows, cols] for entry, rows in zip(entries, sizes)) or len(entries) != len(sizes):
            raise InvalidArgument(f"packed weights are {[e['shape'] for e in entries]}, the layer has {sizes} rows of {cols}")
        if any(entry.get(key) for entry in entries for key in ("col_segments", "input_permutation", "row_segments")):
            raise InvalidArgument("packed weights with an order or segments of their own are not supported here; run 'coppice unpack'")
        self.pattern, self.sizes, self.cols = Pattern(entries[0]["pattern"]), sizes, cols
        whole = SparseWeight(self.pattern, (sum(sizes), cols), row_segments=sizes if len(sizes) > 1 else (), dtype=dtype, device="meta")
        self.parts = [SparseWeight(self.pattern, (rows, cols), dtype=dtype, device="meta") for rows in sizes]
        self.sparse = None
        for name in ("values", "columns", "metadata"):
            array = getattr(whole, name)
            if array is not None:
                parameter = nn.Parameter(torch.zeros(array.shape, dtype=array.dtype), requires_grad=False)
                parameter.weight_loader = self.loader(name)
                self.register_parameter(name, parameter)

    def loader(self, name):
        """Copies one weight's array to its place: rows of one part lie behind those of the part before."""
        def load(parameter, loaded, shard=None):
            part = 0 if shard is None else SHARDS.get(shard, shard)
            lengths = [len(getattr(one, name)) for one in self.parts]
            begin = sum(lengths[:part])
            target = parameter.data[begin : begin + lengths[part]]
            if target.shape != loaded.shape:
                raise InvalidArgument(f"{name} of part {part} is {list(loaded.shape)}, needed is {list(target.shape)}")
            target.copy_(loaded)

        return load

    def finish(self):
        """All arrays are there: checks them, and makes the layer."""
        from .torch import SparseLinear

        rows = sum(self.sizes)
        layer = SparseLinear(self.cols, rows, self.pattern, bias=False, row_segments=self.sizes if len(self.sizes) > 1 else (),
                             device="meta", dtype=self.values.dtype)
        layer.weight.values = nn.Parameter(self.values.data, requires_grad=False)
        for name in ("columns", "metadata"):
            if getattr(layer.weight, name) is not None:
                setattr(layer.weight, name, getattr(self, name).data)
        layer.weight.to_matrix()  # files are not trusted
        self.sparse = layer

    def product(self, x):
        return self.sparse(x)
