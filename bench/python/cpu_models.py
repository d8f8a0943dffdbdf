"""Whole transformers on the CPU, dense against sparse: random weights of real shapes, bf16, one text or batch at a time.

    python bench/python/cpu_models.py [--model bert-base,llama-1b] [--pattern P,...] [--dtype bfloat16] [--threads N] [--rounds N] [--csv FILE]

All run eagerly, by transformers; sparse ones with replace_blocks_. Times are the median of rounds in which the variants of a model take turns;
with --threads 1 of the processor, so that other work on the machine does not count, otherwise of the clock. "prefill" is a forward pass over all tokens, "generation" a token behind as many. --tiny: does it run?
"""

import argparse
import copy
import csv
import datetime
import statistics
import sys
import time

import torch
import transformers

import coppice
import coppice.torch as ct

_TINY = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=100)
# name: class, config, sizes, sizes of --tiny, batch, tokens, it generates
MODELS = {
    "bert-base": ("BertModel", "BertConfig", {}, _TINY, 8, 128, False),
    "llama-1b": ("LlamaForCausalLM", "LlamaConfig",
                 dict(hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, intermediate_size=8192, vocab_size=128256),
                 dict(_TINY, num_key_value_heads=2), 1, 512, True),
}


def make(name, dtype, tiny):
    kind, config, sizes, small, batch, tokens, generates = MODELS[name]
    config = getattr(transformers, config)(**(small if tiny else sizes))
    torch.manual_seed(0)
    model = getattr(transformers, kind)._from_config(config, dtype=dtype, attn_implementation="sdpa").eval().requires_grad_(False)
    return model, torch.randint(5, config.vocab_size, (batch, 24 if tiny else tokens)), generates


def sparse(dense, pattern):
    """(the model with compressed linear layers in its blocks, their bytes over those of the dense ones)"""
    shared = {id(t): t for module in dense.modules() if not isinstance(module, torch.nn.Linear) for t in module.parameters(recurse=False)}
    model = copy.deepcopy(dense, shared)
    ct.prune_(model, pattern)
    layers = ct.sparsify_(model).sparse
    ct.replace_blocks_(model)
    return model, sum(layer.nbytes for layer in layers) / sum(layer.dense_bytes for layer in layers)


def prefill(model, ids):
    more = {"logits_to_keep": 1, "use_cache": False} if model.config.model_type == "llama" else {}
    return lambda: model(ids, **more)


def generation(model, ids):
    """A step behind all tokens, again and again: what a step adds to the cache is taken back."""
    cache = model(ids, use_cache=True, logits_to_keep=1).past_key_values
    token = ids[:, :1]

    def step():
        model(token, past_key_values=cache, use_cache=True)
        cache.crop(-1)
    return step


def seconds(function):
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = now()
    function()
    return now() - start


def in_turns(functions, rounds):
    """Medians; the first round does not count."""
    times = [[seconds(function) for function in functions] for _ in range(rounds + 1)]
    return [statistics.median(column) for column in zip(*times[1:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=",".join(MODELS))
    parser.add_argument("--pattern", default="2:4,64:2:8,vw32/8:32")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--csv")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lines = []
    print(f"{coppice.cpu_target()}, {options.threads} threads, {options.dtype}, PyTorch {torch.__version__}, transformers {transformers.__version__}")
    print("| model | measure | pattern | ms | over dense | bytes of the layers |\n|---|---|---|---|---|---|")
    for name in options.model.split(","):
        dense, ids, generates = make(name, getattr(torch, options.dtype), options.tiny)
        patterns = options.pattern.split(",")
        variants = [(dense, 1.0), *(sparse(dense, pattern) for pattern in patterns)]
        for measure, of in [("prefill", prefill), ("generation", generation)][:2 if generates else 1]:
            with torch.inference_mode():
                times = in_turns([of(model, ids) for model, _ in variants], 1 if options.tiny else options.rounds)
            for pattern, took, (_, share) in zip(["dense", *patterns], times, variants):
                line = [name, measure, pattern, f"{1e3 * took:.2f}", f"{times[0] / took:.2f}", f"{share:.3f}"]
                print(f"| {' | '.join(line)} |", flush=True)
                lines.append([datetime.date.today().isoformat(), options.threads, options.dtype, *ids.shape, *line])
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["date", "threads", "dtype", "batch", "tokens", "model", "measure", "pattern", "ms", "speedup", "share_of_bytes"])
            writer.writerows(lines)


if __name__ == "__main__":
    sys.exit(main())
