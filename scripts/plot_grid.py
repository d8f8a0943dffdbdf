#!/usr/bin/env python3
"""Draws and tabulates nmSPARSE's grid from the CSV of `coppice bench --device cuda --grid nmsparse`; losses are drawn as well.

    python3 -m venv .venv && .venv/bin/pip install matplotlib
    .venv/bin/python scripts/plot_grid.py picture GRID.csv docs/images/grid.svg
    python3 scripts/plot_grid.py table GRID.csv            # Markdown, for docs/performance/grid.md

The picture has a panel for every type and sparsity: dense time over time, for every shape and kind of pattern, on a logarithmic scale;
below the line at 1 the dense product is faster. Beside them cuSPARSE (CSR of the element-wise weight, blocked-ELL of the 64 x 64 blocks)
and nmSPARSE's own times on the same GPU (bench/peer_times.csv), over the same dense times.
"""
import argparse
import collections
import csv
import math
import pathlib
import sys

KINDS = {"EW": "#c44e52", "VW4": "#dd8452", "VW32": "#4c72b0", "VW64": "#2f7d4f", "BW4x4": "#8172b3", "BW64x64": "#17a2a2"}
SPARSITIES = (50, 75, 90)
DTYPES = {"F16": "fp16", "F32": "fp32"}
CSR, BLOCKED_ELL = "cuSPARSE CSR", "cuSPARSE blocked-ELL"
CUSPARSE_OF = {"EW": CSR, "BW4x4": BLOCKED_ELL, "BW64x64": BLOCKED_ELL}
PEERS = pathlib.Path(__file__).parent.parent / "bench" / "peer_times.csv"


def lines_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


class Grid:
    """Lines by (dtype, sparsity, kind), each a dictionary from the shape's name; shapes by tokens, then size."""

    def __init__(self, path):
        rows = [row for row in lines_of(path) if row["kind"]]
        if not rows:
            sys.exit(f"{path}: no line of a grid")
        self.failed = [row for row in rows if row["check"] == "FAILED"]
        self.rows = [row for row in rows if row["check"] != "FAILED" and float(row["ratio"]) > 0]
        shapes = {row["name"]: (int(row["tokens"]), int(row["rows"]) * int(row["cols"]), int(row["cols"])) for row in rows}
        self.names = sorted(shapes, key=shapes.get)
        self.tokens = {name: shapes[name][0] for name in shapes}
        self.cells = collections.defaultdict(dict)
        for row in self.rows:
            self.cells[row["dtype"], int(row["sparsity"]), row["kind"]][row["name"]] = row

    def ratios(self, dtype, sparsity, kind, tokens=None):
        return [float(row["ratio"]) for name, row in self.cells[dtype, sparsity, kind].items()
                if tokens is None or self.tokens[name] == tokens]

    def cusparse(self, dtype, sparsity, kind):
        """Dense time over cuSPARSE's, by shape."""
        return {name: float(row["dense_us"]) / float(row["cusparse_us"])
                for name, row in self.cells[dtype, sparsity, kind].items() if float(row["cusparse_us"]) > 0}

    def nmsparse(self, dtype, sparsity, kind):
        """Dense time over nmSPARSE's, by shape; the dense time of the line beside it."""
        cells = self.cells[dtype, sparsity, kind]
        return {peer["name"]: float(cells[peer["name"]]["dense_us"]) / float(peer["us"]) for peer in lines_of(PEERS)
                if peer["name"] in cells and peer["dtype"] == dtype and peer["pattern"] == cells[peer["name"]]["pattern"]}

    def all_tokens(self):
        return sorted(set(self.tokens.values()))


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


# --- the picture


def draw_panel(axis, grid, dtype, sparsity):
    places = {name: i for i, name in enumerate(grid.names)}

    def points(ratios, **how):
        at = sorted((places[name], ratio) for name, ratio in ratios.items())
        axis.plot([x for x, _ in at], [y for _, y in at], **how)

    axis.axhspan(1e-4, 1, color="#c44e52", alpha=0.07, linewidth=0)
    axis.axhline(1, color="black", linewidth=1.2)
    for name, kind, marker in ((CSR, "EW", "x"), (BLOCKED_ELL, "BW64x64", "+")):
        points(grid.cusparse(dtype, sparsity, kind), color="#888888", marker=marker, linestyle="", markersize=4, label=name)
    for kind, color in KINDS.items():
        cells = grid.cells[dtype, sparsity, kind]
        for number, tokens in enumerate(grid.all_tokens()):
            points({name: float(row["ratio"]) for name, row in cells.items() if grid.tokens[name] == tokens}, color=color, marker="o",
                   markersize=2.6, linewidth=0.9, label=kind if number == 0 else None)
    for kind, color in KINDS.items():
        points(grid.nmsparse(dtype, sparsity, kind), markerfacecolor=color, markeredgecolor="black", markeredgewidth=0.5, marker="*",
               linestyle="", markersize=7)
    axis.set_yscale("log")
    axis.set_xlim(-0.7, len(places) - 0.3)
    axis.set_title(f"{DTYPES.get(dtype, dtype)}, {sparsity} %", fontsize=9)
    axis.set_xticks(range(len(places)), list(places), fontsize=5, rotation=90)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", color="#dddddd", linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    for tokens in grid.all_tokens():
        group = [places[name] for name in grid.names if grid.tokens[name] == tokens]
        if min(group) > 0:
            axis.axvline(min(group) - 0.5, color="#bbbbbb", linewidth=0.6)
        axis.text(sum(group) / len(group), 0.99, f"{tokens} token{'s' if tokens > 1 else ''}", fontsize=6, ha="center", va="top",
                  transform=axis.get_xaxis_transform())


