"""Checkpoints of a training run: all that the steps to come depend on, in one file that appears whole or not at all."""

import os
import random

import torch


def random_state(device):
    """Of every generator that a step may draw from in this process."""
    state = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state, device):
    version, numbers, normal = state["python"]
    random.setstate((version, tuple(numbers), normal))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def write(path, state):
    unfinished = f"{path}.tmp-{os.getpid()}"
    try:
        with open(unfinished, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)


def read(path):
    """Without running code that the file may hold."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"'{path}' is no checkpoint of coppice.training: {error}") from None
