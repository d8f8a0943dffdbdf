"""Causal language models on text."""

import math

import numpy as np
import torch
import transformers

from ...models.text import tokenizer_of, tokens_of
from .base import Outputs, Recipe


class Windows:
    """Windows of `length` tokens of one long row of them, one behind the other."""

    def __init__(self, tokens, length):
        self.tokens, self.length = tokens, length

    def __len__(self):
        return len(self.tokens) // self.length

    def __getitem__(self, i):
        window = self.tokens[i * self.length : (i + 1) * self.length]
        return {"input_ids": torch.from_numpy(np.asarray(window).astype(np.int64))}


class Text(Recipe):
    """train*.txt and test*.txt, UTF-8; or train.npy and test.npy, one row of tokens each. The measure is perplexity on the windows of the
    test text, those of `evaluated` of them that lie evenly in it."""

    evaluated = 512

    def __init__(self, model_dir, data_dir, length=512, seed=0):
        super().__init__(model_dir, data_dir, length, seed)
        self.dataset = Windows(self._tokens("train"), length)
        held_out = Windows(self._tokens("test"), length)
        if not len(self.dataset) or not len(held_out):
            raise ValueError(f"'{data_dir}': the texts are shorter than a window of {length} tokens")
        count = min(self.evaluated, len(held_out))
        self.held_out = torch.stack([held_out[i * len(held_out) // count]["input_ids"] for i in range(count)])

    def loader(self):
        return transformers.AutoModelForCausalLM

    def _tokens(self, part):
        found = self.files(f"{part}.npy", f"{part}*.txt")
        if found[0].suffix == ".npy":
            return np.load(found[0], mmap_mode="r")
        self.tokenizer = tokenizer_of(self.model_dir)
        return np.array(tokens_of(self.tokenizer, found), np.int32)

    def outputs(self, model, batch):
        ids = batch["input_ids"]
        logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        return Outputs(loss, [logits])

    def evaluate(self, model, size=16):
        total = sum(float(self.outputs(model, {"input_ids": ids.to(model.device)}).loss) * len(ids) for ids in self.held_out.split(size))
        return {"perplexity": math.exp(total / len(self.held_out))}
