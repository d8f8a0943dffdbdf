"""Tables, pictures and verdicts of the training studies, from their results.csv.

    python bench/python/studies/report.py gpt    results.csv [--page PAGE.md] [--svg OUT.svg] [--grid-svg OUT.svg]
    python bench/python/studies/report.py minilm results.csv [--page PAGE.md] [--svg OUT.svg] [--grid-svg OUT.svg]

--page puts what is printed into a page, between its lines <!-- report --> and <!-- end -->.
Means over seeds, with the standard deviation in brackets where there are two and more, then the change against the dense model of the same seed in
percent, and with how many seeds if fewer than others have. A verdict compares two ways at the same pattern and seed: the mean difference in the
logarithm of the measure, and its standard error over all pairs; a claim is confirmed (or contradicted) where that is more than two standard errors from
zero, and open in between. Mask diversity is ln K(V, M) a weight (Beyond 2:4, section 4), against the changes over the (V, M) grid by Spearman's rank
correlation. Pictures need matplotlib.
"""

import argparse
import collections
import csv
import math
import re
import statistics
from pathlib import Path

# measure, whether less is better, reference run's (pattern, way), claims: (what is said, better way, other way, patterns)
STUDIES = {
    "gpt": ("test_loss", True, ("dense", "dense"), [
        ("gradual pruning is better than pruning at once", "decay", "at-once", ".*"),
        ("second-order is better than magnitude, both gradual", "decay", "gradual-mag", ".*"),
        ("second-order is better than magnitude, without training after it", "obs", "magnitude", ".*"),
        ("exact columns are better than greedy ones, without training after it", "magnitude", "greedy", "64:.*"),
        ("SR-STE with a decay of 1e-2 is better than with 2e-4", "sr-ste-1e-2", "sr-ste", ".*"),
        ("SR-STE with a decay of 1e-2 is better than gradual magnitude pruning", "sr-ste-1e-2", "gradual-mag", ".*"),
        ("training sparse by SR-STE is better than OBS of the dense model", "sr-ste", "obs", ".*"),
        ("second-order structure decay is better than OBS of the dense model", "decay", "obs", ".*"),
        ("gradual magnitude pruning is better than OBS of the dense model", "gradual-mag", "obs", ".*")]),
    "minilm": ("recall@10", False, ("dense", "once dense"), [
        ("second-order with permutation is better than magnitude", "once obs+perm", "once magnitude", ".*"),
        ("OBS is better than Wanda", "once obs", "once wanda", ".*"),
        ("ADMM is better than OBS", "once admm", "once obs", ".*"),
        ("exact columns are better than greedy ones, by magnitude", "once magnitude", "once magnitude-greedy", ".*"),
        ("exact columns are better than greedy ones, by Wanda", "once wanda", "once wanda-greedy", ".*"),
        ("permutation helps ADMM", "once admm+perm", "once admm", ".*"),
        ("permutation helps OBS", "once obs+perm", "once obs", ".*"),
        ("RIA is better than Wanda", "once ria", "once wanda", ".*"),
        ("permutation helps magnitude", "once magnitude+perm", "once magnitude", ".*"),
        ("permutation helps Wanda", "once wanda+perm", "once wanda", ".*"),
        ("permutation helps RIA", "once ria+perm", "once ria", ".*"),
        ("training what OBS with permutation keeps helps", "recovered fixed", "once obs+perm", ".*"),
        ("structure decay is better than a fixed mask", "recovered decay", "recovered fixed", ".*"),
        ("SR-STE is better than a fixed mask", "recovered sr-ste", "recovered fixed", ".*"),
        ("three-staged LoRA is better than a fixed mask", "recovered lora", "recovered fixed", ".*"),
        ("three-staged LoRA is better than SR-STE", "recovered lora", "recovered sr-ste", ".*")]),
}
GRID_WAYS = {"gpt": ["obs", "gradual-mag"], "minilm": ["once obs", "once wanda", "once magnitude", "recovered fixed"]}
VNM = r"\d+:2:\d+"
QUARTER = r"64:2:8|[^:]*:[^:]*"  # of V:N:M the one that all ways were run at
# Ways that no seed changes, run once: they stand for every seed.
SEEDLESS = ["once dense", "once magnitude", "once magnitude+perm", "once magnitude-greedy"]


def read(path, measure):
    """{(pattern, way): {seed: value}}, in the order of the file."""
    found = collections.OrderedDict()
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            way = f"{row['stage']} {row['way']}" if "stage" in row else row["way"]
            found.setdefault((row["pattern"], way), {})[row["seed"]] = float(row[measure])
    return found


