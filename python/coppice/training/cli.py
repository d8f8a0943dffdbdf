"""python -m coppice.train"""

import argparse
import inspect
import json
import sys
from pathlib import Path

import torch

from ..models.command import run_command
from .methods import METHODS, compress
from .recipes import RECIPES
from .schedules import SCHEDULES
from .speed import compare_steps
from .trainer import DTYPES, Trainer, TrainOptions

DESCRIPTION = """Trains a model of transformers sparse, on data of your own.

squad: question answering on train*.json and dev*.json in SQuAD's format. images: train/CLASS/ and val/CLASS/ of images. text: causal
language models on train*.txt and test*.txt. retrieval: sentence encoders on train*.jsonl and test*.jsonl with "query" and "document".

OUT_DIR gets log.csv, checkpoint.pt (run the command again to go on from it) and, at the end, model/: dense with zeros, which opens in
stock transformers and which `coppice pack` takes; with --compressed a packed checkpoint. Start it with torchrun for several GPUs."""


def parse_arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m coppice.train", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("recipe", choices=RECIPES)
    add("model", metavar="MODEL_DIR", help="checkpoint directory")
    add("data", metavar="DATA_DIR")
    add("-o", "--output", required=True, metavar="OUT_DIR")
    add("--method", choices=["dense", *METHODS], default="sr-ste", help="(default: %(default)s)")
    add("--pattern", default="2:4", help="(default: %(default)s)")
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="of the method; a wrong name lists them (may be repeated)")
    add("--compressed", action="store_true", help="with --method fixed: train the compressed weights, and say what that gains")
    add("--teacher", metavar="DIR", help="distil from this model")
    add("--hardness", type=float, default=1.0, help="share of the distillation in the loss (default: %(default)s)")
    add("--temperature", type=float, default=2.0, help="of logits that are compared (default: %(default)s)")
    add("--length", type=int, help="tokens of a sample (default: the recipe's)")
    defaults = {field: parameter.default for field, parameter in inspect.signature(TrainOptions).parameters.items()}
    add("--steps", type=int, required=True)
    for name, kind in (("batch", int), ("accumulate", int), ("rate", float), ("warmup", int), ("weight-decay", float), ("clip", float),
                       ("seed", int), ("log-every", int), ("save-every", int), ("evaluate-every", int), ("seconds", float)):
        add(f"--{name}", type=kind, default=defaults[name.replace("-", "_")], help="(default: %(default)s)")
    add("--schedule", choices=SCHEDULES, default=defaults["schedule"], help="(default: %(default)s)")
    add("--dtype", choices=DTYPES, default=defaults["dtype"], help="of autocast (default: %(default)s)")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    return parser.parse_args(argv)


def method_options(name, given):
    """NAME=VALUE of --option for a method: numbers, by its signature."""
    known = {n: p.default for n, p in inspect.signature(METHODS[name]).parameters.items() if p.kind is p.KEYWORD_ONLY}
    found = {}
    for entry in given:
        key, _, value = entry.partition("=")
        if key not in known:
            raise ValueError(f"--option {entry}: {name} has {', '.join(f'{n}={v}' for n, v in known.items()) or 'none'}")
        try:
            found[key] = type(known[key])(value)
        except ValueError:
            raise ValueError(f"--option {entry}: needs a number, such as {key}={known[key]}") from None
    return found


def method_of(args):
    """What the trainer is given, or None."""
    if args.compressed and args.method != "fixed":
        raise ValueError("--compressed trains with --method fixed")
    if args.method == "dense" or args.compressed:
        return None
    options = method_options(args.method, args.option)
    return lambda model: METHODS[args.method](model, args.pattern, args.steps, **options)


def train_options(args):
    fields = inspect.signature(TrainOptions).parameters
    return TrainOptions(**{name: value for name, value in vars(args).items() if name in fields})


def measure(recipe, model, args):
    """What a step on compressed weights gains over one on dense ones, on the device."""
    samples = [recipe.dataset[i] for i in range(min(args.batch // args.accumulate, len(recipe.dataset)))]
    device = torch.device(args.device)
    batch = {name: value.to(device) for name, value in recipe.collate(samples).items()}

    def loss(model, batch):
        with torch.autocast(device.type, DTYPES[args.dtype], enabled=args.dtype != "float32"):
            return recipe.outputs(model, batch).loss

    return compare_steps(model.to(device), args.pattern, loss, batch)


def run(args):
    method = method_of(args)
    given = {} if args.length is None else {"length": args.length}
    recipe = RECIPES[args.recipe](args.model, args.data, seed=args.seed, **given)
    torch.manual_seed(args.seed)
    model = recipe.load(args.model)
    if args.compressed:
        gain = measure(recipe, model, args)
        print(f"a step on compressed weights: {gain['sparse_ms']:.1f} ms, dense {gain['dense_ms']:.1f} ms: {gain['speedup']:.2f} x",
              file=sys.stderr)
        compress(model, args.pattern)
    teacher = None
    if args.teacher is not None:
        teacher = recipe.load(args.teacher).to(args.device).eval().requires_grad_(False)
    trainer = Trainer(model, recipe.dataset, recipe.loss(teacher, args.hardness, args.temperature), train_options(args), args.output,
                      collate=recipe.collate, method=method, evaluate=recipe.evaluate)
    if not trainer.run():
        print(f"{trainer.step} of {args.steps} steps are done; run the command again to go on")
        return
    first = trainer.processes.is_first
    finish(recipe, trainer, Path(args.output) / "model")
    if first:
        print(json.dumps({name: float(value) for name, value in trainer.log.rows[-1].items() if value != ""}))


def finish(recipe, trainer, out_dir):
    first = trainer.processes.is_first
    model = trainer.finish()
    if first:
        recipe.save(model.cpu(), out_dir)


def main(argv=None):
    run_command("coppice.train", run, parse_arguments(argv),
                interrupted="interrupted; run the command again to go on from the last checkpoint")
