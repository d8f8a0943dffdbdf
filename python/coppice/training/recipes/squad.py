"""Extractive question answering on data in SQuAD's format."""

import collections
import json
import re
import string

import torch
import transformers

from ...models.text import tokenizer_of
from .base import Outputs, Recipe

LONGEST_ANSWER = 30  # tokens


def questions(path):
    """Dicts of a file's questions: context, question, answers [(text, start)], none where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        return [{"context": paragraph["context"], "question": asked["question"],
                 "answers": [(answer["text"], answer["answer_start"]) for answer in asked.get("answers", [])]}
                for article in data for paragraph in article["paragraphs"] for asked in paragraph["qas"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{path}' is not in SQuAD's format: {type(error).__name__} {error}") from None


def normalized(text):
    """As SQuAD compares answers: lower case, no punctuation, no articles, single blanks."""
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(found, wanted):
    found, wanted = normalized(found).split(), normalized(wanted).split()
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((collections.Counter(found) & collections.Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))


class Squad(Recipe):
    """train*.json and dev*.json. Contexts longer than a window are cut into several that share a quarter. The measures are exact match and
    F1, the best of a question's answers."""

    def __init__(self, model_dir, data_dir, length=384, seed=0):
        super().__init__(model_dir, data_dir, length, seed)
        self.tokenizer = tokenizer_of(model_dir)
        self.dataset = self._features(questions(self.files("train*.json")[0]))
        self.asked = questions(self.files("dev*.json")[0])
        self.held_out = self._features(self.asked)

    def loader(self):
        return transformers.AutoModelForQuestionAnswering

    def _features(self, asked):
        texts = [q["question"].strip() for q in asked], [q["context"] for q in asked]
        made = self.tokenizer(*texts, truncation="only_second", max_length=self.length, stride=self.length // 4, padding="max_length",
                              return_overflowing_tokens=True, return_offsets_mapping=True)
        features = []
        for i, question in enumerate(made["overflow_to_sample_mapping"]):
            inside = [part == 1 for part in made.sequence_ids(i)]
            spans = [span if own else None for span, own in zip(made["offset_mapping"][i], inside)]
            inputs = {name: torch.tensor(made[name][i]) for name in ("input_ids", "attention_mask", "token_type_ids") if name in made}
            begin, end = self._places(asked[question]["answers"], spans)
            features.append({"inputs": inputs, "begin": begin, "end": end, "spans": spans, "question": question})
        return features

    @staticmethod
    def _places(answers, spans):
        """First and last token of the first answer; 0, 0 ([CLS]) where the window does not hold it."""
        if not answers:
            return 0, 0
        text, start = answers[0]
        inside = [i for i, span in enumerate(spans) if span and span[0] < start + len(text) and span[1] > start]
        if not inside or spans[inside[0]][0] > start or spans[inside[-1]][1] < start + len(text):
            return 0, 0
        return inside[0], inside[-1]

    def collate(self, samples):
        batch = {name: torch.stack([s["inputs"][name] for s in samples]) for name in samples[0]["inputs"]}
        return {**batch, "begin": torch.tensor([s["begin"] for s in samples]), "end": torch.tensor([s["end"] for s in samples])}

    def outputs(self, model, batch):
        inputs = {name: value for name, value in batch.items() if name not in ("begin", "end")}
        found = model(**inputs)
        logits = [found.start_logits, found.end_logits]
        loss = sum(torch.nn.functional.cross_entropy(one.float(), batch[name]) for one, name in zip(logits, ("begin", "end"))) / 2
        return Outputs(loss, logits)

    def evaluate(self, model, size=32):
        best = [(-float("inf"), "")] * len(self.asked)
        for first in range(0, len(self.held_out), size):
            features = self.held_out[first : first + size]
            batch = {name: torch.stack([f["inputs"][name] for f in features]).to(model.device) for name in features[0]["inputs"]}
            found = model(**batch)
            for feature, begin, end in zip(features, found.start_logits.float().cpu(), found.end_logits.float().cpu()):
                question = feature["question"]
                best[question] = max(best[question], self._answer(feature, begin, end, self.asked[question]["context"]))
        scores = [self._scores(text, asked["answers"]) for (_, text), asked in zip(best, self.asked)]
        return {name: 100 * sum(column) / len(scores) for name, column in zip(("exact", "f1"), zip(*scores))}

    @staticmethod
    def _answer(feature, begin, end, context):
        """(score, text) of the best span of a window."""
        outside = torch.tensor([span is None for span in feature["spans"]])
        pairs = begin.masked_fill(outside, -1e9)[:, None] + end.masked_fill(outside, -1e9)[None, :]
        allowed = torch.ones_like(pairs, dtype=torch.bool).triu().tril(LONGEST_ANSWER - 1)
        place = int(pairs.masked_fill(~allowed, -3e9).argmax())
        first, last = divmod(place, len(end))
        if outside[first] or outside[last]:
            return float(pairs[first, last]), ""
        return float(pairs[first, last]), context[feature["spans"][first][0] : feature["spans"][last][1]]

    @staticmethod
    def _scores(found, answers):
        wanted = [text for text, _ in answers] or [""]
        return max(float(normalized(found) == normalized(text)) for text in wanted), max(f1(found, text) for text in wanted)