def picture(grid, out):
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "grid"  # the same file from the same lines
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    dtypes = [dtype for dtype in DTYPES if any(key[0] == dtype for key in grid.cells)]
    figure, axes = plt.subplots(len(dtypes), len(SPARSITIES), figsize=(13.5, 3.6 * len(dtypes) + 0.5), squeeze=False, sharey="row")
    for dtype, line in zip(dtypes, axes):
        for sparsity, axis in zip(SPARSITIES, line):
            draw_panel(axis, grid, dtype, sparsity)
        shown = [ratio for sparsity in SPARSITIES for kind in KINDS for ratio in
                 grid.ratios(dtype, sparsity, kind) + list(grid.cusparse(dtype, sparsity, kind).values())]
        line[0].set_ylim(min(shown + [0.5]) / 1.3, max(shown + [2]) * 1.9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    handles.append(Line2D([], [], marker="*", linestyle="", markersize=7, markerfacecolor="white", markeredgecolor="black"))
    order = [labels.index(kind) for kind in KINDS if kind in labels] + [labels.index(n) for n in (CSR, BLOCKED_ELL) if n in labels]
    figure.legend([handles[i] for i in order] + handles[-1:], [labels[i] for i in order] + ["nmSPARSE (its kind's colour)"], loc="lower center",
                  ncols=len(order) + 1, fontsize=8, frameon=False)
    figure.supylabel("times as fast as the fastest dense cuBLAS (below 1: slower)", fontsize=8)
    figure.tight_layout(rect=(0, 0.035, 1, 1))
    figure.savefig(out, metadata={"Date": None} if str(out).endswith("svg") else None)


# --- the table


def cell(ratios):
    if not ratios:
        return "–"
    return f"{mean(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def print_table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def over(ours, theirs):
    """Their time over ours: geometric mean, least and number."""
    ratios = [ours[name] / theirs[name] for name in ours if name in theirs]
    return f"{mean(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}), {len(ratios)}" if ratios else "–"


def table(grid):
    tokens = grid.all_tokens()
    for dtype, title in DTYPES.items():
        cells = [(sparsity, kind) for sparsity in SPARSITIES for kind in KINDS if grid.cells[dtype, sparsity, kind]]
        if not cells:
            continue
        print(f"\n### {title}: ratio to dense, geometric mean (worst–best) over the shapes\n")
        print_table(["", *[f"{n} token{'s' if n > 1 else ''}" for n in tokens], "slower than dense"],
                    [[f"{kind}, {sparsity} %", *[cell(grid.ratios(dtype, sparsity, kind, n)) for n in tokens],
                      f"{sum(r < 1 for r in grid.ratios(dtype, sparsity, kind))} of {len(grid.ratios(dtype, sparsity, kind))}"]
                     for sparsity, kind in cells])
        print(f"\n### {title}: time of others over ours, geometric mean (worst–best) and number of shapes\n")
        rows = []
        for sparsity, kind in cells:
            ours = {name: float(row["ratio"]) for name, row in grid.cells[dtype, sparsity, kind].items()}
            library = over(ours, grid.cusparse(dtype, sparsity, kind))
            peer = over(ours, grid.nmsparse(dtype, sparsity, kind))
            if library != "–" or peer != "–":
                rows.append([f"{kind}, {sparsity} %", CUSPARSE_OF.get(kind, "") + " " + library if library != "–" else "–", peer])
        print_table(["", "cuSPARSE", "nmSPARSE"], rows)
    worst = sorted(grid.rows, key=lambda row: float(row["ratio"]))
    lost = sum(float(row["ratio"]) < 1 for row in worst)
    print(f"\n{len(grid.rows)} products, {lost} of them slower than dense"
          f"{f'; {len(grid.failed)} could not be measured' if grid.failed else ''}. The ten worst:\n")
    print_table(["shape", "pattern", "type", "tokens, cols, rows", "us", "dense us", "ratio", "kernel"],
                [[row["name"], row["pattern"], DTYPES.get(row["dtype"], row["dtype"]), f"{row['tokens']}, {row['cols']}, {row['rows']}",
                  f"{float(row['us']):.1f}", f"{float(row['dense_us']):.1f}", f"{float(row['ratio']):.2f}", row["kernel"]] for row in worst[:10]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("picture", "table"))
    parser.add_argument("csv", metavar="GRID.csv")
    parser.add_argument("out", nargs="?", metavar="OUT.svg")
    arguments = parser.parse_args()
    if (arguments.what == "picture") != (arguments.out is not None):
        parser.error("picture needs OUT.svg, table none")
    try:
        grid = Grid(arguments.csv)
    except (OSError, KeyError) as error:
        sys.exit(f"plot_grid: {arguments.csv} is not a file of coppice bench --grid: {error}")
    if arguments.what == "picture":
        picture(grid, arguments.out)
    else:
        table(grid)


if __name__ == "__main__":
    main()
