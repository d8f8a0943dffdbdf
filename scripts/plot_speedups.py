#!/usr/bin/env python3
"""Draws the README's picture from committed benchmark results; losses are drawn as well.

    python3 -m venv .venv && .venv/bin/pip install matplotlib
    .venv/bin/python scripts/plot_speedups.py docs/performance/cpu/RESULTS.csv docs/images/cpu-speedups.svg

One panel for each (dtype, tokens, cols, rows) of the file, one bar for each pattern: time of the dense library over time
of the sparse product. The dashed line is the dense library.
"""
import csv
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SLOWER, FASTER = "#c44e52", "#2f7d4f"


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    panels = defaultdict(list)
    for row in rows:
        if float(row["baseline_us"] or 0) > 0:
            key = (row["dtype"], int(row["tokens"]), int(row["cols"]), int(row["rows"]))
            panels[key].append((row["pattern"], float(row["speedup"])))
    return panels


def draw(axis, title, bars):
    names = [name for name, _ in bars]
    values = [value for _, value in bars]
    axis.barh(names, values, color=[FASTER if value >= 1 else SLOWER for value in values])
    axis.axvline(1, color="black", linestyle="--", linewidth=0.8)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    for y, value in enumerate(values):
        axis.text(value, y, f" {value:.1f}×", va="center", fontsize=7)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    panels = read(sys.argv[1])
    if not panels:
        sys.exit(f"{sys.argv[1]}: no row has a baseline")
    tallest = max(len(bars) for bars in panels.values())
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 0.9 + 0.24 * tallest), squeeze=False)
    for axis, (key, bars) in zip(axes[0], sorted(panels.items())):
        dtype, tokens, cols, rows = key
        draw(axis, f"{dtype}, {tokens} token{'s' if tokens > 1 else ''}, {rows} × {cols}", bars)
    figure.supxlabel("speed of the dense library = 1", fontsize=8)
    figure.tight_layout()
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
