"""Tiny transformers with random weights, tokenizers and texts, as directories: nothing is downloaded. Tests that need torch and
transformers import this first; COPPICE_REQUIRE_TORCH=1 makes a machine without them a failure."""

import os

import numpy as np
import pytest

if os.environ.get("COPPICE_REQUIRE_TORCH") == "1":
    import torch
    import transformers
else:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

from tokenizers import Tokenizer, models, pre_tokenizers, processors

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

WORDS = [f"w{i}" for i in range(40)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
TEXT_SIZES = dict(vocab_size=len(SPECIAL + WORDS), max_position_embeddings=32, pad_token_id=0, bos_token_id=2, eos_token_id=3, **SIZES)
GPT2_SIZES = dict(vocab_size=len(SPECIAL + WORDS), n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3,
                  pad_token_id=0)
IMAGES = dict(image_size=32, patch_size=16, num_labels=3, **SIZES)

# name: (class, configuration)
MODELS = {
    "bert": ("BertModel", "BertConfig", TEXT_SIZES),
    "bert-mlm": ("BertForMaskedLM", "BertConfig", TEXT_SIZES),
    "bert-classes": ("BertForSequenceClassification", "BertConfig", dict(TEXT_SIZES, num_labels=3)),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2_SIZES),
    "llama": ("LlamaForCausalLM", "LlamaConfig", dict(TEXT_SIZES, num_key_value_heads=1)),
    "vit": ("ViTForImageClassification", "ViTConfig", IMAGES),
}


def make_model(name, seed=0, **changes):
    kind, configuration, sizes = MODELS[name]
    torch.manual_seed(seed)
    config = getattr(transformers, configuration)(**{**sizes, **changes})
    return getattr(transformers, kind)(config).eval()


def tokenizer():
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")


def save_model(directory, name, **changes):
    """A checkpoint directory with its tokenizer."""
    make_model(name, **changes).save_pretrained(directory)
    if name != "vit":
        tokenizer().save_pretrained(directory)
    return directory


def write_text(path, words=400, seed=5):
    path.write_text(" ".join(np.random.default_rng(seed).choice(WORDS, words)))
    return path


def batches_for(name, count=4, length=12, seed=3):
    generator = torch.Generator().manual_seed(seed)
    if name == "vit":
        return [{"pixel_values": torch.randn(2, 3, 32, 32, generator=generator)} for _ in range(count)]
    return [{"input_ids": torch.randint(5, 45, (2, length), generator=generator)} for _ in range(count)]
