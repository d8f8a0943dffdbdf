"""Short runs of the trainer, also in processes of their own: so this imports no more than it needs."""

import csv
import os
import socket

import torch

from coppice.training import SrSte, StructureDecay, ThreeStageLora, Trainer, TrainOptions, decay_schedule

nn = torch.nn
STEPS = 24
METHODS = {
    "dense": None,
    "sr-ste": lambda model: SrSte(model, "2:4", every=2),
    "decay": lambda model: StructureDecay(model, "8:2:8", decay_schedule("8:2:8", STEPS, first=0.3, last=0.9), samples=5),
    "lora": lambda model: ThreeStageLora(model, "2:4", STEPS, rank=2, dense=0.2, dynamic=0.5, interval=3),
}


class Samples:
    """The samples draw from the random state, as an augmentation does."""

    def __init__(self, noise):
        self.noise = noise

    def __len__(self):
        return 30

    def __getitem__(self, i):
        x = torch.randn(16, generator=torch.Generator().manual_seed(i))
        return {"x": x + self.noise * torch.randn(16), "y": x[:8].sin()}


def make_model(seed=11, noise=0.1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Dropout(noise), nn.Linear(24, 8))


def loss_of(model, batch):
    return (model(batch["x"]) - batch["y"]).square().mean()


def make_trainer(directory, method="sr-ste", steps=STEPS, model_seed=11, noise=0.1, **options):
    given = dict(batch=8, accumulate=2, rate=0.01, warmup=3, schedule="cosine", weight_decay=0.1, seed=5, log_every=1)
    options = TrainOptions(steps=steps, **{**given, **options})
    return Trainer(make_model(model_seed, noise), Samples(noise), loss_of, options, directory, method=METHODS[method],
                   evaluate=lambda model: {"odd": float(model[0].weight.sum())})


def rows(directory):
    with open(directory / "log.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "samples_per_second"} for row in csv.DictReader(file)]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def train_together(rank, directory, port, size, device="cpu"):
    """Two runs of one of several processes: a start, and what goes on."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    for steps in (3, 0):
        trainer = make_trainer(directory, model_seed=rank, noise=0.0, device=device)  # the trainer makes the models equal
        for _ in range(steps or STEPS - trainer.step):
            row = trainer._step()
        trainer._log(row)
        trainer.save()
    torch.save(trainer.model.state_dict(), directory / f"{rank}.pt")
    trainer.processes.close()


def train_two(directory, device):
    """What two processes have in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(train_together, (directory, port, 2, device), nprocs=2)
    return [torch.load(directory / f"{rank}.pt", map_location="cpu") for rank in range(2)]
