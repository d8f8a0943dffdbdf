#!/usr/bin/env python3
"""Gathers statistics of the inputs of a model's linear layers, for `coppice prune --stats`.

    scripts/calibrate.py --model MODEL_DIR --text train.txt --samples 128 --length 2048 \\
        --held-out-every 8 --output stats.safetensors

Runs a Hugging Face model (torch, transformers and safetensors must be installed) over windows of a
text, and sums X^T X of every input X of its linear layers: products in fp32, sums in fp64. Layers
that are fed by the same tensor share one matrix. docs/statistics.md describes the file. Files of
several runs, over other texts or other layers (--only), add up: `coppice statistics merge`.
--fisher B adds sums of gradient products, g g^T for every B neighbouring weights of a row, one
gradient a window.
"""

import argparse
import collections
import fnmatch
import json
import os
import sys
import weakref
from pathlib import Path

import numpy as np

# Tokens whose products are summed in fp32.
BLOCK_TOKENS = 512


class Sums:
    """What is known about one input."""

    def __init__(self, cols, zeros, with_gram):
        self.samples = 0
        self.gram = zeros((cols, cols)) if with_gram else None
        self.square_sums = None if with_gram else zeros((cols,))

    def add(self, rows):
        """rows: [tokens, cols] in fp32, of NumPy or of torch on the device of the sums."""
        for begin in range(0, rows.shape[0], BLOCK_TOKENS):
            part = rows[begin : begin + BLOCK_TOKENS]
            if self.gram is None:
                self.square_sums += (part * part).sum(0)
            else:
                self.gram += part.T @ part
        self.samples += rows.shape[0]


class Gatherer:
    """Forward hooks on linear layers that sum up their inputs.

    modules: {weight name: (module, cols)}; rows(x, cols): any activation as fp32 [tokens, cols];
    zeros(shape): fp64 zeros.
    """

    def __init__(self, modules, rows, zeros, with_gram=True, sharing=True):
        self.rows, self.zeros, self.with_gram, self.sharing = rows, zeros, with_gram, sharing
        self.cols = {weight: cols for weight, (_, cols) in modules.items()}
        self.leader = {}  # weight -> the weight after which its input is called
        self.calls = collections.Counter()
        self.recent = []  # tensors of this forward pass that may come again: (ref, version, leader)
        self.sums = {}  # set -> {leader: Sums}
        self.current = {}
        self.handles = [
            module.register_forward_pre_hook(self._hook(weight), with_kwargs=True)
            for weight, (module, _) in modules.items()
        ]

    def begin(self, which):
        """Starts a forward pass whose samples belong to the set `which`."""
        self.current = self.sums.setdefault(which, {})
        self.recent = []

    def remove(self):
        for handle in self.handles:
            handle.remove()

    def _hook(self, weight):
        def hook(_module, args, kwargs):
            self._add(weight, args[0] if args else next(iter(kwargs.values())))

        return hook

    def _seen_as(self, x):
        """The leader that was given this very tensor, unchanged since, in this forward pass."""
        self.recent = [entry for entry in self.recent if entry[0]() is not None]
        version = getattr(x, "_version", 0)
        for ref, old_version, leader in self.recent:
            if ref() is x and old_version == version:
                return leader
        return None

    def _add(self, weight, x):
        self.calls[weight] += 1
        seen = self._seen_as(x) if self.sharing else None
        leader = self.leader.setdefault(weight, seen or weight)
        if leader != weight:
            if seen != leader:
                raise RuntimeError(
                    f"'{weight}' shared its input with '{leader}' before and does not now; "
                    "use --no-sharing"
                )
            return
        if weight not in self.current:
            self.current[weight] = Sums(self.cols[weight], self.zeros, self.with_gram)
        self.current[weight].add(self.rows(x, self.cols[weight]))
        if self.sharing:
            self.recent.append((weakref.ref(x), getattr(x, "_version", 0), weight))

    def check(self):
        for weight, leader in self.leader.items():
            if self.calls[weight] != self.calls[leader]:
                raise RuntimeError(
                    f"'{weight}' was called {self.calls[weight]} times and '{leader}', whose input "
                    f"it shares, {self.calls[leader]} times; use --no-sharing"
                )

    def weights(self):
        """{weight: input name}: an input is called after the first weight that it is fed to."""
        return {weight: leader + ".input" for weight, leader in self.leader.items()}


