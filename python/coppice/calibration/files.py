"""Statistics files: docs/statistics.md has every tensor."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from .._core import merge_statistics


def held_out_path(output):
    return str(Path(output).with_suffix("")) + ".held_out.safetensors"


def write(path, which, gatherer, gradients=None):
    """Writes the sums of one set; the file appears complete or not at all."""
    tensors = gradients.tensors() if gradients else {}
    weights = {}
    for weight, name in gatherer.weights().items():
        found = gatherer.of(weight, which) if name + ".samples" not in tensors else ()
        if found is None:
            continue
        weights[weight] = name
        if found:
            gram, tensors[name + ".square_sums"], samples = found
            tensors[name + ".samples"] = np.array([samples], dtype=np.int64)
            if gram is not None:
                tensors[name + ".gram"] = gram
    metadata = {"coppice.statistics": "1", "set": which, "weights": json.dumps(weights, sort_keys=True)}
    unfinished = f"{path}.tmp-{os.getpid()}"
    try:
        save_file(tensors, unfinished, metadata)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(unfinished, 0o666 & ~umask)  # safetensors makes files for their owner alone
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
    return weights


class StatisticsParts:
    """A statistics file for each set, written in parts: one for each stage, which `finish` adds up."""

    def __init__(self, output, held_out):
        self.targets = {"calibration": str(output)}
        if held_out:
            self.targets["held_out"] = held_out_path(output)
        self.directory = Path(f"{output}.tmp-{os.getpid()}.parts")
        self.parts = {which: [] for which in self.targets}
        self.weights = {}

    def __enter__(self):
        self.directory.mkdir(parents=True)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)

    def add(self, gatherer, gradients=None):
        for which, parts in self.parts.items():
            path = self.directory / f"{which}-{len(parts)}.safetensors"
            weights = write(path, which, gatherer, gradients if which == "calibration" else None)
            if weights:
                parts.append(path)
                self.weights.update(weights)

    def finish(self):
        """{set: path}"""
        for which, parts in self.parts.items():
            if not parts:
                raise ValueError(f"no linear layer was called with a sample of the set '{which}'")
            if len(parts) == 1:
                os.replace(parts[0], self.targets[which])
            else:
                merge_statistics(parts, self.targets[which])
        return self.targets
