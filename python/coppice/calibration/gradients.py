"""The losses whose gradients Fisher blocks are made of."""

import torch

from ..models.blocks import call
from ..models.gradient_sums import GradientSums  # noqa: F401  for the runs beside this file
from ..models.loading import kind_of

LOSSES = ("auto", "lm", "masked-lm", "embedding")


class Loss:
    """A loss of one batch whose gradients go into the Fisher blocks.

    name: one of LOSSES; "auto": what the model was made for, as far as its class says so.
    mask_token: hides words from masked-lm.
    """

    def __init__(self, model, name="auto", seed=0, mask_token=None):
        self.model, self.mask_token = model, mask_token
        self.name = {"causal": "lm", "masked": "masked-lm"}.get(kind_of(model), "embedding") if name == "auto" else name
        self.generator = torch.Generator().manual_seed(seed)
        if self.name not in LOSSES[1:]:
            raise ValueError(f"loss: got '{name}', needs one of {', '.join(LOSSES)}")
        if self.name != "embedding" and model.get_output_embeddings() is None:
            kind = type(model).__name__
            raise ValueError(f"--loss {self.name}: a {kind} has no head for words; use --loss embedding")
        if self.name == "masked-lm" and mask_token is None:
            raise ValueError("--loss masked-lm: the tokenizer has no mask token")

    def __call__(self, batch):
        if self.name == "embedding":
            return self._embedding(batch)
        inputs = dict(batch) if isinstance(batch, dict) else {"input_ids": batch}
        ids = inputs["input_ids"]
        labels = ids
        if "attention_mask" in inputs:
            labels = torch.where(inputs["attention_mask"].bool(), ids, -100)
        if self.name == "masked-lm":
            inputs["input_ids"], labels = self._hide(ids, labels)
        return self.model(**inputs, labels=labels).loss

    def _hide(self, ids, labels):
        hidden = torch.rand(ids.shape, generator=self.generator) < 0.15
        hidden[0, int(torch.randint(ids.shape[1], (1,), generator=self.generator))] = True
        hidden = hidden.to(ids.device)
        return torch.where(hidden, self.mask_token, ids), torch.where(hidden, labels, -100)

    # The embedding is taken for the mean of a normal distribution of unit variance: with z drawn from it, the mean of g g^T is
    # J^T J, what a change of weights does to the squared distance.
    def _embedding(self, batch):
        states = call(self.model, batch, output_hidden_states=True).hidden_states[-1].float()
        mask = batch.get("attention_mask") if isinstance(batch, dict) else None
        if mask is not None:
            states = states * (mask / mask.sum(1, keepdim=True))[:, :, None] * mask.shape[1]
        embedding = torch.nn.functional.normalize(states.mean(1), dim=-1)
        z = torch.randn(embedding.shape, generator=self.generator).to(embedding.device)
        return (embedding * z).sum()
