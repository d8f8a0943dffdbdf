"""python -m coppice.evaluate"""

import argparse
import json
import platform
import sys

import torch
import transformers

from ..models.command import run_command
from ..models.report import table
from .run import evaluate

DESCRIPTION = """What did pruning do to this model? Quality on a text or a task of your own, latency and memory, of one model or of several side by side.

Perplexity of causal models, pseudo-perplexity of masked ones (every token hidden alone). A task has lines with
  text, label (and text_pair)     classifiers of texts: accuracy
  tokens, labels                  classifiers of words: accuracy, F1
  image, label                    classifiers of images: accuracy; or a folder with a folder of images for each label
  text, choices, answer           causal models: is the answer (its number) the likeliest choice?
  text, text_pair, score          encoders, and models of one output: Spearman's correlation
  query, document                 encoders: recall of a query's own document among all of the file"""


# What a task may count and measure.
COUNTS = ("samples", "words", "pairs", "queries", "documents")
MEASURES = ("accuracy", "accuracy_per_character", "top5_accuracy", "f1", "spearman", "recall@1", "recall@10", "mrr")


def numbers(text):
    """N,..."""
    return [int(n) for n in text.split(",")]


def parse_arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m coppice.evaluate", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", metavar="MODEL_DIR", help="checkpoint directory: dense, pruned or packed")
    add("--against", action="append", default=[], metavar="OTHER_DIR", help="compare with this model (may be repeated)")
    add("--text", nargs="+", default=[], metavar="FILE", help="text files, UTF-8")
    add("--task", metavar="FILE", help="JSON lines, or a folder with a folder of images for each label")
    add("--samples", type=int, help="windows of text (default: all, 16 of masked models)")
    add("--length", type=int, help="tokens in a window or a text (default: 512, or what the model takes)")
    add("--tokens", type=numbers, metavar="N,...",
        help="lengths at which one sequence is timed (default: 1,256); of models of images, how many at once (default: 1)")
    add("--no-time", action="store_true", help="do not time")
    add("--pooling", choices=["mean", "cls", "last"], help="of retrieval and similarity (default: what the model's directory says)")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--dtype", choices=["float32", "bfloat16", "float16"], help="(default: as transformers loads it)")
    add("--json", metavar="FILE", help="write the report as JSON, too; - for JSON instead of the table")
    args = parser.parse_args(argv)
    if any(value is not None and value < 1 for value in (args.samples, args.length, *(args.tokens or ()))):
        parser.error("--samples, --length and --tokens need to be 1 or more")
    return args


def rows_of(found):
    """[(measure, value, how to print it)] of one model."""
    rows = []
    if "words" in found:
        words = found["words"]
        rows.append((f"{words['measure']} (length {words['length']}, {words['windows']} windows)", words["value"], "{:.3f}"))
    task = found.get("task", {})
    of = ", ".join(f"{task[name]} {name}" for name in COUNTS if name in task)
    rows += [(f"{name} ({of})", task[name], "{:.4f}") for name in MEASURES if name in task]
    for count, timed in found.get("latency", {}).items():
        rows.append((f"ms for {count} {found['latency_of']}", timed["ms"], "{:.2f}"))
        if "processor_ms" in timed:
            rows.append((f"ms of processors for {count} {found['latency_of']}", timed["processor_ms"], "{:.2f}"))
    rows.append(("MB of linear weights", found["linear_weight_bytes"] / 1e6, "{:.2f}"))
    rows.append(("MB of all weights", found["model_bytes"] / 1e6, "{:.2f}"))
    if "peak_device_bytes" in found:
        rows.append(("MB of the GPU's memory at most", found["peak_device_bytes"] / 1e6, "{:.2f}"))
    return rows


def text_of(models):
    """One column a model; of two models their ratio, too."""
    columns = [rows_of(found) for found in models]
    rows = []
    for entries in zip(*columns):
        values = [entry[1] for entry in entries]
        row = [entries[0][0], *(entry[2].format(entry[1]) for entry in entries)]
        rows.append(row + ([f"{values[1] / values[0]:.3f}" if values[0] else "-"] if len(models) == 2 else []))
    head = ["", *(found["directory"] for found in models)] + (["ratio"] if len(models) == 2 else [])
    return table(head, rows)


def run(args):
    if not args.text and args.task is None and args.no_time:
        raise ValueError("nothing to measure; pass --text or --task, or leave --no-time out")
    models = []
    for directory in (args.model, *args.against):
        print(f"evaluating {directory}", file=sys.stderr)
        models.append(evaluate(directory, text=args.text, task=args.task, samples=args.samples, length=args.length,
                               tokens=[] if args.no_time else args.tokens, device=args.device, dtype=args.dtype,
                               pooling=args.pooling))
    machine = torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else platform.machine()
    document = {"models": models, "machine": machine, "torch": torch.__version__, "transformers": transformers.__version__}
    if args.json and args.json != "-":
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
    print(json.dumps(document, indent=2) if args.json == "-" else text_of(models))


def main(argv=None):
    run_command("coppice.evaluate", run, parse_arguments(argv), interrupted="interrupted")
