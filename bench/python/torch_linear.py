"""Times of coppice.torch.SparseLinear against torch.nn.functional.linear: the cost of a small eager call, forward and backward.

    python bench/python/torch_linear.py [--device cuda] [--dtype float16] [--shape ROWSxCOLS,...] [--tokens N,...] [--pattern P,...] [--threads N]

Prints medians in microseconds. "call": a layer so small that the call itself is what is measured, under no_grad. With --threads 1 on
the CPU times are of the processor, not of the clock, so that other work on the machine does not count. On a GPU a time is a tenth of
ten calls in a row, between two events; "gradients" is the input's and the weight's, one after the other.
"""

import argparse
import platform
import statistics
import time

import torch
import torch.nn.functional as F

import coppice
import coppice.torch


def clock(device):
    return time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def median_time(function, device, repeats, inner=1):
    """Seconds of a call: the median of `repeats` runs of `inner` calls."""
    now = clock(device)
    for _ in range(3):
        function()
    if device == "cuda" and inner == 1:
        return statistics.median(event_time(function, 10) for _ in range(repeats))
    times = []
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        start = now()
        for _ in range(inner):
            function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((now() - start) / inner)
    return statistics.median(times)


def event_time(function, calls):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / calls / 1000


def layers(rows, cols, pattern, dtype, device):
    """A sparse layer and the dense one of the same weight."""
    sparse = coppice.torch.SparseLinear(cols, rows, pattern, dtype=dtype).to(device)
    return sparse, sparse.to_linear().to(device)


def call_overhead(dtype, device):
    sparse, dense = layers(64, 64, "2:4", dtype, device)
    x = torch.randn(1, 64, device=device).to(dtype)
    with torch.no_grad():
        weight, bias = dense.weight, dense.bias
        # In turns, so that a busy machine slows all of them.
        rows = {"F.linear": lambda: F.linear(x, weight, bias), "nn.Linear": lambda: dense(x), "SparseLinear": lambda: sparse(x)}
        if device == "cuda":
            frozen, _ = layers(64, 64, "2:4", dtype, device)
            frozen.freeze_()
            rows["frozen"] = lambda: frozen(x)
        best = {name: [] for name in rows}
        for _ in range(9):
            for name, function in rows.items():
                best[name].append(median_time(function, device, 3, 2000))
    print("call, 64 x 64, 1 token: " + ", ".join(f"{name} {1e6 * min(t):.1f} us" for name, t in best.items()))


def backward_times(rows, cols, pattern, tokens, dtype, device, repeats):
    sparse, dense = layers(rows, cols, pattern, dtype, device)
    x = torch.randn(tokens, cols, device=device).to(dtype)
    dy = torch.randn(tokens, rows, device=device).to(dtype)
    arrays = [None if t is None else t.detach() for t in sparse.weight.arrays()]
    layout = sparse.weight.layout
    ops = torch.ops.coppice
    with torch.no_grad():
        pairs = {
            "forward": (lambda: F.linear(x, dense.weight, dense.bias), lambda: sparse(x)),
            "input gradient": (lambda: dy @ dense.weight, lambda: ops.linear_input_gradient(dy, *arrays, layout, False)),
            "weight gradient": (lambda: dy.t() @ x, lambda: ops.linear_values_gradient(dy, x, *arrays, layout, False)),
        }
        pairs["gradients"] = tuple(lambda i=i: (pairs["input gradient"][i](), pairs["weight gradient"][i]()) for i in (0, 1))
        for name, (of_dense, of_sparse) in pairs.items():
            a = median_time(of_dense, device, repeats)
            b = median_time(of_sparse, device, repeats)
            print(f"| {rows} x {cols} | {pattern} | {tokens} | {name} | {1e6 * a:.0f} | {1e6 * b:.0f} | {a / b:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--shape", default="1024x1024")
    parser.add_argument("--tokens", default="256")
    parser.add_argument("--pattern", default="2:4,64:2:8,vw32/8:32")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.processor() or platform.machine()}, " \
        f"{coppice.cpu_target()}, {torch.get_num_threads()} threads"
    print(f"{where}, {options.dtype}, PyTorch {torch.__version__}")
    call_overhead(dtype, options.device)
    print("| weight | pattern | tokens | | dense us | sparse us | speedup |\n|---|---|---|---|---|---|---|")
    for shape in options.shape.split(","):
        rows, cols = map(int, shape.split("x"))
        for pattern in options.pattern.split(","):
            for tokens in options.tokens.split(","):
                backward_times(rows, cols, pattern, int(tokens), dtype, options.device, options.repeats)


if __name__ == "__main__":
    main()
