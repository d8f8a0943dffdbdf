"""Whole transformers, dense against sparse: prefill, a block of it, generation, memory. Random weights of real shapes, fp16.

    python bench/python/end_to_end.py [--model bert-large,deit-base,gpt2,llama-3-8b] [--pattern P,...] [--layers N] [--csv FILE]
    python bench/python/end_to_end.py --tiny             # two small blocks of each on the CPU: does it run?

Dense runs eager and compiled (torch.compile of every block, inductor), sparse compiled (coppice.torch.backend) with replace_blocks_. All runs are CUDA graphs but
the eager one. The variants of a model take turns, --rounds times; of each the median round counts, a round being the mean of as many replays as
fill --window seconds. Times are of the GPU (events). Patterns whose GPU kernels are for few tokens only run in generation alone.
"""

import argparse
import contextlib
import copy
import csv
import datetime
import gc
import os
import statistics
import subprocess
import sys
import time
import traceback

import torch
import transformers

import coppice
import coppice.torch as ct
from coppice.models.blocks import blocks_of
from end_to_end_models import STUDIES, Generation, forward, inputs, make, one_block

FIELDS = ["commit", "date", "gpu", "driver", "torch", "transformers", "model", "blocks", "measure", "batch", "tokens", "pattern", "way", "graph",
          "ms", "least_ms", "tokens_per_s", "speedup", "own_bytes", "linear_bytes", "bytes"]
FEW_TOKENS_ONLY = ("element", "vector", "block")


def say(text):
    print(f"[{time.perf_counter() - START:6.1f} s] {text}", file=sys.stderr, flush=True)


START = time.perf_counter()


def block_linears(model):
    return [module for block in blocks_of(model) for module in block.modules() if isinstance(module, (torch.nn.Linear, ct.SparseLinear))
            or type(module).__name__ == "Conv1D"]


class Variant:
    """A model in one pattern and one way of running it."""

    def __init__(self, dense, pattern, way, options):
        self.pattern, self.way, self.options = pattern, way, options
        shared = {id(t): t for t in [*dense.parameters(), *dense.buffers()]}
        self.own_bytes = self.linear_bytes = 0
        before, total = allocated(), sum(t.nbytes for t in shared.values())
        dense_bytes = sum(m.weight.nbytes for m in block_linears(dense))
        self.model = copy.deepcopy(dense, shared)
        self.own_bytes = self.linear_bytes = dense_bytes
        if pattern != "dense":
            self._sparsify(before)
        self.model_bytes = total - dense_bytes + self.linear_bytes
        self.graph = None
        if way != "eager":
            for block in blocks_of(self.model):
                block.compile(fullgraph=True, dynamic=False, backend=options.dense_backend if pattern == "dense" else options.backend)

    def _sparsify(self, before):
        inside = {id(module) for module in block_linears(self.model)}
        sparsify = ct.magnitude_sparsify_
        if self.options.device == "cpu":
            def sparsify(model, pattern, filter):
                ct.prune_(model, pattern, filter=filter)
                return ct.sparsify_(model, filter=filter)
        report = sparsify(self.model, self.pattern, filter=lambda _, module: id(module) in inside)
        self.own_bytes = sum(layer.nbytes for layer in report.sparse)
        if self.way != "unfused":
            ct.replace_blocks_(self.model)
        if self.options.device == "cuda":
            ct.freeze_(self.model)
        gc.collect()
        self.linear_bytes = allocated() - before

    def capture(self, function):
        """function: no arguments, fixed memory. bytes: of the model, and the most that lay beside it."""
        self.function = function
        self.graph = None
        with torch.no_grad():
            for _ in range(3):
                before = allocated(reset=True)
                result = function()
                self.bytes = self.model_bytes + allocated(most=True) - before
            if self.options.device == "cuda" and self.way != "eager":
                torch.cuda.synchronize()
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph):
                    result = function()
        return result

    def replay(self, count):
        with torch.no_grad():
            for _ in range(count):
                self.graph.replay() if self.graph is not None else self.function()

    def seconds(self, window):
        """The mean time of a replay, of as many as fill the window."""
        timed = device_time if self.options.device == "cuda" else host_time
        once = timed(lambda: self.replay(1))
        count = max(1, min(200, int(window / max(once, 1e-5))))
        return timed(lambda: self.replay(count)) / count


def device_time(work):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def host_time(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def allocated(reset=False, most=False):
    """Bytes of tensors on the device."""
    if not torch.cuda.is_available():
        return 0
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated() if most else torch.cuda.memory_allocated()


class Rows:
    """The CSV, and what all of its lines have in common."""

    def __init__(self, options):
        git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=os.path.dirname(__file__) or ".")
        on_gpu = options.device == "cuda"
        smi = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True) \
            if on_gpu else None
        self.common = dict(
            commit=options.commit or git.stdout.strip(), date=datetime.date.today().isoformat(),
            gpu=torch.cuda.get_device_name() if on_gpu else "none", driver=smi.stdout.strip().split("\n")[0] if on_gpu else "",
            torch=torch.__version__, transformers=transformers.__version__)
        self.file = open(options.csv, "w", newline="") if options.csv else sys.stdout
        self.writer = csv.DictWriter(self.file, FIELDS, lineterminator="\n")
        self.writer.writeheader()

    def add(self, **values):
        self.writer.writerow({**self.common, **values})
        self.file.flush()