class GradientSums:
    """Sums of g g^T over gradients g, for blocks of B neighbouring weights of a row.

    modules: as for Gatherer; grad(module): the fp64 gradient [rows, cols] of its weight.
    """

    def __init__(self, modules, block, grad, zeros):
        self.modules = {weight: module for weight, (module, _) in modules.items()}
        self.block, self.grad, self.zeros = block, grad, zeros
        self.samples = 0
        self.sums = {}  # weight -> [rows * ceil(cols / B), B, B]

    def add(self):
        """Adds the gradients of this moment as one sample."""
        for weight, module in self.modules.items():
            blocks = self._blocks(self.grad(module))
            if weight not in self.sums:
                self.sums[weight] = self.zeros((blocks.shape[0], self.block, self.block))
            self.sums[weight] += blocks[:, :, None] * blocks[:, None, :]
        self.samples += 1

    def _blocks(self, grad):
        rows, cols = grad.shape
        padded = self.zeros((rows, -(-cols // self.block) * self.block))
        padded[:, :cols] = grad
        return padded.reshape(-1, self.block)

    def tensors(self):
        """What a statistics file holds of them."""
        found = {}
        for weight, sums in self.sums.items():
            sums = to_numpy(sums)
            if not np.isfinite(sums).all():
                raise RuntimeError(f"a gradient of '{weight}' is not a number")
            found[weight + ".fisher"] = sums
            found[weight + ".fisher_samples"] = np.array([self.samples], dtype=np.int64)
        return found


def to_numpy(array):
    return array.cpu().numpy() if hasattr(array, "cpu") else array


def write(path, which, gatherer, gradients=None):
    """Writes the sums of one set; the file appears complete or not at all."""
    from safetensors.numpy import save_file

    tensors = gradients.tensors() if gradients else {}
    sums = gatherer.sums.get(which, {})
    for leader in sorted(sums):
        name, entry = leader + ".input", sums[leader]
        if entry.samples == 0:
            continue
        if entry.gram is not None:
            gram = to_numpy(entry.gram)
            gram = (gram + gram.T) / 2
            tensors[name + ".gram"] = gram
            square_sums = np.ascontiguousarray(np.diagonal(gram))
        else:
            square_sums = to_numpy(entry.square_sums)
        if not np.isfinite(square_sums).all():
            raise RuntimeError(
                f"an input of '{leader}' is not a number, or too large for fp32 products"
            )
        tensors[name + ".square_sums"] = square_sums
        tensors[name + ".samples"] = np.array([entry.samples], dtype=np.int64)
    weights = {w: i for w, i in gatherer.weights().items() if i + ".samples" in tensors}
    metadata = {
        "coppice.statistics": "1",
        "set": which,
        "weights": json.dumps(weights, sort_keys=True),
    }
    unfinished = f"{path}.tmp-{os.getpid()}"
    try:
        save_file(tensors, unfinished, metadata)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(unfinished, 0o666 & ~umask)  # safetensors makes files for their owner alone
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
    return len(weights)


def windows(tokens, samples, length):
    """Starts of `samples` windows that do not overlap, spread evenly over the tokens."""
    if tokens < samples * length:
        raise ValueError(
            f"the text has {tokens} tokens, enough for {tokens // length} samples of {length}; "
            "lower --samples or --length, or give more text"
        )
    return [i * tokens // samples for i in range(samples)]


def set_of(sample, held_out_every):
    last = held_out_every > 0 and sample % held_out_every == held_out_every - 1
    return "held_out" if last else "calibration"


def stored_name(parameter, prefix, stored):
    """What the checkpoint calls a parameter: with or without the base model's prefix."""
    names = [parameter, f"{prefix}.{parameter}", parameter.removeprefix(prefix + ".")]
    return next((name for name in names if name in stored), None)


def held_out_path(output):
    return str(Path(output).with_suffix("")) + ".held_out.safetensors"


def stored_tensors(model_dir):
    from safetensors import safe_open

    names = set()
    for path in sorted(Path(model_dir).glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            names.update(file.keys())
    if not names:
        raise ValueError(f"'{model_dir}' holds no .safetensors file")
    return names


def linear_modules(model, stored, only):
    """{stored weight name: (module, cols)} of nn.Linear and GPT-2's Conv1D."""
    import torch
    from transformers.pytorch_utils import Conv1D

    found = {}
    prefix = getattr(model, "base_model_prefix", "") or ""
    for name, module in model.named_modules():
        if not isinstance(module, (torch.nn.Linear, Conv1D)):
            continue
        weight = stored_name(name + ".weight", prefix, stored)
        if weight is None:
            print(f"note: '{name}.weight' is not in the checkpoint", file=sys.stderr)
            continue
        cols = module.weight.shape[0 if isinstance(module, Conv1D) else 1]
        if fnmatch.fnmatchcase(weight, only):
            found[weight] = (module, int(cols))
    if not found:
        raise ValueError(f"no linear layer matches '{only}'")
    return found


def load_model(args):
    import torch
    import transformers

    torch.backends.cuda.matmul.allow_tf32 = False  # products in fp32, not in 10 bits
    torch.set_float32_matmul_precision("highest")
    config = transformers.AutoConfig.from_pretrained(args.model)
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and args.length > most:
        raise ValueError(f"--length {args.length}: the model takes {most} tokens at most")
    name = (getattr(config, "architectures", None) or [""])[0]
    loader = getattr(transformers, name, transformers.AutoModel)
    model = loader.from_pretrained(args.model)
    model.config.use_cache = False
    if args.dtype:
        model = model.to(getattr(torch, args.dtype))
    return model.to(args.device).eval()


def special_tokens(tokenizer):
    """What the tokenizer puts before and behind a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for begin in range(len(whole) - len(plain) + 1):
        if whole[begin : begin + len(plain)] == plain:
            return whole[:begin], whole[begin + len(plain) :]
    raise ValueError("--special-tokens: the tokenizer changes a text when it adds its own tokens")


def sequences(args):
    """[samples, length]: windows of the text, as the model is given them."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    text = Path(args.text).read_text(encoding="utf-8")
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    before, behind = special_tokens(tokenizer) if args.special_tokens else ([], [])
    length = args.length - len(before) - len(behind)
    if length < 1:
        raise ValueError(f"--length {args.length}: special tokens leave no room for the text")
    starts = windows(len(tokens), args.samples, length)
    return torch.tensor([before + tokens[start : start + length] + behind for start in starts])


def pick_loss(model, name):
    """`auto`: what the model was made for, as far as its class says so."""
    kind = type(model).__name__
    if name in ("lm", "masked-lm") and model.get_output_embeddings() is None:
        raise ValueError(f"--loss {name}: a {kind} has no head for words; use --loss embedding")
    if name != "auto":
        return name
    if kind.endswith(("ForCausalLM", "LMHeadModel")):
        return "lm"
    return "masked-lm" if kind.endswith("ForMaskedLM") else "embedding"


def mask_token(args):
    import transformers

    mask = transformers.AutoTokenizer.from_pretrained(args.model).mask_token_id
    if mask is None:
        raise ValueError("--loss masked-lm: the tokenizer has no mask token")
    return mask


def loss_of(model, ids, loss, generator, mask=None):
    """A loss of one window [1, length] whose gradients go into the Fisher blocks."""
    import torch

    if loss == "lm":
        return model(input_ids=ids, labels=ids).loss
    if loss == "masked-lm":
        hidden = torch.rand(ids.shape, generator=generator) < 0.15
        hidden[0, int(torch.randint(ids.shape[1], (1,), generator=generator))] = True
        hidden = hidden.to(ids.device)
        labels = torch.where(hidden, ids, -100)
        return model(input_ids=torch.where(hidden, mask, ids), labels=labels).loss
    # The embedding is taken for the mean of a normal distribution of unit variance: with z drawn
    # from it, the mean of g g^T is J^T J, what a change of weights does to the squared distance.
    states = model(input_ids=ids, output_hidden_states=True).hidden_states[-1].float()
    embedding = torch.nn.functional.normalize(states.mean(1), dim=-1)
    z = torch.randn(embedding.shape, generator=generator).to(embedding.device)
    return (embedding * z).sum()


def run(model, ids, args, gatherer, gradients):
    """Every window through the model; gradients of the calibration set's are added up."""
    import torch

    generator = torch.Generator().manual_seed(args.seed)
    loss = pick_loss(model, args.loss) if gradients else None
    mask = mask_token(args) if loss == "masked-lm" else None
    if gradients:
        print(f"gradients of the loss '{loss}'", file=sys.stderr)
    model.requires_grad_(False)
    for module in gradients.modules.values() if gradients else ():
        module.weight.requires_grad_(True)
    for i, window in enumerate(ids.unsqueeze(1).to(args.device)):
        which = set_of(i, args.held_out_every)
        gatherer.begin(which)
        if gradients and which == "calibration":
            model.zero_grad(set_to_none=True)
            loss_of(model, window, loss, generator, mask).backward()
            gradients.add()
        else:
            with torch.no_grad():
                model(input_ids=window)
        print(f"\rsample {i + 1} of {len(ids)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def weight_gradient(module):
    """fp64 [rows, cols]; zeros if the loss does not depend on the weight."""
    import torch
    from transformers.pytorch_utils import Conv1D

    weight = module.weight
    grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    return (grad.T if isinstance(module, Conv1D) else grad).double()


def calibrate(args):
    import torch

    stored = stored_tensors(args.model)
    model = load_model(args)
    ids = sequences(args)
    modules = linear_modules(model, stored, args.only)
    zeros = lambda shape: torch.zeros(shape, dtype=torch.float64, device=args.device)
    gatherer = Gatherer(
        modules,
        rows=lambda x, cols: x.detach().reshape(-1, cols).float(),
        zeros=zeros,
        with_gram=not args.norms_only,
        sharing=not args.no_sharing,
    )
    gradients = GradientSums(modules, args.fisher, weight_gradient, zeros) if args.fisher else None
    run(model, ids, args, gatherer, gradients)
    gatherer.check()
    for which, path in (
        ("calibration", args.output),
        ("held_out", held_out_path(args.output)),
    ):
        if which in gatherer.sums:
            count = write(path, which, gatherer, gradients if which == "calibration" else None)
            print(f"wrote '{path}': inputs of {count} weights")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="checkpoint directory (safetensors)")
    add("--text", required=True, help="text file, UTF-8")
    add("--output", default="stats.safetensors", help="file to write (default: %(default)s)")
    add("--samples", type=int, default=128, help="windows of text (default: %(default)s)")
    add("--length", type=int, default=512, help="tokens in a window (default: %(default)s)")
    add("--held-out-every", type=int, default=0, metavar="K",
        help="put every K-th window into OUTPUT.held_out.safetensors instead")
    add("--only", default="*", metavar="GLOB",
        help="layers whose weight's name matches: a part of a model that is too large")
    add("--norms-only", action="store_true", help="no Gram matrices: enough for Wanda and RIA")
    add("--no-sharing", action="store_true", help="a matrix for every layer")
    add("--special-tokens", action="store_true",
        help="begin and end windows as the tokenizer does a text: what encoders were trained on")
    add("--fisher", type=int, default=0, metavar="B",
        help="add sums of gradient products for blocks of B weights (8 B^2 bytes a block)")
    add("--loss", choices=["auto", "lm", "masked-lm", "embedding"], default="auto",
        help="whose gradients: next token, hidden tokens, or the mean embedding's distance "
             "(default: by the model's class)")
    add("--seed", type=int, default=0, help="of what a loss draws (default: %(default)s)")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add("--dtype", choices=["float32", "bfloat16", "float16"],
        help="of the model (default: as transformers loads it)")
    args = parser.parse_args(argv)
    if args.samples < 1 or args.length < 1:
        parser.error("--samples and --length need to be 1 or more")
    if not 0 <= args.fisher <= 256:
        parser.error("--fisher needs to be 1 to 256")
    if args.held_out_every < 0 or args.held_out_every == 1:
        parser.error("--held-out-every needs to be 2 or more")
    return args


def main(argv):
    try:
        calibrate(parse_arguments(argv))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"calibrate.py: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
