"""python -m coppice.prune"""

import argparse
import dataclasses
import json
import sys

from ..calibration.cli import add_input_options, batches_for
from ..calibration.gradients import LOSSES
from ..models.command import run_command
from ..models.report import table
from .methods import METHODS, TARGETS
from .run import prune

DESCRIPTION = """Prunes a Hugging Face model in the order in which its layers run, each calibrated on what the pruned ones before it give.

Runs the model over windows of a text, or images, and writes a checkpoint directory, dense with zeros, that opens in stock transformers, or
(--pack) packed. The command `coppice prune` prunes layers from a statistics file, each as if the others stayed dense."""

# In a batch: larger products, for memory of their activations.
WINDOWS = 8


def parse_arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m coppice.prune", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", metavar="MODEL_DIR", help="checkpoint directory (safetensors)")
    add("-o", "--output", required=True, metavar="OUT", help="directory to write; must not exist")
    add("--pattern", required=True, metavar="P", help="such as 2:4, vw32/8:32 or 64:2:8")
    add("--pattern-for", action="append", default=[], metavar="GLOB=P",
        help="another pattern for the weights whose name matches (may be repeated)")
    add("--method", choices=METHODS, default="obs", help="(default: %(default)s)")
    add("--independent", action="store_true", help="calibrate every block on the dense model's outputs")
    add("--target", choices=TARGETS, default="own",
        help="obs, admm aim at what the dense layer makes of its changed inputs, or at the dense model's outputs (default: %(default)s)")
    add("--include", action="append", default=[], metavar="GLOB", help="only these weights")
    add("--exclude", action="append", default=[], metavar="GLOB", help="not these weights")
    add("--missing-stats", choices=["error", "magnitude"], default="error",
        help="weights for which nothing can be gathered (default: %(default)s)")
    add("--permute", action="store_true",
        help="columns in the order under which the pattern keeps more, where that helps: stored (with --pack), or folded into the layer before")
    add("--permute-time", type=float, default=60.0, metavar="SECONDS", help="that the search for one order may take (default: %(default)s)")
    add("--pack", action="store_true", help="write a packed checkpoint, which needs coppice to be opened")
    add("--damping", type=float, default=0.01, help="obs, admm, fisher (default: %(default)s)")
    add("--fisher-block", type=int, default=16, metavar="B", help="fisher: weights of a block (default: %(default)s)")
    add("--loss", choices=LOSSES, default="auto", help="fisher: whose gradients (default: by the model's class)")
    add("--seed", type=int, default=0, help="fisher: of what a loss draws (default: %(default)s)")
    add("--iterations", type=int, default=300, help="admm: at most (default: %(default)s)")
    add("--threads", type=int, default=0, help="0: all processors (default)")
    add("--json", action="store_true", help="the report as JSON")
    add_input_options(parser, required=False)
    args = parser.parse_args(argv)
    if any("=" not in entry for entry in args.pattern_for):
        parser.error("--pattern-for needs GLOB=P, such as '*fc2*=2:4'")
    if args.method != "magnitude" and not (args.text or args.images):
        parser.error(f"--method {args.method} needs --text or --images")
    return args


def run(args):
    size = 1 if args.method == "fisher" else WINDOWS  # a gradient a window
    batches = (lambda model: batches_for(args, model, size)[0]) if args.text or args.images else None
    report = prune(
        args.model, args.output, args.pattern, args.method, batches,
        pattern_for=dict(entry.rsplit("=", 1) for entry in args.pattern_for), include=args.include, exclude=args.exclude,
        sequential=not args.independent, target=args.target, missing=args.missing_stats, permute=args.permute,
        permute_seconds=args.permute_time, pack=args.pack, fisher=args.fisher_block, loss=args.loss, seed=args.seed,
        damping=args.damping, iterations=args.iterations, device=args.device, dtype=args.dtype, threads=args.threads,
        progress=lambda stage: print(stage.name, file=sys.stderr))
    if args.json:
        print(json.dumps({"output": args.output, "method": args.method, "sequential": report.sequential,
                          "weights": [dataclasses.asdict(weight) for weight in report.weights]}, indent=2))
        return
    rows = [[w.name, "x".join(map(str, w.shape)), w.pattern, w.method, "" if w.error is None else f"{w.error:.4f}", w.order, w.note]
            for w in report.weights]
    print(table(["weight", "shape", "pattern", "method", "error", "order", "note"], rows))
    if batches is None:
        print(f"{args.output}: {len(rows)} weights pruned")
        return
    print(f"{args.output}: {len(rows)} weights pruned, each block calibrated on "
          f"{'the pruned' if report.sequential else 'the dense'} model's outputs; errors are of a layer's output on the samples")


def main(argv=None):
    run_command("coppice.prune", run, parse_arguments(argv))
