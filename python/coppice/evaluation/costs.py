"""What a model costs: time for one sequence, bytes of its weights."""

import statistics
import time

import torch

from ..models.blocks import blocks_of
from ..models.loading import takes_images
from ..torch import SparseLinear
from ..torch._linear import is_conv1d


# How long one length is timed, and how many runs at least.
SECONDS, RUNS = 1.0, 10


def random_input(model, count, device):
    """One sequence of so many tokens, or so many images."""
    generator = torch.Generator().manual_seed(count)
    if not takes_images(model):
        return {"input_ids": torch.randint(model.config.vocab_size, (1, count), generator=generator).to(device)}
    config = model.config
    size = config.image_size if isinstance(config.image_size, (tuple, list)) else (config.image_size,) * 2
    pixels = torch.randn(count, config.num_channels, *size, generator=generator)
    return {"pixel_values": pixels.to(device, model.dtype)}


def latency(model, count, device):
    """Median milliseconds of one forward pass of one sequence of random tokens (or of random images), and how many were timed; on a
    CPU also of its processors' time together, in which other work on the machine does not count."""
    batch = random_input(model, count, device)
    times, processor = [], []
    with torch.no_grad():
        for _ in range(3):
            model(**batch)
        end = time.perf_counter() + SECONDS
        while len(times) < RUNS or time.perf_counter() < end:
            synchronize(device)
            begin, busy = time.perf_counter(), time.process_time()
            model(**batch)
            synchronize(device)
            times.append(time.perf_counter() - begin)
            processor.append(time.process_time() - busy)
    found = {"ms": 1000 * statistics.median(times), "runs": len(times)}
    if torch.device(device).type == "cpu":
        found["processor_ms"] = 1000 * statistics.median(processor)
    return found


def synchronize(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def linear_bytes(model):
    """Bytes of the linear weights of the model's blocks (of all but the head, where blocks are not known), biases left out."""
    parts = blocks_of(model) or [model]
    head = model.get_output_embeddings()
    total = 0
    for module in {module for part in parts for module in part.modules()}:
        if isinstance(module, SparseLinear):
            total += module.weight.nbytes
        elif (isinstance(module, torch.nn.Linear) or is_conv1d(module)) and module is not head:
            total += module.weight.nbytes
    return total


def model_bytes(model):
    """Bytes of all parameters and buffers that a checkpoint holds, shared ones once."""
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}.values())
