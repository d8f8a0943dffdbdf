"""Windows of a text."""

from pathlib import Path

import torch
import transformers


def tokenizer_of(model_dir):
    return transformers.AutoTokenizer.from_pretrained(model_dir)


def window_starts(tokens, samples, length):
    """Starts of `samples` windows that do not overlap, spread evenly over the tokens."""
    if tokens < samples * length:
        raise ValueError(
            f"the text has {tokens} tokens, enough for {tokens // length} samples of {length}; "
            "lower --samples or --length, or give more text"
        )
    return [i * tokens // samples for i in range(samples)]


def special_tokens(tokenizer):
    """What the tokenizer puts before and behind a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for begin in range(len(whole) - len(plain) + 1):
        if whole[begin : begin + len(plain)] == plain:
            return whole[:begin], whole[begin + len(plain) :]
    raise ValueError("--special-tokens: the tokenizer changes a text when it adds its own tokens")


def tokens_of(tokenizer, files):
    """The files' text, one after the other, without special tokens."""
    text = "\n".join(Path(file).read_text(encoding="utf-8") for file in files)
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def windows(tokenizer, files, samples, length, special=False):
    """[samples, length]: windows of the files' text, one file after the other, as the model is given them.

    samples None: as many as the text has, one behind the other.
    """
    tokens = tokens_of(tokenizer, files)
    before, behind = special_tokens(tokenizer) if special else ([], [])
    inner = length - len(before) - len(behind)
    if inner < 1:
        raise ValueError(f"--length {length}: special tokens leave no room for the text")
    if samples is None:
        samples = max(1, len(tokens) // inner)
    starts = window_starts(len(tokens), samples, inner)
    return torch.tensor([before + tokens[start : start + inner] + behind for start in starts])
