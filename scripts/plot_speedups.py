#!/usr/bin/env python3
"""Draws the README's picture from committed benchmark results; losses are drawn as well.

    python3 -m venv .venv && .venv/bin/pip install matplotlib
    .venv/bin/python scripts/plot_speedups.py OUT.svg "TITLE=RESULTS.csv" ...

One panel a file, one bar a pattern: time of the dense library over time of the sparse product, the geometric mean over
the shapes of the file, with a whisker from the least to the largest. The dashed line is the dense library. Reads the
CSV of `coppice bench` (speedup) and of `coppice bench --device cuda` (ratio) or bench/python/end_to_end.py; lines that start with #
are comments. RESULTS.csv?COLUMN=VALUE&... takes only such lines.
"""
import csv
import math
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SLOWER, FASTER = "#c44e52", "#2f7d4f"


def read(path):
    """Speedups by pattern, in the order of the file."""
    speedups = {}
    path, _, query = path.partition("?")
    wanted = [condition.split("=", 1) for condition in query.split("&") if condition]
    with open(path, newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            value = float(row.get("speedup") or row.get("ratio") or 0)
            if value > 0 and all(row[column] == wish for column, wish in wanted):
                speedups.setdefault(row["pattern"], []).append(value)
    if not speedups:
        sys.exit(f"{path}: no row has a baseline")
    return speedups


def draw(axis, title, speedups):
    means = [math.exp(sum(map(math.log, values)) / len(values)) for values in speedups.values()]
    below = [max(mean - min(values), 0.0) for mean, values in zip(means, speedups.values())]
    above = [max(max(values) - mean, 0.0) for mean, values in zip(means, speedups.values())]
    ranges = [below, above] if any(below) or any(above) else None
    axis.barh(list(speedups), means, xerr=ranges, ecolor="#555555", error_kw={"linewidth": 0.8},
              color=[FASTER if mean >= 1 else SLOWER for mean in means])
    axis.axvline(1, color="black", linestyle="--", linewidth=0.8)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    for y, (mean, over) in enumerate(zip(means, above)):
        axis.text(mean + over, y, f" {mean:.3g}×", va="center", fontsize=7)


def main():
    if len(sys.argv) < 3 or any("=" not in panel for panel in sys.argv[2:]):
        sys.exit(__doc__)
    panels = [panel.split("=", 1) for panel in sys.argv[2:]]
    data = [(title, read(path)) for title, path in panels]
    tallest = max(len(speedups) for _, speedups in data)
    figure, axes = plt.subplots(1, len(data), figsize=(4.2 * len(data), 0.9 + 0.24 * tallest), squeeze=False)
    for axis, (title, speedups) in zip(axes[0], data):
        draw(axis, title, speedups)
    figure.supxlabel("times as fast as the dense library", fontsize=8)
    figure.tight_layout()
    figure.savefig(sys.argv[1], metadata={"Date": None} if sys.argv[1].endswith("svg") else None)


if __name__ == "__main__":
    main()
