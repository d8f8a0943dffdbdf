"""The processes that train together: torchrun's, or this one alone."""

import os

import torch
import torch.distributed as dist


class Processes:
    """rank, size and device of this process. Under torchrun (or with its environment) the group is opened here, unless it is open: NCCL
    for a GPU, Gloo for the CPU."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.device.type == "cuda":
            if self.device.index is None:
                self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)
        self.opened = self.size > 1 and not dist.is_initialized()
        if self.opened:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def is_first(self):
        return self.rank == 0

    def share(self, model):
        """Gives all processes the first one's parameters and buffers: masks are chosen from them."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)
        return model

    def wrap(self, model):
        if self.size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        # Buffers are equal already: masks follow from weights, which are.
        return torch.nn.parallel.DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False, find_unused_parameters=True)

    def mean(self, value):
        """Of a tensor over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.size
        return value

    def gather(self, value):
        """[what every process has], for any picklable value."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def any(self, flag):
        return any(self.gather(bool(flag)))

    def wait(self):
        if self.size > 1:
            dist.barrier()

    def close(self):
        if self.opened:
            dist.destroy_process_group()
