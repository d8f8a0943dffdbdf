"""What sparsity costs a sentence encoder, before and after a short recovery: all-MiniLM-L6-v2, asked for Debian's packages by their short
descriptions.

    scripts/debian_task.py descriptions --queries 5000 --task DATA_DIR/test.jsonl --train DATA_DIR/train.jsonl --text /dev/null
    cp -r MODEL_DIR DATA_DIR/model
    python bench/python/studies/minilm.py DATA_DIR -o OUT_DIR --device cuda --dtype bfloat16 --processes 12 [--thin]

Pruned at once (calibrated on 256 training texts of a seed): magnitude, Wanda, RIA, OBS, ADMM; "+perm" with the input channels of every layer in
the order under which its scores keep most. Element-wise patterns need such an order folded into the layer before; here it is applied to
all layers. Recovered by distillation from the dense model on the training packages: fixed (the zeros of OBS with permutation, kept), sr-ste,
decay (by Fisher blocks, over the first half of the steps; not at groups of 32) and lora (three stages), these in the layers' own order. results.csv has a row a run:
recall@1, recall@10 and MRR among the 5000 documents that nothing else has seen.
"""

import json

import numpy as np
import torch

from jobs import parser_of, run_jobs, train

import coppice
from coppice.training import FixedMask
from coppice.training.methods import METHODS
from coppice.training.recipes.retrieval import Retrieval

PATTERNS = ["2:4", "4:8", "1:4", "2:8", "vw32/8:32", "bw4x4/8:32", "64:2:5", "64:2:8", "64:2:16"]
GRID = [f"{v}:2:{m}" for m in (5, 8, 16) for v in (16, 32, 64, 128)]
FIRST = ["2:4", "64:2:8"]
ONCE = ["magnitude", "obs+perm", "obs", "wanda", "wanda+perm", "ria", "ria+perm", "magnitude+perm", "admm+perm", "admm"]
RECOVERED = {
    "fixed": None,
    "sr-ste": ("sr-ste", {"every": 5, "fixed": 0.9}),
    "decay": ("decay", {"first": 0.1, "last": 0.5, "samples": 16, "prunings": 4}),
    "lora": ("lora", {"rank": 64, "dense": 0.05, "dynamic": 0.05, "interval": 5}),
}
# Rates, chosen before any result was seen: LoRA's factors take larger ones.
RATES = {"lora": 1e-3}


def layers_of(model):
    from coppice.models.names import linear_modules

    return {name: module for name, module in linear_modules(model).items() if "encoder.layer" in name}


def statistics_of(args, recipe, seed):
    """The statistics file of the seed's calibration texts, made by whichever process comes first."""
    path = args.output / f"statistics-{seed}.safetensors"
    if not path.exists():
        chosen = np.random.default_rng(seed).permutation(len(recipe.dataset))[:256].tolist()
        batches = [recipe.collate([recipe.dataset[i] for i in chosen[first : first + 32]]) for first in range(0, len(chosen), 32)]
        part = path.with_suffix(f".{np.random.default_rng().integers(1 << 62)}.part")
        coppice.calibrate(recipe.load(recipe.model_dir), batches, part, device=args.device)
        part.replace(path)
    return coppice.Statistics(path)


def pruned_weight(weight, pattern, method, permuted, stats, name):
    if method in ("obs", "admm"):
        gram = stats.gram(name)
        scores = coppice.score_weights_obs(weight, gram)
    else:
        scores = coppice.score_weights(weight, method, None if method == "magnitude" else stats.square_sums(name))
    order = np.arange(weight.shape[1], dtype=np.uint32)
    if permuted:
        order = np.asarray(coppice.find_input_permutation(scores, pattern).permutation)
    new = np.empty_like(weight)
    if method in ("obs", "admm"):
        prune = coppice.obs_prune if method == "obs" else coppice.admm_prune
        new[:, order] = prune(np.ascontiguousarray(weight[:, order]), pattern, np.ascontiguousarray(gram[order][:, order])).weight
    else:
        new[:, order] = np.where(coppice.score_mask(np.ascontiguousarray(scores[:, order]), pattern), weight[:, order], 0)
    return new


