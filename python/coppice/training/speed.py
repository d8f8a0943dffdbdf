"""How long a step of training takes with dense and with compressed weights."""

import copy
import statistics
import time

import torch

from .methods import compress


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_time(model, loss, batch, optimizer):
    """Seconds of one step: forward, backward, update. Of the processor, where that is one thread of it."""
    device = next(model.parameters()).device
    now = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    synchronize(device)
    begin = now()
    optimizer.zero_grad(set_to_none=True)
    loss(model, batch).backward()
    optimizer.step()
    synchronize(device)
    return now() - begin


def compare_steps(model, pattern, loss, batch, repeats=10):
    """{"dense_ms", "sparse_ms", "speedup", "layers"}: medians over `repeats` steps of two copies of the model with AdamW, taken in
    turns, so that a busy machine slows both. One has the layers that training chooses compressed to `pattern`."""
    models = [copy.deepcopy(model).train(), copy.deepcopy(model).train()]
    layers = compress(models[1], pattern)
    optimizers = [torch.optim.AdamW([p for p in one.parameters() if p.requires_grad], 1e-5) for one in models]
    times = [[], []]
    for turn in range(repeats + 2):
        for one, optimizer, found in zip(models, optimizers, times):
            taken = step_time(one, loss, batch, optimizer)
            if turn >= 2:
                found.append(taken)
    dense, sparse = (1000 * statistics.median(found) for found in times)
    return {"dense_ms": dense, "sparse_ms": sparse, "speedup": dense / sparse, "layers": layers}
