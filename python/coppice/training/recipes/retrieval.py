"""Sentence encoders on pairs of queries and documents."""

import torch
import transformers

from ...evaluation.encoder_tasks import pool, pooling_of, retrieval
from ...evaluation.task_file import read_task
from ...evaluation.tasks import Task
from ...models.text import tokenizer_of
from ..losses import cosine_distance, distillation_kl
from .base import Outputs, Recipe


class Retrieval(Recipe):
    """train*.jsonl and test*.jsonl of lines with "query" and "document". The loss: a query's own document among those of its batch, by
    cosine times 20; a teacher is compared in the embeddings and in these similarities. The measures are recall@1, recall@10 and MRR among
    all test documents."""

    scale = 20.0

    def __init__(self, model_dir, data_dir, length=64, seed=0):
        super().__init__(model_dir, data_dir, length, seed)
        self.tokenizer, self.pooling = tokenizer_of(model_dir), pooling_of(model_dir)
        self.dataset, self.held_out = (self._pairs(part) for part in ("train*.jsonl", "test*.jsonl"))

    def loader(self):
        return transformers.AutoModel

    def _pairs(self, glob):
        path = self.files(glob)[0]
        kind, rows = read_task(path)
        if kind != "retrieval":
            raise ValueError(f"'{path}': needs lines with \"query\" and \"document\"")
        return rows

    def collate(self, samples):
        texts = [sample["query"] for sample in samples] + [sample["document"] for sample in samples]
        return dict(self.tokenizer(texts, padding=True, truncation=True, max_length=self.length, return_tensors="pt"))

    def outputs(self, model, batch):
        states = model(**batch).last_hidden_state.float()
        vectors = torch.nn.functional.normalize(pool(states, batch["attention_mask"], self.pooling), dim=-1)
        queries, documents = vectors.chunk(2)
        similar = self.scale * queries @ documents.T
        own = torch.arange(len(queries), device=similar.device)
        return Outputs(torch.nn.functional.cross_entropy(similar, own), [vectors, similar])

    def distance(self, student, teacher, temperature):
        return cosine_distance(student.compared[0], teacher.compared[0]) + distillation_kl(
            student.compared[1], teacher.compared[1], temperature)

    def evaluate(self, model):
        found = retrieval(Task(model, self.model_dir, self.held_out, self.length, model.device, self.pooling))
        return {name: found[name] for name in ("recall@1", "recall@10", "mrr")}
