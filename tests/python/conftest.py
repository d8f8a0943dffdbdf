"""Weights, references and checkpoints that the tests share."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

PATTERNS = ["dense", "2:4", "2:8", "8:32", "3:5", "vw32/8:32", "bw4x4/1:4", "bw32x32/1:2", "64:2:8", "64:2:5", "16:2:16"]
SHAPES = [(1, 1), (3, 7), (64, 96), (70, 90), (130, 257)]
DTYPES = [np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def weight_of(rng, shape, dtype=np.float32):
    return rng.normal(size=shape).astype(np.float32).astype(dtype)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def masked(weight, mask):
    return np.where(mask, weight, np.zeros((), weight.dtype))


def relative_error(got, want):
    return np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-300)


def write_safetensors(path, tensors):
    """The format in a dozen lines, so that the reader is tested against something else than the writer."""
    names = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    header, data = {}, b""
    for name, array in tensors.items():
        blob = array.tobytes()
        header[name] = {"dtype": names[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(blob)]}
        data += blob
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def model_dir(tmp_path, rng):
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 64}))
    write_safetensors(directory / "model.safetensors", {
        "encoder.layer.0.attention.self.query.weight": weight_of(rng, (64, 64)),
        "encoder.layer.0.intermediate.dense.weight": weight_of(rng, (100, 64), ml_dtypes.bfloat16),
        "encoder.layer.0.intermediate.dense.bias": weight_of(rng, (100,)),
        "embeddings.word_embeddings.weight": weight_of(rng, (30, 64)),
    })
    return directory
