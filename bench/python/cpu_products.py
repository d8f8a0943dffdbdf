"""The three products of coppice.torch on the CPU against PyTorch's dense ones, call by call in turn.

    python bench/python/cpu_products.py [--dtype bfloat16] [--shape ROWSxCOLS,...] [--tokens N,...] [--pattern P,...] [--threads N] [--csv FILE]

Prints medians in milliseconds, dense / sparse, and how many times as fast sparse ones are: `F.linear` against the product, `dy @ weight`
against the input's gradient, and `dy.t() @ x` against that of the kept weights, without PyTorch's dispatcher. With --threads 1 (the
default) times are of the processor, so that other work on the machine does not count; otherwise they are of the clock. Turns make one
find the caches as the other left them.
"""

import argparse
import csv
import statistics
import time

import torch
import torch.nn.functional as F

import coppice
import coppice.torch
from coppice.torch import _products


def medians(functions, repeats, now):
    """Of each function, in milliseconds."""
    times = [[] for _ in functions]
    for turn in range(repeats + 2):
        for function, of in zip(functions, times):
            start = now()
            function()
            if turn >= 2:
                of.append(now() - start)
    return [1e3 * statistics.median(of) for of in times]


def compare(rows, cols, pattern, tokens, dtype, now, products):
    """Lines of a table: (tokens, [dense ms, sparse ms] of each product)."""
    layer = coppice.torch.SparseLinear(cols, rows, pattern, bias=False, dtype=dtype)
    weight, layout = layer.to_linear().weight.detach(), layer.weight.layout
    arrays = [None if t is None else t.detach() for t in layer.weight.arrays()]
    for count in tokens:
        dy, x = torch.randn(count, rows).to(dtype), torch.randn(count, cols).to(dtype)
        calls = {"y": (lambda: F.linear(x, weight), lambda: _products.linear(x, *arrays, None, layout, "none", False)),
                 "dx": (lambda: dy @ weight, lambda: _products.input_gradient(dy, *arrays, layout, False)),
                 "dw": (lambda: dy.t() @ x, lambda: _products.values_gradient(dy, x, *arrays, layout, False))}
        repeats = 31 if count <= 64 else 15 if count <= 512 else 7
        yield count, [medians(calls[product], repeats, now) for product in products]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--shape", default="4096x1024,1024x4096")
    parser.add_argument("--tokens", default="1,2,4,8,16,32,48,64,80,128,256,512,1024,2048")
    parser.add_argument("--pattern", default="2:4,2:8,64:2:8,vw32/8:32,1:4,2:16,2:32")
    parser.add_argument("--product", default="y,dx,dw", help="which of y, dx, dw")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", help="the milliseconds, also")
    options = parser.parse_args()
    products = options.product.split(",")
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    now = time.process_time if options.threads == 1 else time.perf_counter
    lines = []
    print(f"{coppice.cpu_target()}, {options.threads} threads, {options.dtype}, PyTorch {torch.__version__}")
    print(f"| tokens | {' | '.join(products)} |\n|---|{'---|' * len(products)}")
    for shape in options.shape.split(","):
        rows, cols = map(int, shape.split("x"))
        for pattern in options.pattern.split(","):
            print(f"| {rows} x {cols}, {pattern} |{' |' * len(products)}", flush=True)
            tokens = [int(n) for n in options.tokens.split(",")]
            for count, times in compare(rows, cols, pattern, tokens, getattr(torch, options.dtype), now, products):
                print(f"| {count} | {' | '.join(f'{a:.3f} / {b:.3f} ({a / b:.2f}x)' for a, b in times)} |", flush=True)
                lines.append([options.threads, rows, cols, pattern, count, *(f"{t:.3f}" for pair in times for t in pair)])
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["threads", "rows", "cols", "pattern", "tokens", *(f"{side}{p}_ms" for p in products for side in ("dense_", ""))])
            writer.writerows(lines)


if __name__ == "__main__":
    main()
