"""A GPT from scratch on Debian's Linux documentation: dense, SR-STE, structure decay, and pruned at once, at equal steps.

    scripts/debian_docs.py .../linux-doc-6.1/Documentation -o CORPUS_DIR --vocabulary 8192
    python bench/python/studies/gpt.py CORPUS_DIR -o OUT_DIR --device cuda --dtype bfloat16 --processes 60 [--grid]

DATA_DIR holds train.npy and test.npy. GPT-2's architecture: 6 blocks of 384 features (10.6 M linear weights in them), 256 positions. Every run takes
the same steps, samples and rates of one seed. Ways:

    dense        no sparsity
    obs          the dense model, pruned at the end by OBS, without training after it
    magnitude    the same by magnitude, V:N:M columns exactly; greedy: V:N:M columns by their sums
    sr-ste       masked from the first step on; sr-ste-1e-2: with that decay of masked weights instead of 2e-4
    decay        gradual pruning by Fisher blocks in at most 4 steps, between 20 and 60 % of the training
    at-once      by Fisher blocks as well, all at 60 % of the training
    gradual-mag  decay by magnitude

--grid adds OBS and gradual pruning by magnitude at other (V, M). results.csv has a row a run: loss and perplexity on the test text.
"""

import math
import shutil
import time

import torch
import transformers

from jobs import parser_of, run_jobs, train

from coppice.training.methods import METHODS
from coppice.training.recipes.text import Text

PATTERNS = ["2:4", "64:2:5", "64:2:8", "vw32/8:32"]
GRID = [f"{v}:2:{m}" for m in (5, 8, 16) for v in (16, 32, 64, 128)]
VNM = ["64:2:5", "64:2:8"]
AFTER = ["obs", "magnitude", "greedy"]
# way: (method, its options)
DURING = {
    "sr-ste": ("sr-ste", {"every": 5, "fixed": 0.9}),
    "sr-ste-1e-2": ("sr-ste", {"every": 5, "fixed": 0.9, "decay": 1e-2}),
    "decay": ("decay", {"first": 0.2, "last": 0.6, "prunings": 4, "samples": 32}),
    "at-once": ("decay", {"first": 0.2, "last": 0.6, "prunings": 1, "samples": 32}),
    "gradual-mag": ("decay", {"first": 0.2, "last": 0.6, "prunings": 4, "by": "magnitude"}),
}
SIZES = dict(vocab_size=8192, n_positions=256, n_embd=384, n_layer=6, n_head=6)


SMALL = dict(vocab_size=8192, n_positions=64, n_embd=128, n_layer=3, n_head=2)
TINY = dict(vocab_size=8192, n_positions=16, n_embd=32, n_layer=2, n_head=2)


def sizes_of(args):
    return TINY if args.tiny else SMALL if args.small else SIZES


def make_model(args, seed):
    torch.manual_seed(seed)
    config = transformers.GPT2Config(**sizes_of(args), resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
                                     use_cache=False, activation_function="gelu_pytorch_tanh")  # GPT-2's function in one operation
    return transformers.GPT2LMHeadModel(config)


def options_of(args, seed):
    steps = args.steps or (8 if args.tiny else 500)
    return dict(steps=steps, batch=args.batch or (4 if args.tiny else 64), rate=2e-3, warmup=max(1, steps // 10), schedule="cosine",
                weight_decay=0.1, betas=(0.9, 0.95), dtype=args.dtype, device=args.device, seed=seed, log_every=max(1, min(100, steps // 10)))


def trained(job, args, recipe, directory, deadline):
    method = None
    options = options_of(args, job["seed"])
    if job["way"] != "dense":
        name, given = DURING[job["way"]]
        method = lambda model: METHODS[name](model, job["pattern"], options["steps"], **given)  # noqa: E731
    return train(make_model(args, job["seed"]), recipe, recipe.loss(), method, options, directory, deadline)


def pruned(job, args, recipe, dense_dir, directory):
    """The dense model of the seed, pruned at once and not trained after it."""
    import coppice

    generator = torch.Generator().manual_seed(job["seed"])
    chosen = torch.randint(len(recipe.dataset), (16 if args.tiny else 256,), generator=generator).tolist()
    batches = [{"input_ids": torch.stack([recipe.dataset[i]["input_ids"] for i in chosen[first : first + 16]])}
               for first in range(0, len(chosen), 16)]
    method = "obs" if job["way"] == "obs" else "magnitude"
    columns = "greedy" if job["way"] == "greedy" else "automatic"
    shutil.rmtree(directory / "model", ignore_errors=True)
    coppice.prune(dense_dir, directory / "model", job["pattern"], method, batches if method == "obs" else None, sequential=False,
                  columns=columns, device=args.device, threads=torch.get_num_threads())
    return transformers.GPT2LMHeadModel.from_pretrained(directory / "model").to(args.device).eval()


def work(job, args, directory, deadline):
    recipe = Text(args.data, args.data, sizes_of(args)["n_positions"])
    dense_dir = args.output / "dense" / str(job["seed"])
    directory.mkdir(parents=True, exist_ok=True)
    if job["way"] in AFTER:
        while not dense_dir.exists() and time.time() < deadline:  # another process trains it
            time.sleep(0.2)
        model = pruned(job, args, recipe, dense_dir, directory) if dense_dir.exists() else None
    else:
        model = trained(job, args, recipe, directory, deadline)
    if model is None:
        return None
    if job["way"] == "dense":
        dense_dir.parent.mkdir(exist_ok=True)
        shutil.rmtree(dense_dir, ignore_errors=True)
        model.save_pretrained(directory / "model")
        (directory / "model").rename(dense_dir)
    with torch.no_grad():
        found = recipe.evaluate(model)
    return {"test_loss": math.log(found["perplexity"]), **found}


def jobs_of(args):
    """A seed after the other, so that what time is left for is complete; the grid after training last."""

    def rows(seed, patterns, ways):
        return [{"pattern": pattern, "way": way, "seed": seed} for way in ways for pattern in patterns]

    others = [p for p in GRID if p not in PATTERNS] if args.grid else []
    jobs = []
    for seed in args.seeds:
        jobs += rows(seed, ["dense"], ["dense"]) + rows(seed, PATTERNS, [*DURING, "obs", "magnitude"]) + rows(seed, VNM, ["greedy"]) + rows(seed, others, ["obs"])
    for seed in args.seeds:
        jobs += rows(seed, others, ["gradual-mag"])
    return jobs


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--grid", action="store_true", help="OBS and gradual-mag at other (V, M)")
    parser.add_argument("--small", action="store_true", help="a model that a CPU trains in minutes: 3 blocks of 128 features, 64 positions")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few steps, to see that it runs")
    args = parser.parse_args()
    # What is pruned at the end needs the dense model's weights.
    run_jobs(jobs_of(args), work, args, lambda job: job["way"] != "dense" or (args.output / "dense" / str(job["seed"])).exists())


if __name__ == "__main__":
    main()
