"""python -m coppice.calibrate"""

import argparse
import sys

from ..models.command import run_command
from ..models.images import image_files, pixels_of, processor_of
from ..models.loading import load_model, longest, takes_images
from ..models.text import tokenizer_of, windows
from .gradients import LOSSES
from .run import calibrate, check

DESCRIPTION = """Gathers statistics of the inputs of a model's linear layers, for `coppice prune --stats`.

Runs a Hugging Face model over windows of a text, or images, block by block, and sums X^T X of every input X of its linear layers:
products in fp32, sums in fp64. docs/statistics.md describes the file. Files of several runs, over other texts or other
layers (--only), add up: `coppice statistics merge`."""


def add_input_options(parser, samples=128, length=512, required=True):
    """The options that say what the model runs on."""
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=required)
    what.add_argument("--text", nargs="+", metavar="FILE", help="text files, UTF-8")
    what.add_argument("--images", metavar="DIR", help="a folder of images, with folders in it; for models of images")
    add("--samples", type=int, default=samples, help="windows of text, or images (default: %(default)s)")
    add("--length", type=int, default=length, help="tokens in a window (default: %(default)s)")
    add("--special-tokens", action="store_true",
        help="begin and end windows as the tokenizer does a text: what encoders were trained on")
    add("--device", default="cpu", help="cpu or cuda: holds one block at a time (default: %(default)s)")
    add("--dtype", choices=["float32", "bfloat16", "float16"], help="of the model (default: as transformers loads it)")


def batches_for(args, model, size=1):
    """(batches of `size` windows of the text, or images; the token that hides words, or None)"""
    if args.samples < 1 or args.length < 1:
        raise ValueError("--samples and --length need to be 1 or more")
    if takes_images(model) != bool(args.images):
        raise ValueError(f"a {type(model).__name__} takes {'images: pass --images' if takes_images(model) else 'text: pass --text'}")
    if args.images:
        return image_batches(args.model, args.images, args.samples, size), None
    most = longest(model)
    if most is not None and args.length > most:
        raise ValueError(f"--length {args.length}: the model takes {most} tokens at most")
    tokenizer = tokenizer_of(args.model)
    ids = windows(tokenizer, args.text, args.samples, args.length, args.special_tokens)
    return [{"input_ids": batch} for batch in ids.split(size)], tokenizer.mask_token_id


def image_batches(model_dir, folder, samples, size):
    """Images spread evenly over the folder's, in the order of their names."""
    files = image_files(folder)
    if len(files) < samples:
        raise ValueError(f"'{folder}' has {len(files)} images, enough for {len(files)} samples; lower --samples, or give more images")
    files, processor = [files[i * len(files) // samples] for i in range(samples)], processor_of(model_dir)
    return [{"pixel_values": pixels_of(processor, files[i : i + size])} for i in range(0, samples, size)]


def parse_arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m coppice.calibrate", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", metavar="MODEL_DIR", help="checkpoint directory (safetensors)")
    add_input_options(parser)
    add("-o", "--output", default="stats.safetensors", help="file to write; one that is there is replaced (default: %(default)s)")
    add("--held-out-every", type=int, default=0, metavar="K",
        help="put every K-th window into OUTPUT.held_out.safetensors instead")
    add("--only", default="*", metavar="GLOB", help="layers whose weight's name matches")
    add("--norms-only", action="store_true", help="no Gram matrices: enough for Wanda and RIA")
    add("--no-sharing", action="store_true", help="a matrix for every layer")
    add("--fisher", type=int, default=0, metavar="B",
        help="add sums of gradient products for blocks of B weights (8 B^2 bytes a block); the whole model runs at once")
    add("--loss", choices=LOSSES, default="auto",
        help="whose gradients: next token, hidden tokens, or the mean embedding's distance (default: by the model's class)")
    add("--seed", type=int, default=0, help="of what a loss draws (default: %(default)s)")
    return parser.parse_args(argv)


def run(args):
    check(args.held_out_every, args.fisher)
    model = load_model(args.model, args.dtype)
    batches, mask_token = batches_for(args, model)
    report = calibrate(
        model, batches, args.output, held_out_every=args.held_out_every, only=args.only, gram=not args.norms_only,
        sharing=not args.no_sharing, fisher=args.fisher, loss=args.loss, seed=args.seed, mask_token=mask_token,
        device=args.device, checkpoint=args.model, progress=lambda stage: print(stage.name, file=sys.stderr))
    for path in report.files.values():
        print(f"{path}: statistics of {len(report.weights)} weights")


def main(argv=None):
    run_command("coppice.calibrate", run, parse_arguments(argv))
