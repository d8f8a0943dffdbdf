"""What a recipe is, and how its student is held to a teacher."""

import dataclasses
from pathlib import Path

import torch

from ..losses import distillation_kl, distilled


@dataclasses.dataclass
class Outputs:
    """Of one batch: the loss of the task (None without labels), what a teacher is compared in, and the tokens that count there."""

    loss: torch.Tensor | None
    compared: list
    mask: torch.Tensor | None = None


class Recipe:
    """A model, its data, its loss and its measure. Subclasses fill in all of it; data directories are as their docstrings say."""

    def __init__(self, model_dir, data_dir, length, seed=0):
        self.model_dir, self.data, self.length, self.seed = Path(model_dir), Path(data_dir), length, seed

    def load(self, model_dir):
        """The model of a checkpoint directory, in fp32."""
        model = self.loader().from_pretrained(model_dir, dtype=torch.float32, **self.changes())
        model.config.use_cache = False
        return model

    def changes(self):
        """Of the configuration."""
        return {}

    def files(self, *globs):
        """Of the data directory, those of the first glob that matches any."""
        for glob in globs:
            found = sorted(self.data.glob(glob))
            if found:
                return found
        raise ValueError(f"'{self.data}' has no {' or '.join(globs)}")

    def collate(self, samples):
        return torch.utils.data.default_collate(samples)

    def outputs(self, model, batch):
        """Outputs of a batch."""
        raise NotImplementedError

    def evaluate(self, model):
        """{measure: number} on what training does not see."""
        raise NotImplementedError

    def distance(self, student, teacher, temperature):
        """Between the Outputs of both."""
        pairs = list(zip(student.compared, teacher.compared))
        return sum(distillation_kl(own, other, temperature, student.mask) for own, other in pairs) / len(pairs)

    def loss(self, teacher=None, hardness=1.0, temperature=2.0):
        """loss(model, batch) for the trainer."""

        def of(model, batch):
            own = self.outputs(model, batch)
            if teacher is None:
                return own.loss
            with torch.no_grad():
                other = self.outputs(teacher, batch)
            return distilled(own.loss, self.distance(own, other, temperature), hardness)

        return of

    def save(self, model, out_dir):
        model.save_pretrained(out_dir)
        tokenizer = getattr(self, "tokenizer", None)
        if tokenizer is not None:
            tokenizer.save_pretrained(out_dir)
