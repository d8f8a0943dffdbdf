"""Packed checkpoints in transformers. Importing this registers the quantization method "coppice":

    import coppice.huggingface

    model = transformers.AutoModel.from_pretrained("PACKED_DIR")     # made by `coppice pack`: SparseLinear in place of Linear
    model.save_pretrained("COPY_DIR")                                # packed again

    coppice.torch.sparsify_(other)                                   # a pruned model in memory
    other.save_pretrained("OTHER_DIR")                               # packed

Both directories are packed checkpoints (docs/checkpoint.md), which the command reads: `coppice unpack`, `verify`.
"""

from .bitmask import import_bitmask
from .layers import describe_
from .quantizer import CoppiceConfig, CoppiceQuantizer

__all__ = ["CoppiceConfig", "CoppiceQuantizer", "describe_", "import_bitmask"]
