"""Legacy checkpoints of the format "sparse-24-bitmask", which compressed-tensors wrote and its successors no longer read.

The module `m` of a weight [rows, cols] has m.compressed [rows, cols / 2], the two weights of every four in order, m.bitmask, uint8
[rows, ceil(cols / 8)], bit c % 8 of byte c / 8 (the lowest first) set where column c is kept, and m.shape, int64, rows and cols.
(Sparse24BitMaskCompressor of github.com/neuralmagic/compressed-tensors, src/compressed_tensors/compressors/sparse_compressors/
sparse_24_bitmask.py, which packs by numpy.packbits(..., bitorder="little"); the arrays hang on the module, without ".weight".)
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .._core import FileError, InvalidArgument, check_output, pack_checkpoint

FORMAT = "sparse-24-bitmask"
PARTS = (".compressed", ".bitmask", ".shape")
CONFIGS = ("quantization_config", "compression_config")


def import_bitmask(model_dir, out_dir, *, threads=0):
    """Writes a "sparse-24-bitmask" checkpoint as a packed one of Coppice (pattern 2:4), for from_pretrained and `coppice unpack`.

    Refuses checkpoints that are quantised as well. out_dir appears complete or not at all; needs the room of the dense checkpoint
    beside it, for a while. Returns a WriteReport.
    """
    model_dir, out_dir = Path(model_dir), Path(out_dir)
    check_output(model_dir, out_dir)
    config = dense_config(model_dir)
    with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}.dense-", dir=out_dir.parent) as scratch:
        dense = Path(scratch) / "dense"
        dense.mkdir()
        written, weights = {}, []
        for path in sorted(model_dir.glob("*.safetensors")):
            tensors = read_dense(path, weights)
            save_file(tensors, dense / path.name, {"format": "pt"})
            written.update({name: path.name for name in tensors})
        if not weights:
            raise InvalidArgument(f"'{model_dir}' holds no weight with {', '.join(PARTS)}")
        copy_rest(model_dir, dense, config, written)
        return pack_checkpoint(dense, out_dir, "2:4", include=weights, threads=threads)


def dense_config(model_dir):
    """config.json without what says that the checkpoint is compressed."""
    path = model_dir / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"'{path}': {error}") from None
    for key in CONFIGS:
        found = config.pop(key, None) or {}
        if found.get("config_groups"):
            raise InvalidArgument(f"'{model_dir}' is quantised as well as sparse; only its 2:4 form can be read")
        name = found.get("sparsity_config", found).get("format", FORMAT)
        if name not in (FORMAT, "dense"):
            raise InvalidArgument(f"'{model_dir}' has the format \"{name}\", needed is \"{FORMAT}\"")
    return config


def read_dense(path, weights):
    """The file's tensors, those that were compressed as <module>.weight, whose names go to `weights`."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        modules = {name.removesuffix(".compressed") for name in names if name.endswith(".compressed")}
        parts = {module + part for module in modules for part in PARTS}
        if not parts <= names:
            raise FileError(f"'{path}': '{sorted(parts - names)[0]}' is missing")
        tensors = {name: file.get_tensor(name) for name in sorted(names - parts)}
        for module in sorted(modules):
            weight = module if module.endswith(".weight") else module + ".weight"
            tensors[weight] = decompress(f"'{path}': '{module}'", *(file.get_tensor(module + part) for part in PARTS))
            weights.append(weight)
    return tensors


def decompress(what, compressed, bitmask, shape):
    """The dense weight."""
    sizes = shape.flatten().tolist()
    if len(sizes) != 2 or sizes[0] < 1 or sizes[1] < 4 or sizes[1] % 4:
        raise FileError(f"{what}: its shape {sizes} is not [rows, cols] with cols a multiple of 4")
    rows, cols = sizes
    want = {"compressed": (compressed, [rows, cols // 2]), "bitmask": (bitmask, [rows, -(-cols // 8)])}
    for name, (tensor, needed) in want.items():
        if list(tensor.shape) != needed:
            raise FileError(f"{what}: {name} is {list(tensor.shape)}, a weight of {rows} x {cols} needs {needed}")
    if bitmask.dtype != torch.uint8 or not compressed.is_floating_point() or compressed.element_size() == 1:
        raise FileError(f"{what}: needs a uint8 bitmask and weights of float32, float16 or bfloat16, has {bitmask.dtype} and {compressed.dtype}")
    kept = torch.from_numpy(np.unpackbits(bitmask.numpy(), axis=1, count=cols, bitorder="little").astype(bool))
    wrong = (kept.reshape(rows, cols // 4, 4).sum(2) != 2).nonzero()
    if len(wrong):
        raise FileError(f"{what}: row {int(wrong[0, 0])} does not keep two of the four columns from {4 * int(wrong[0, 1])} on")
    dense = torch.zeros(rows, cols, dtype=compressed.dtype)
    dense[kept] = compressed.flatten()
    return dense


def copy_rest(model_dir, dense, config, written):
    """All other files; the index names the tensors as they are now."""
    (dense / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for path in model_dir.iterdir():
        if path.is_file() and path.suffix != ".safetensors" and path.name != "config.json":
            shutil.copyfile(path, dense / path.name)
    index = dense / "model.safetensors.index.json"
    if index.exists():
        index.write_text(json.dumps({"metadata": {}, "weight_map": written}, indent=2) + "\n", encoding="utf-8")