def prune_at_once(model, pattern, way, stats):
    method, _, permuted = way.partition("+")
    for name, module in layers_of(model).items():
        weight = module.weight.detach().cpu().numpy()
        new = weight if pattern == "dense" else pruned_weight(weight, pattern, method, bool(permuted), stats, name)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(new))
    return model


def method_of(job, args, recipe, model, steps):
    """What the trainer is given. Of `fixed` the model is pruned here."""
    if job["way"] == "dense":
        return None
    if job["way"] == "fixed":
        prune_at_once(model, job["pattern"], "obs+perm", statistics_of(args, recipe, job["seed"]))
        return lambda model: FixedMask(model, job["pattern"])
    name, given = RECOVERED[job["way"]]
    return lambda model: METHODS[name](model, job["pattern"], steps, **given)


def recovered(job, args, recipe, directory, deadline):
    torch.manual_seed(job["seed"])
    recipe.dataset = recipe.dataset[: 64 if args.tiny else None]
    steps = args.steps or (6 if args.tiny else 600)
    model = recipe.load(recipe.model_dir)
    teacher = recipe.load(recipe.model_dir).to(args.device).eval().requires_grad_(False)
    options = dict(steps=steps, batch=args.batch or (8 if args.tiny else 64), rate=RATES.get(job["way"], 2e-4), warmup=steps // 20,
                   schedule="linear", dtype=args.dtype, device=args.device, seed=job["seed"], log_every=max(1, min(50, steps // 10)))
    method = method_of(job, args, recipe, model, steps)
    return train(model, recipe, recipe.loss(teacher, 1.0, 1.0), method, options, directory, deadline)


def work(job, args, directory, deadline):
    recipe = Retrieval(args.data / "model", args.data)
    if args.tiny:
        recipe.held_out = recipe.held_out[:40]
    directory.mkdir(parents=True, exist_ok=True)
    if job["stage"] == "once":
        model = recipe.load(recipe.model_dir)
        if job["pattern"] != "dense":
            stats = None if job["way"].startswith("magnitude") else statistics_of(args, recipe, job["seed"])
            prune_at_once(model, job["pattern"], job["way"], stats)
        model = model.to(args.device).eval()
    else:
        model = recovered(job, args, recipe, directory, deadline)
    if model is None:
        return None
    with torch.no_grad():
        return recipe.evaluate(model)


def jobs_of(args):
    """A seed after the other, and of each first what matters most."""

    def rows(seed, stage, patterns, ways):
        return [{"stage": stage, "pattern": pattern, "way": way, "seed": seed} for way in ways for pattern in patterns]

    patterns = FIRST if args.thin else PATTERNS
    grid = [p for p in GRID if p not in patterns] if args.grid else []
    jobs = rows(args.seeds[0], "once", ["dense"], ["dense"])
    for seed in args.seeds:
        jobs += rows(seed, "once", patterns, ["magnitude", "obs+perm", "obs"] if args.thin else ONCE) + rows(seed, "once", grid, ["obs"])
        jobs += rows(seed, "recovered", FIRST, ["fixed", "sr-ste"] if args.thin else RECOVERED)
    for seed in args.seeds:
        jobs += [] if args.thin else rows(seed, "recovered", ["dense"], ["dense"])
        jobs += rows(seed, "recovered", [p for p in patterns if p not in FIRST], RECOVERED) + rows(seed, "recovered", grid, ["sr-ste"])
    # Fisher blocks of groups of 32 columns take minutes of a processor.
    jobs = [job for job in jobs if not (job["way"] == "decay" and job["pattern"].endswith(":32"))]
    # What does not depend on a calibration set is run once.
    return [job for job in jobs if not (job["stage"] == "once" and job["way"].startswith("magnitude") and job["seed"] != args.seeds[0])]


def main():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--grid", action="store_true", help="OBS, and SR-STE after it, at other (V, M)")
    add("--thin", action="store_true", help="2:4 and 64:2:8, fewer ways")
    add("--tiny", action="store_true", help="few steps, few documents, to see that it runs")
    args = parser.parse_args()
    if not (args.data / "model" / "config.json").is_file():
        parser.error(f"{args.data} has no model/config.json")
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "options.json").write_text(json.dumps(vars(args), default=str, indent=1))
    run_jobs(jobs_of(args), work, args)


if __name__ == "__main__":
    main()