def value_of(values, way, seed):
    """Of a way's values by seed, or None."""
    return next(iter(values.values()), None) if way in SEEDLESS else values.get(seed)


def differences(found, better, other, patterns=".*"):
    """ln(better) - ln(other) of all pairs of pattern and seed; other: a way, or (pattern, way)."""
    pairs = []
    for (pattern, way), values in found.items():
        key = other if isinstance(other, tuple) else (pattern, other)
        if way == better and re.fullmatch(patterns, pattern):
            against = {seed: value_of(found.get(key, {}), key[1], seed) for seed in values}
            pairs += [math.log(values[seed]) - math.log(value) for seed, value in against.items() if value is not None]
    return pairs


def change(found, pattern, way, reference):
    """Against the dense model of the same seed, the mean in percent; None without such seeds."""
    pairs = differences(found, way, reference, re.escape(pattern))
    return 100 * math.expm1(statistics.mean(pairs)) if pairs else None


def shown(values, percent, most):
    text = f"{statistics.mean(values):.4g}" + (f" ({statistics.stdev(values):.2g})" if len(values) > 1 else "")
    if percent is not None:
        text += f", {percent:+.1f} %"
    return text + (f", {len(values)} seed{'s' * (len(values) > 1)}" if len(values) < most else "")


def tables(found, reference):
    """One for each stage, if there are any."""
    stages = dict.fromkeys(way.partition(" ")[0] if " " in way else "" for _, way in found)
    return "\n\n".join(table(found, {key: values for key, values in found.items() if key[1].startswith(stage)}, reference) for stage in stages)


