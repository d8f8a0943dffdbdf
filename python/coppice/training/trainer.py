"""A small trainer: mixed precision, exact resume, CSV log, several processes."""

import contextlib
import dataclasses
import random
import time
from pathlib import Path

import torch

from . import checkpoints
from .csv_log import CsvLog
from .processes import Processes
from .schedules import SCHEDULES, Order, rate

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclasses.dataclass
class TrainOptions:
    """steps: of the optimizer. batch: samples of a step, of all processes and accumulated parts together. dtype: of autocast; float16 has
    its gradients scaled. warmup: steps. clip: norm of all gradients, 0: none. log_every, save_every, evaluate_every: steps, 0: at the end
    only. seconds: after which the run saves and stops; None: when it is done."""

    steps: int
    batch: int = 32
    accumulate: int = 1
    rate: float = 1e-4
    warmup: int = 0
    schedule: str = "linear"
    weight_decay: float = 0.0
    betas: tuple = (0.9, 0.999)
    clip: float = 1.0
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0
    log_every: int = 10
    save_every: int = 0
    evaluate_every: int = 0
    seconds: float | None = None

    def __post_init__(self):
        for name, known in (("schedule", SCHEDULES), ("dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: got \"{getattr(self, name)}\", needs one of {', '.join(known)}")
        for name, least in (("steps", 1), ("batch", 1), ("accumulate", 1), ("rate", 0), ("warmup", 0), ("clip", 0), ("log_every", 0),
                            ("save_every", 0), ("evaluate_every", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}: got {getattr(self, name)}, needs {least} or more")
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} does not divide into {self.accumulate} parts")

    def fingerprint(self):
        """What a resumed run has to agree on with the one before."""
        fields = dataclasses.asdict(self)
        for name in ("device", "log_every", "save_every", "evaluate_every", "seconds"):
            del fields[name]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


class Trainer:
    """Trains a model, and goes on where an earlier run in the same directory was stopped, with the same bits on the CPU.

        trainer = Trainer(model, dataset, loss, options, "RUN_DIR", method=lambda model: SrSte(model, "2:4"))
        trainer.run()                  # True if all steps are done
        trainer.finish()               # the method is off the model

    dataset: __len__ and __getitem__; collate(samples) makes a batch of them, a dict of tensors. loss(model, batch): a tensor.
    evaluate(model): {name: number}, in the first process. method(model): a Method. optimizer(parameters): instead of AdamW; where the trainer sets the rate.
    RUN_DIR gets log.csv and checkpoint.pt.
    """

    def __init__(self, model, dataset, loss, options, run_dir, *, collate=None, method=None, evaluate=None, optimizer=None):
        self.options, self.dataset, self.loss, self.evaluate = options, dataset, loss, evaluate
        self.collate = collate or torch.utils.data.default_collate
        self.processes = Processes(options.device)
        self.device = self.processes.device
        self._seed()
        self.model = self.processes.share(model.to(self.device))
        self.method = method(self.model) if method is not None else None
        self.optimizer = self._optimizer(optimizer)
        if self.method is not None:
            self.method.attach(self.optimizer)
        self.wrapped = self.processes.wrap(self.model)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.dtype == "float16")
        self.order = Order(len(dataset), options.batch, options.seed, self.processes.rank, self.processes.size)
        self.run_dir = Path(run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.run_dir / "checkpoint.pt"
        self.step = 0
        if self.checkpoint.exists():
            self._load()
        if self.processes.is_first:
            self.log = CsvLog(self.run_dir / "log.csv")
            self.log.keep(self.step)

    def _seed(self):
        seed = self.options.seed * 4096 + self.processes.rank
        random.seed(seed)
        torch.manual_seed(seed)

    def _optimizer(self, make):
        options = self.options
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if make is not None:
            return make(trained)
        groups = [{"params": [p for p in trained if p.dim() > 1], "weight_decay": options.weight_decay},
                  {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=options.rate, betas=options.betas)

    def run(self):
        """Trains until all steps are done (True) or the time is up (False)."""
        options, begin, seen = self.options, time.perf_counter(), self.step
        self.model.train()
        while self.step < options.steps:
            row = self._step()
            due = {name: every and self.step % every == 0 for name, every in
                   (("log", options.log_every), ("save", options.save_every), ("evaluate", options.evaluate_every))}
            done = self.step == options.steps
            late = options.seconds is not None and self.processes.any(time.perf_counter() - begin > options.seconds)
            if due["evaluate"] or done:
                row.update(self._evaluate())
            if due["log"] or due["evaluate"] or done:
                row["samples_per_second"] = (self.step - seen) * options.batch / (time.perf_counter() - begin)
                self._log(row)
            if due["save"] or done or late:
                self.save()
            if late and not done:
                return False
        return True

    def _step(self):
        """One step of the optimizer. What it returns are tensors: nothing waits for the device."""
        options = self.options
        now = rate(self.step, options.steps, options.rate, options.warmup, options.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = now
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        parts = self._parts(self.order(self.step))
        for number, indices in enumerate(parts):
            batch = self.collate([self.dataset[i] for i in indices])
            batch = {name: self._moved(value) for name, value in batch.items()}
            last = number == len(parts) - 1
            with contextlib.nullcontext() if last or self.processes.size == 1 else self.wrapped.no_sync():
                with torch.autocast(self.device.type, DTYPES[options.dtype], enabled=options.dtype != "float32"):
                    loss = self.loss(self.wrapped, batch) / len(parts)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]],
                                              options.clip or float("inf"))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        return {"loss": total, "rate": now, "norm": norm}

    def _moved(self, value):
        """On the device. From pinned memory, or a GPU that is still busy with the last step would be waited for."""
        if self.device.type == "cuda" and value.device.type == "cpu":
            value = value.pin_memory()
        return value.to(self.device, non_blocking=True)

    def _parts(self, indices):
        size = -(-len(indices) // self.options.accumulate)
        return [indices[begin : begin + size] for begin in range(0, len(indices), size)]

    def _evaluate(self):
        if self.evaluate is None:
            return {}
        found = {}
        if self.processes.is_first:
            self.model.eval()
            state = checkpoints.random_state(self.device)
            with torch.no_grad():
                found = dict(self.evaluate(self.model))
            checkpoints.set_random_state(state, self.device)
            self.model.train()
        self.processes.wait()
        return found

    def _log(self, row):
        row["loss"] = self.processes.mean(row["loss"])
        if self.method is not None:
            row.update(self.method.log())
        if self.processes.is_first:
            self.log.add(step=self.step, **{name: f"{float(value):.6g}" for name, value in row.items()})

    def save(self):
        """A checkpoint of all that later steps depend on."""
        randoms = self.processes.gather(checkpoints.random_state(self.device))
        if self.processes.is_first:
            checkpoints.write(self.checkpoint, {
                "step": self.step, "options": self.options.fingerprint(), "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "random": randoms,
                "method": None if self.method is None else self.method.state_dict()})
        self.processes.wait()

    def _load(self):
        state = checkpoints.read(self.checkpoint)
        wanted = self.options.fingerprint()
        for name, value in state["options"].items():
            if wanted.get(name) != value:
                raise ValueError(f"'{self.checkpoint}' was made with {name} {value}, not {wanted.get(name)}; "
                                 "train in another directory, or with the same options")
        if len(state["random"]) != self.processes.size:
            raise ValueError(f"'{self.checkpoint}' was made by {len(state['random'])} processes, not {self.processes.size}")
        if (state["method"] is None) != (self.method is None):
            raise ValueError(f"'{self.checkpoint}' was made {'without' if state['method'] is None else 'with'} a method")
        self.model.load_state_dict(state["model"])
        if self.method is not None:
            self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        checkpoints.set_random_state(state["random"][self.processes.rank], self.device)

    def finish(self):
        """Ends the run: the model is a plain one again, sparse if there was a method."""
        if self.method is not None:
            self.method.finish()
        self.model.eval()
        self.processes.close()
        return self.model
