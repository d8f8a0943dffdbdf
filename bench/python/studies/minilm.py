"""What sparsity costs a sentence encoder, before and after a short recovery: all-MiniLM-L6-v2, asked for Debian's packages by their short
descriptions.

    scripts/debian_task.py descriptions --queries 5000 --task DATA_DIR/test.jsonl --train DATA_DIR/train.jsonl --text /dev/null
    cp -r MODEL_DIR DATA_DIR/model
    python bench/python/studies/minilm.py DATA_DIR -o OUT_DIR --device cuda --dtype bfloat16 --processes 60 --grid
    python bench/python/studies/minilm.py DATA_DIR -o OUT_DIR --thin                # on a CPU

Pruned at once (calibrated on 256 training texts of a seed): magnitude, Wanda, RIA, OBS, ADMM; "+perm" with the input channels of every layer in
the order under which its scores keep most. Element-wise patterns need such an order folded into the layer before; here it is applied to
all layers. "-greedy": V:N:M columns by their sums. Recovered by distillation from the dense model on the training packages: fixed (the zeros of OBS
with permutation, kept), sr-ste, decay (by Fisher blocks, over the first half of the steps) and lora (three stages), these in the layers' own order;
dense: the model itself, trained as long. --grid adds V from 16 to 128 and M of 5, 8 and 16. results.csv has a row a run:
recall@1, recall@10 and MRR among the 5000 documents that nothing else has seen.
"""

import contextlib
import fcntl
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
VNM = [pattern for pattern in PATTERNS if pattern.startswith("64:")]
ONCE = ["magnitude", "magnitude+perm", "obs+perm", "obs", "admm+perm", "admm", "wanda", "wanda+perm", "ria", "ria+perm"]
RECOVERED = {
    "fixed": None,
    "sr-ste": ("sr-ste", {"every": 5, "fixed": 0.9}),
    "decay": ("decay", {"first": 0.1, "last": 0.5, "samples": 16, "prunings": 4}),
    "lora": ("lora", {"rank": 64, "dense": 0.05, "dynamic": 0.05, "interval": 5}),
}
ON_GRID = ["magnitude", "magnitude-greedy", "obs", "wanda", "wanda-greedy"]
# Rates, chosen before any result was seen: LoRA's factors take larger ones.
RATES = {"lora": 1e-3}


def layers_of(model):
    from coppice.models.names import linear_modules

    return {name: module for name, module in linear_modules(model).items() if "encoder.layer" in name}


@contextlib.contextmanager
def alone(path):
    """One process at a time, of those that may make the file."""
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path.exists()


def statistics_of(args, recipe, seed):
    """The statistics file of the seed's calibration texts."""
    path = args.output / f"statistics-{seed}.safetensors"
    with alone(path) as exists:
        if not exists:
            chosen = np.random.default_rng(seed).permutation(len(recipe.dataset))[:256].tolist()
            batches = [recipe.collate([recipe.dataset[i] for i in chosen[first : first + 32]]) for first in range(0, len(chosen), 32)]
            part = path.with_suffix(".part")
            coppice.calibrate(recipe.load(recipe.model_dir), batches, part, device=args.device)
            part.replace(path)
    return coppice.Statistics(path)


def scores_of(weight, kind, stats, name):
    if kind == "obs":
        return coppice.score_weights_obs(weight, stats.gram(name), threads=torch.get_num_threads())
    return coppice.score_weights(weight, kind, None if kind == "magnitude" else stats.square_sums(name), threads=torch.get_num_threads())


def orders_of(args, job, weights, kind, stats):
    """{layer: order of its input channels} under which these scores keep most. ADMM and what is trained after OBS take those of OBS."""
    path = args.output / (f"orders-{kind}-{job['pattern']}-{job['seed']}".replace("/", "-").replace(":", "-") + ".npz")
    with alone(path) as exists:
        if not exists:
            threads = torch.get_num_threads()
            found = {name: coppice.find_input_permutation(scores_of(weight, kind, stats, name), job["pattern"], threads=threads).permutation
                     for name, weight in weights.items()}
            part = path.with_suffix(".part.npz")
            np.savez(part, **found)
            part.replace(path)
    with np.load(path) as file:
        return dict(file)


def pruned_weight(weight, pattern, method, order, stats, name):
    """order: of the input channels; None: their own."""
    method, _, columns = method.partition("-")
    threads = torch.get_num_threads()
    order = np.arange(weight.shape[1]) if order is None else order
    new = np.empty_like(weight)
    if method in ("obs", "admm"):
        prune = coppice.obs_prune if method == "obs" else coppice.admm_prune
        gram = np.ascontiguousarray(stats.gram(name)[order][:, order])
        new[:, order] = prune(np.ascontiguousarray(weight[:, order]), pattern, gram, threads=threads).weight
    else:
        scores = np.ascontiguousarray(scores_of(weight, method, stats, name)[:, order])
        new[:, order] = np.where(coppice.score_mask(scores, pattern, columns=columns or "automatic", threads=threads), weight[:, order], 0)
    return new


