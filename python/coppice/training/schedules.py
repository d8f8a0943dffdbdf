"""What the trainer derives from the number of a step alone, so that a resumed run needs no memory of it."""

import math

import torch


class Order:
    """Which samples step s takes: every epoch a permutation of its own, of seed and epoch; what does not fill a batch is left out.

    Each of `size` processes takes its part of the batch.
    """

    def __init__(self, samples, batch, seed, rank=0, size=1):
        if batch % size:
            raise ValueError(f"batch {batch} does not divide among {size} processes")
        self.samples, self.batch, self.seed = samples, min(batch, samples - samples % size), seed
        if self.batch == 0:
            raise ValueError(f"{samples} samples are too few for {size} processes")
        self.part = slice(rank * self.batch // size, (rank + 1) * self.batch // size)
        self.epoch, self.permutation = None, None

    @property
    def steps(self):
        """In an epoch."""
        return self.samples // self.batch

    def __call__(self, step):
        epoch, place = divmod(step, self.steps)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self.epoch, self.permutation = epoch, torch.randperm(self.samples, generator=generator)
        return self.permutation[place * self.batch : (place + 1) * self.batch][self.part].tolist()


def constant(_done):
    return 1.0


def linear(done):
    return 1.0 - done


def cosine(done):
    return 0.5 * (1 + math.cos(math.pi * done))


def cyclic(done, cycles=12, floor=0.1):
    """Linear from 1 to `floor`, `cycles` times over: VENOM's rate falls from 8e-5 to 8e-6 every 4 of 50 epochs (section 6)."""
    return 1 - (1 - floor) * (done * cycles % 1.0)


SCHEDULES = {"constant": constant, "linear": linear, "cosine": cosine, "cyclic": cyclic}


def rate(step, steps, peak, warmup, schedule):
    """The learning rate of step `step` (from 0) of `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * SCHEDULES[schedule]((step - warmup) / max(1, steps - warmup))