def measure(variants, rounds, window):
    """{variant: seconds of every round}, taking turns."""
    times = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            times[variant].append(variant.seconds(window))
    return times


def report(rows, name, model, what, batch, tokens, made, times, per_step=None):
    compiled = next((v for v in times if v.pattern == "dense" and v.way == "compiled"), None)
    base = statistics.median(times[compiled]) if compiled else None
    for variant, seconds in times.items():
        median = statistics.median(seconds)
        speedup = base / median if base else 0
        rows.add(model=name, blocks=len(blocks_of(model)), measure=what, batch=batch, tokens=tokens, pattern=variant.pattern, way=variant.way,
                 graph=int(variant.graph is not None), ms=f"{1e3 * median:.4f}", least_ms=f"{1e3 * min(seconds):.4f}",
                 tokens_per_s=f"{made / median:.1f}", speedup=f"{speedup:.3f}", own_bytes=variant.own_bytes, linear_bytes=variant.linear_bytes,
                 bytes=variant.bytes)
        say(f"{name} {what}: {variant.pattern} {variant.way}: {1e3 * median:.3f} ms, {speedup:.2f}x, linear weights "
            f"{variant.linear_bytes / 2**20:.0f} MiB (own {variant.own_bytes / 2**20:.0f})")


@contextlib.contextmanager
def attempt(what):
    """A variant that fails does not take the others with it."""
    try:
        yield
    except Exception:
        say(f"FAILED: {what}\n{traceback.format_exc(limit=-6)}")


def few_tokens_only(pattern):
    pattern = coppice.Pattern(pattern)
    return pattern.kind in FEW_TOKENS_ONLY and not pattern.fits_sparse_tensor_cores


def study(name, options, rows):
    study = STUDIES[name]
    dtype = torch.float16 if options.device == "cuda" else torch.float32
    dense = make(study, options.layers, options.device, dtype, options.tiny)
    given = inputs(study, dense, options.device, dtype, options.tiny)
    batch, tokens = given.shape[0], study.tokens if given.dim() == 4 else given.shape[1]
    patterns = [p for p in study.patterns if not options.pattern or p in options.pattern.split(",")]
    ways = [("dense", "eager"), ("dense", "compiled"), *((p, "compiled") for p in patterns), *((p, "unfused") for p in patterns if options.unfused)]
    variants = []
    for pattern, way in ways:
        with attempt(f"{name} {pattern} {way}"):
            variants.append(Variant(dense, pattern, way, options))
    say(f"{name}: {len(variants)} variants made")
    whole, layer, step = [], [], []
    for variant in variants:
        if few_tokens_only(variant.pattern) if variant.pattern != "dense" else False:
            continue
        with attempt(f"{name} prefill, {variant.pattern} {variant.way}"):
            variant.capture(lambda model=variant.model: forward(model, given))
            whole.append(variant)
            say(f"{name} {variant.pattern} {variant.way}: prefill ready")
    report(rows, name, dense, "prefill", batch, tokens, batch * tokens, measure(whole, options.rounds, options.window))
    for variant in whole:
        with attempt(f"{name} block, {variant.pattern} {variant.way}"):
            with torch.no_grad():
                block, hidden, more = one_block(variant.model, given)
            variant.capture(lambda block=block, hidden=hidden, more=more: block(hidden, **more))
            layer.append(variant)
    report(rows, name, dense, "block", batch, tokens, batch * tokens, measure(layer, options.rounds, options.window / 2))
    if study.generates:
        length = 24 if options.tiny else study.generates
        for variant in variants:
            if variant.way == "eager":
                continue
            with attempt(f"{name} generation, {variant.pattern} {variant.way}"):
                before = allocated()
                generation = Generation(variant.model, length, options.device, dtype, options.backend)
                caches = allocated() - before
                variant.capture(generation.step)
                variant.bytes += caches
                step.append(variant)
                generation.start()
                say(f"{name} {variant.pattern} {variant.way}: generation ready")
        report(rows, name, dense, "generation", 1, length, 1, measure(step, options.rounds, options.window))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=",".join(STUDIES))
    parser.add_argument("--pattern", default="", help="only these of a model's patterns")
    parser.add_argument("--layers", type=int, default=0, help="only so many blocks of each model")
    parser.add_argument("--unfused", action="store_true", help="sparse models without replace_blocks_, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=float, default=0.15)
    parser.add_argument("--csv", default="")
    parser.add_argument("--commit", default="", help="instead of that of the working tree")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.device = "cpu" if options.tiny else "cuda"
    options.dense_backend, options.backend = ("aot_eager", "aot_eager") if options.tiny else ("inductor", ct.backend)
    if options.tiny:
        options.rounds, options.window = 1, 0.01
    for limit in ("recompile_limit", "accumulated_recompile_limit"):  # one code object serves all variants
        setattr(torch._dynamo.config, limit, 512)
    rows = Rows(options)
    for name in options.model.split(","):
        with attempt(name):
            study(name, options, rows)
        gc.collect()
        ct.clear_cache()
        torch._dynamo.reset()


if __name__ == "__main__":
    main()