def table(found, part, reference):
    ways = list(dict.fromkeys(way for _, way in part))
    patterns = list(dict.fromkeys(pattern for pattern, _ in part))
    most = max(map(len, part.values()))
    lines = ["| pattern | " + " | ".join(ways) + " |", "|" + "---|" * (len(ways) + 1)]
    for pattern in patterns:
        cells = []
        for way in ways:
            values = list(part.get((pattern, way), {}).values())
            percent = None if pattern == "dense" else change(found, pattern, way, reference)
            cells.append(shown(values, percent, 0 if way in SEEDLESS else most) if values else "")
        lines.append(f"| `{pattern}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(found, less_is_better, claims):
    lines = []
    for text, better, other, patterns in claims:
        pairs = differences(found, better, other, patterns)
        if len(pairs) < 3:
            continue
        mean, error = statistics.mean(pairs), statistics.stdev(pairs) / math.sqrt(len(pairs))
        gain = -mean if less_is_better else mean
        verdict = "confirmed" if gain > 2 * error else "contradicted" if gain < -2 * error else "open"
        wins = sum((pair < 0) == less_is_better and pair != 0 for pair in pairs)
        lines.append(f"- {text}: **{verdict}**; {100 * gain:+.2f} % ± {100 * error:.2f}, better in {wins} of {len(pairs)} pairs")
    return "\n".join(lines)


def diversity(pattern):
    """ln K a weight: of how many masks the pattern allows; None for dense."""
    vnm = re.fullmatch(r"(\d+):2:(\d+)", pattern)
    if vnm:
        v, m = map(int, vnm.groups())
        return (math.log(math.comb(m, 4)) + v * math.log(6)) / (v * m)
    match = re.fullmatch(r"(?:vw(\d+)/|bw(\d+)x(\d+)/)?(\d+):(\d+)", pattern)
    if not match:
        return None
    vector, rows, cols, n, m = (int(part or 1) for part in match.groups())
    return math.log(math.comb(m, n)) / (m * vector * rows * cols)


def kept(pattern):
    """The share of weights, in percent."""
    n, m = map(int, pattern.rpartition("/")[2].split(":")[-2:])
    return round(100 * n / m)


def ranks(values):
    order = sorted(values)
    return [statistics.mean(i for i, other in enumerate(order) if other == value) for value in values]


def points_of(found, way, reference, patterns):
    """{seed: [(pattern, mask diversity, change in percent against the seed's dense model)]}."""
    points = {}
    for (pattern, own), values in found.items():
        if own == way and pattern != "dense" and re.fullmatch(patterns, pattern):
            for seed, value in values.items():
                base = value_of(found.get(reference, {}), reference[1], seed)
                if base is not None:
                    points.setdefault(seed, []).append((pattern, diversity(pattern), 100 * (value / base - 1)))
    return points


def correlations(groups, way, less_is_better):
    """Of diversity and goodness; groups: {name: {seed: points}}. Lines."""
    sign = -1 if less_is_better else 1
    lines = []
    for name, seeds in groups.items():
        told = [f"{statistics.correlation(ranks([p[1] for p in group]), ranks([sign * p[2] for p in group])):+.2f} over {len(group)} patterns (seed {seed})"
                for seed, group in seeds.items() if len(group) > 2]
        if told:
            lines.append(f"- mask diversity and {way}, {name}: rank correlation " + ", ".join(told))
    return "\n".join(lines)


def grid_correlations(found, way, reference, less_is_better):
    """Over the (V, M) grid of each seed, all of it and inside of each M."""
    groups = {}
    for seed, points in points_of(found, way, reference, VNM).items():
        groups.setdefault("V:2:M", {})[seed] = points
        for point in points:
            groups.setdefault("M = " + point[0].rsplit(":", 1)[1], {}).setdefault(seed, []).append(point)
    return correlations(groups, way, less_is_better)


def density_correlation(found, way, reference, less_is_better):
    """Over patterns of all kinds that keep a quarter."""
    groups = {seed: [point for point in points if kept(point[0]) == 25] for seed, points in points_of(found, way, reference, QUARTER).items()}
    return correlations({"25 % kept": groups}, way, less_is_better)


def figure_of(width):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "coppice"
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(width, 3.6))
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def save(figure, axis, measure, path):
    axis.set_ylabel(f"{measure}: change against dense, %", fontsize=8)
    axis.legend(fontsize=7, frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def draw(found, reference, measure, path):
    """Each run a dot; between -5 and 5 % the axis is linear, logarithmic outside."""
    counts = collections.Counter(pattern for pattern, _ in found)
    most = max(counts.values())
    patterns = [pattern for pattern, count in counts.items() if 2 * count > most and pattern != "dense"]  # the others: draw_grid
    ways = list(dict.fromkeys(way for pattern, way in found if pattern in patterns))
    figure, axis = figure_of(3 + 0.75 * len(patterns))
    for number, way in enumerate(ways):
        dots = [(i, 100 * math.expm1(pair)) for i, pattern in enumerate(patterns) for pair in differences(found, way, reference, re.escape(pattern))]
        shift = 0.7 * (number / max(1, len(ways) - 1) - 0.5)
        axis.plot([i + shift for i, _ in dots], [percent for _, percent in dots], "oxs^vD<>"[number % 8], markersize=3.5, label=way)
    axis.axhline(0, color="black", linestyle="--", linewidth=0.8)
    axis.set_yscale("symlog", linthresh=5)
    ticks = [t for t in (-80, -40, -20, -10, -5, -2, 0, 2, 5, 10, 20, 40, 80) if axis.get_ylim()[0] <= t <= axis.get_ylim()[1]]
    axis.set_yticks(ticks, [f"{t:+d}" for t in ticks], fontsize=7)
    axis.set_xticks(range(len(patterns)), patterns, fontsize=8, rotation=30)
    save(figure, axis, measure, path)


def draw_grid(found, reference, measure, ways, path):
    """Changes over mask diversity, each run a dot, a colour for each M."""
    figure, axis = figure_of(6)
    colors = {"5": "tab:blue", "8": "tab:orange", "16": "tab:green"}
    for marker, way in zip("ox^+", ways):
        points = [point for group in points_of(found, way, reference, VNM).values() for point in group]
        for m in dict.fromkeys(pattern.rsplit(":", 1)[1] for pattern, _, _ in points):
            own = [point for point in points if point[0].endswith(f":{m}")]
            axis.plot([p[1] for p in own], [p[2] for p in own], marker, color=colors.get(m), markersize=4, label=f"{way}, M = {m}")
    axis.set_xlabel("mask diversity, ln K a weight", fontsize=8)
    save(figure, axis, measure, path)


def put_into(page, text):
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- report -->\n")
    if not rest:
        raise SystemExit(f"{page} has no line <!-- report -->")
    page.write_text(f"{before}<!-- report -->\n{text}\n{rest[rest.index('<!-- end -->'):]}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("results")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--svg")
    parser.add_argument("--grid-svg")
    args = parser.parse_args()
    measure, less_is_better, reference, claims = STUDIES[args.study]
    ways = GRID_WAYS[args.study]
    found = read(args.results, measure)
    text = f"{measure}\n\n{tables(found, reference)}\n\n{verdicts(found, less_is_better, claims)}\n"
    lines = [grid_correlations(found, way, reference, less_is_better) for way in ways]
    lines += [density_correlation(found, way, reference, less_is_better) for way in dict.fromkeys(way for _, way in found)]
    text += "\n".join(filter(None, lines))
    print(text)
    if args.page:
        put_into(args.page, text)
    if args.svg:
        draw(found, reference, measure, args.svg)
    if args.grid_svg:
        draw_grid(found, reference, measure, ways, args.grid_svg)


if __name__ == "__main__":
    main()
