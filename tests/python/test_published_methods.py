"""coppice prune against the published methods, written here in NumPy from their papers and public
code: OBS has at most 1.01 times SparseGPT's output error (by saliency and without refinements the
same), ADMM no more than OBS; Wanda's and RIA's masks are the same. Needs the command: its path in COPPICE."""

import json
import os
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
import pytest

COPPICE = os.environ.get("COPPICE")
pytestmark = pytest.mark.skipif(not COPPICE, reason="COPPICE does not name the coppice command")
NAME = "model.layers.0.self_attn.{}_proj.weight"
SHAPES = {"q": (96, 384), "k": (40, 384), "v": (64, 384)}
DTYPES = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64", np.dtype(np.int64): "I64"}


def write_safetensors(path, tensors, metadata):
    header, offset = {"__metadata__": metadata}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": DTYPES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text +
                     b"".join(np.ascontiguousarray(array).tobytes() for array in tensors.values()))


def read_safetensors(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data, np.float32, offset=8 + length + info["data_offsets"][0],
                                count=int(np.prod(info["shape"]))).reshape(info["shape"])
            for name, info in header.items()}


def sparse_gpt(weight, gram, n, m, block=128, percdamp=0.01):
    """Algorithm 1 with an N:M mask: n of every m weights stay."""
    w, hessian = weight.astype(np.float64), gram.copy()
    dead = np.diag(hessian) == 0
    hessian[dead, dead] = 1
    w[:, dead] = 0
    hessian[np.diag_indices_from(hessian)] += percdamp * np.mean(np.diag(hessian))
    inverse = np.linalg.cholesky(np.linalg.inv(hessian)).T  # upper: inverse of hessian = Uᵀ U
    for begin in range(0, w.shape[1], block):
        end = min(begin + block, w.shape[1])
        errors = np.zeros((w.shape[0], end - begin))
        pruned = np.zeros(errors.shape, dtype=bool)
        for i in range(end - begin):
            column = begin + i
            if i % m == 0:
                scores = (w[:, column:column + m] / np.diag(inverse)[column:column + m]) ** 2
                order = np.argsort(scores, axis=1, kind="stable")[:, :m - n]
                np.put_along_axis(pruned[:, i:i + m], order, True, axis=1)
            kept = np.where(pruned[:, i], 0, w[:, column])
            errors[:, i] = (w[:, column] - kept) / inverse[column, column]
            w[:, column:end] -= np.outer(errors[:, i], inverse[column, column:end])
            w[:, column] = kept
        w[:, end:] -= errors @ inverse[begin:end, end:]
    return w


def relative_error(before, after, gram):
    change = before.astype(np.float64) - after
    return np.sqrt(np.sum(change @ gram * change) / np.sum(before.astype(np.float64) @ gram * before))


def largest(scores, n, m):
    """The n largest of every m, of equal ones the first."""
    grouped = scores.reshape(scores.shape[0], -1, m)
    order = np.argsort(-grouped, axis=2, kind="stable")[:, :, :n]
    mask = np.zeros(grouped.shape, dtype=bool)
    np.put_along_axis(mask, order, True, axis=2)
    return mask.reshape(scores.shape)


def wanda(weight, norms):
    return np.abs(weight.astype(np.float64)) * norms


def ria(weight, norms):
    magnitude = np.abs(weight.astype(np.float64))
    share = magnitude / magnitude.sum(axis=0) + magnitude / magnitude.sum(axis=1, keepdims=True)
    return share * norms ** 0.5


class PublishedMethods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.path = Path(cls.directory.name)
        random = np.random.default_rng(7)
        cls.weights = {NAME.format(k): random.standard_normal(shape).astype(np.float32)
                       for k, shape in SHAPES.items()}
        model = cls.path / "model"
        model.mkdir()
        (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
        write_safetensors(model / "model.safetensors", cls.weights, {"format": "pt"})
        # Inputs that depend on each other, of different size.
        mixing = random.standard_normal((96, 384)) / np.sqrt(np.arange(1, 97))[:, None]
        inputs = random.standard_normal((1500, 96)) @ mixing
        inputs += 0.3 * random.standard_normal(inputs.shape)
        inputs *= np.exp(0.5 * random.standard_normal(384))
        cls.gram = inputs.T @ inputs
        cls.gram = (cls.gram + cls.gram.T) / 2
        cls.norms = np.sqrt(np.diag(cls.gram))
        write_safetensors(
            cls.path / "stats",
            {"qkv.gram": cls.gram, "qkv.square_sums": np.diag(cls.gram).copy(),
             "qkv.samples": np.array([1500])},
            {"coppice.statistics": "1", "set": "calibration",
             "weights": json.dumps({name: "qkv" for name in cls.weights})})

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def prune(self, method, pattern, *options):
        with tempfile.TemporaryDirectory(dir=self.path) as out:
            target = Path(out) / "pruned"
            subprocess.run([COPPICE, "prune", self.path / "model", "--pattern", pattern, "--method",
                            method, "--stats", self.path / "stats", "--no-time", "--threads", "2",
                            "-o", target, *options], check=True, capture_output=True)
            return read_safetensors(target / "model.safetensors")

    def test_obs_is_at_least_sparse_gpt(self):
        for n, m in ((2, 4), (4, 8)):
            pattern = f"{n}:{m}"
            joint = self.prune("obs", pattern)
            swept = self.prune("obs", pattern, "--choice", "saliency", "--refinements", "0")
            admm = self.prune("admm", pattern)
            for name, weight in self.weights.items():
                published = relative_error(weight, sparse_gpt(weight, self.gram, n, m), self.gram)
                errors = [relative_error(weight, pruned[name], self.gram)
                          for pruned in (swept, joint, admm)]
                print(f"{pattern} {name}: SparseGPT {published:.4f}, sweep by saliency "
                      f"{errors[0]:.4f}, obs {errors[1]:.4f}, admm {errors[2]:.4f}")
                self.assertLessEqual(errors[0], 1.01 * published)
                self.assertGreaterEqual(errors[0], 0.99 * published)
                self.assertLessEqual(errors[1], 1.01 * published)
                self.assertLessEqual(errors[2], errors[1] * (1 + 1e-6))

    def test_masks_of_wanda_and_ria(self):
        for method, score in (("wanda", wanda), ("ria", ria)):
            for n, m in ((2, 4), (4, 8), (1, 4)):
                pruned = self.prune(method, f"{n}:{m}")
                for name, weight in self.weights.items():
                    mask = largest(score(weight, self.norms), n, m)
                    np.testing.assert_array_equal(pruned[name], np.where(mask, weight, 0),
                                                  f"{method} {n}:{m} {name}")
