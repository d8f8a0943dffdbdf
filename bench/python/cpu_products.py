"""Both gradients of coppice.torch on the CPU against PyTorch's dense ones, call by call in turn.

    python bench/python/gradients.py [--dtype bfloat16] [--shape ROWSxCOLS,...] [--tokens N,...] [--pattern P,...] [--threads N]

Prints medians in milliseconds, dense / sparse, and how many times as fast sparse ones are: `dy @ weight` against the input's gradient, and
`dy.t() @ x` against that of the kept weights, without PyTorch's dispatcher. With --threads 1 (the default) times are of the processor, so
that other work on the machine does not count; otherwise they are of the clock. Turns make one find the caches as the other left them.
"""

import argparse
import statistics
import time

import torch

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


def compare(rows, cols, pattern, tokens, dtype, now):
    layer = coppice.torch.SparseLinear(cols, rows, pattern, dtype=dtype)
    weight, layout = layer.to_linear().weight.detach(), layer.weight.layout
    arrays = [None if t is None else t.detach() for t in layer.weight.arrays()]
    print(f"| {rows} x {cols}, {pattern} | | |", flush=True)
    for count in tokens:
        dy, x = torch.randn(count, rows).to(dtype), torch.randn(count, cols).to(dtype)
        a, b, c, d = medians([lambda: dy @ weight, lambda: _products.input_gradient(dy, *arrays, layout, False),
                              lambda: dy.t() @ x, lambda: _products.values_gradient(dy, x, *arrays, layout, False)],
                             31 if count <= 64 else 15 if count <= 512 else 7, now)
        print(f"| {count} | {a:.3f} / {b:.3f} ({a / b:.2f}x) | {c:.3f} / {d:.3f} ({c / d:.2f}x) |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--shape", default="4096x1024,1024x4096")
    parser.add_argument("--tokens", default="1,2,4,8,16,32,48,64,80,128,256,512,1024,2048")
    parser.add_argument("--pattern", default="2:8,64:2:8,vw32/8:32,1:4,2:16,2:32")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    print(f"{coppice.cpu_target()}, {options.threads} threads, {options.dtype}, PyTorch {torch.__version__}")
    print("| tokens | input gradient | weight gradient |\n|---|---|---|")
    for shape in options.shape.split(","):
        for pattern in options.pattern.split(","):
            compare(*map(int, shape.split("x")), pattern, [int(n) for n in options.tokens.split(",")], getattr(torch, options.dtype),
                    time.process_time if options.threads == 1 else time.perf_counter)


if __name__ == "__main__":
    main()