def prune_at_once(args, job, way, recipe, model):
    method, _, permuted = way.partition("+")
    stats = None if method.startswith("magnitude") else statistics_of(args, recipe, job["seed"])
    layers = layers_of(model)
    weights = {name: module.weight.detach().cpu().numpy() for name, module in layers.items()}
    orders = orders_of(args, job, weights, "obs" if method == "admm" else method, stats) if permuted else {}
    for name, module in layers.items():
        new = pruned_weight(weights[name], job["pattern"], method, orders.get(name), stats, name)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(new))
    return model


def method_of(job, args, recipe, model, steps):
    """What the trainer is given. Of `fixed` the model is pruned here."""
    if job["way"] == "dense":
        return None
    if job["way"] == "fixed":
        prune_at_once(args, job, "obs+perm", recipe, model)
        return lambda model: FixedMask(model, job["pattern"])
    name, given = RECOVERED[job["way"]]
    return lambda model: METHODS[name](model, job["pattern"], steps, **given)


def recovered(job, args, recipe, directory, deadline):
    torch.manual_seed(job["seed"])
    recipe.dataset = recipe.dataset[: 64 if args.tiny else None]
    steps = args.steps or (6 if args.tiny else 30 if args.thin else 600)
    model = recipe.load(recipe.model_dir)
    teacher = recipe.load(recipe.model_dir).to(args.device).eval().requires_grad_(False)
    options = dict(steps=steps, batch=args.batch or (8 if args.tiny else 8 if args.thin else 64), rate=RATES.get(job["way"], 2e-4), warmup=steps // 20,
                   schedule="linear", dtype=args.dtype, device=args.device, seed=job["seed"], log_every=max(1, min(50, steps // 10)))
    method = method_of(job, args, recipe, model, steps)
    return train(model, recipe, recipe.loss(teacher, 1.0, 1.0), method, options, directory, deadline)


def work(job, args, directory, deadline):
    recipe = Retrieval(args.data / "model", args.data)
    if args.tiny or args.thin:
        recipe.held_out = recipe.held_out[: 40 if args.tiny else 1000]
    directory.mkdir(parents=True, exist_ok=True)
    if job["stage"] == "once":
        model = recipe.load(recipe.model_dir)
        if job["pattern"] != "dense":
            prune_at_once(args, job, job["way"], recipe, model)
        model = model.to(args.device).eval()
    else:
        model = recovered(job, args, recipe, directory, deadline)
    if model is None:
        return None
    with torch.no_grad():
        return recipe.evaluate(model)


def jobs_of(args):
    """What matters most comes first; of that a seed after the other."""

    def rows(seed, stage, patterns, ways):
        return [{"stage": stage, "pattern": pattern, "way": way, "seed": seed} for way in ways for pattern in patterns]

    def every(stage, patterns, ways):
        return [job for seed in args.seeds for job in rows(seed, stage, patterns, ways)]

    jobs = rows(args.seeds[0], "once", ["dense"], ["dense"])
    if args.thin:
        return jobs + once(every("once", FIRST, ["magnitude", "obs+perm", "obs"]), args) + every("recovered", FIRST, ["fixed", "sr-ste"])
    more = [p for p in PATTERNS if p not in FIRST]
    grid = [p for p in GRID if p not in PATTERNS] if args.grid else []
    jobs += once(every("once", PATTERNS, ONCE) + every("once", VNM, [way for way in ON_GRID if way not in ONCE]) + every("once", grid, ON_GRID), args)
    jobs += every("recovered", FIRST, RECOVERED) + every("recovered", more, ["fixed"]) + every("recovered", more, ["sr-ste", "lora"])
    return jobs + every("recovered", ["dense"], ["dense"]) + every("recovered", more, ["decay"]) + every("recovered", grid, ["fixed"])


def once(jobs, args):
    """Without what does not depend on a calibration set and has been run."""
    return [job for job in jobs if not job["way"].startswith("magnitude") or job["seed"] == args.seeds[0]]


def main():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--grid", action="store_true", help="other (V, M), pruned at once and with a fixed mask after it")
    add("--thin", action="store_true", help="for a CPU: 2:4 and 64:2:8, fewer ways, 30 steps of 8 pairs, 1000 documents")
    add("--tiny", action="store_true", help="few steps, few documents, to see that it runs")
    args = parser.parse_args()
    if not (args.data / "model" / "config.json").is_file():
        parser.error(f"{args.data} has no model/config.json")
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "options.json").write_text(json.dumps(vars(args), default=str, indent=1))
    run_jobs(jobs_of(args), work, args)


if __name__ == "__main__":
    main()
