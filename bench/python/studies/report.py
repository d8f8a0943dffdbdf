"""Tables, pictures and verdicts of the training studies, from their results.csv.

    python bench/python/studies/report.py gpt    results.csv [--svg OUT.svg]
    python bench/python/studies/report.py minilm results.csv [--svg OUT.svg]

Means over seeds, with the standard deviation in brackets. A verdict compares two ways at the same pattern and seed: the mean difference in the
logarithm of the measure, and its standard error over all pairs; a claim is confirmed (or contradicted) where that is more than two standard errors from
zero, and open in between. Mask diversity is ln K(V, M) a weight (Beyond 2:4, section 4), against the ways' measures over the (V, M) grid by
Spearman's rank correlation. Pictures need matplotlib.
"""

import argparse
import collections
import csv
import math
import re
import statistics

# measure, whether less is better, reference run's (pattern, way), claims: (what is said, better way, other way, patterns)
STUDIES = {
    "gpt": ("test_loss", True, ("dense", "dense"), [
        ("gradual pruning is better than pruning at once", "decay", "at-once", ".*"),
        ("second-order is better than magnitude, both gradual", "decay", "gradual-mag", ".*"),
        ("second-order is better than magnitude, without training after it", "obs", "magnitude", ".*"),
        ("exact columns are better than greedy ones, without training after it", "magnitude", "greedy", "64:.*"),
        ("training sparse is better than pruning the dense model", "sr-ste", "obs", ".*")]),
    "minilm": ("recall@10", False, ("dense", "once dense"), [
        ("second-order with permutation is better than magnitude", "once obs+perm", "once magnitude", ".*"),
        ("OBS is better than Wanda", "once obs", "once wanda", ".*"),
        ("ADMM is better than OBS", "once admm", "once obs", ".*"),
        ("permutation helps OBS", "once obs+perm", "once obs", ".*"),
        ("RIA is better than Wanda", "once ria", "once wanda", ".*"),
        ("recovery helps", "recovered fixed", "once obs+perm", ".*"),
        ("structure decay is better than a fixed mask", "recovered decay", "recovered fixed", ".*"),
        ("SR-STE is better than a fixed mask", "recovered sr-ste", "recovered fixed", ".*")]),
}
GRID_WAY = {"gpt": "sr-ste", "minilm": "recovered sr-ste"}


def read(path, measure):
    """{(pattern, way): {seed: value}}, in the order of the file."""
    found = collections.OrderedDict()
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            way = f"{row['stage']} {row['way']}" if "stage" in row else row["way"]
            found.setdefault((row["pattern"], way), {})[row["seed"]] = float(row[measure])
    return found


def shown(values):
    values = list(values)
    spread = f" ({statistics.stdev(values):.2g})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4g}{spread}"


def table(found, reference):
    ways = list(dict.fromkeys(way for _, way in found))
    patterns = list(dict.fromkeys(pattern for pattern, _ in found))
    base = statistics.mean(found[reference].values()) if reference in found else None
    lines = ["| pattern | " + " | ".join(ways) + " |", "|" + "---|" * (len(ways) + 1)]
    for pattern in patterns:
        cells = []
        for way in ways:
            values = found.get((pattern, way), {}).values()
            change = f", {100 * (statistics.mean(values) / base - 1):+.1f} %" if values and base and pattern != "dense" else ""
            cells.append(shown(values) + change if values else "")
        lines.append(f"| `{pattern}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences(found, better, other, patterns):
    """ln(better) - ln(other) of all pairs of pattern and seed; a way without seeds of its own (magnitude) stands for every seed."""
    pairs = []
    for (pattern, way), values in found.items():
        against = found.get((pattern, other), {})
        if way == better and re.fullmatch(patterns, pattern) and against:
            mean = statistics.mean(against.values())
            pairs += [math.log(value) - math.log(against.get(seed, mean)) for seed, value in values.items()]
    return pairs


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
    """ln K a weight of V:2:M, or None."""
    match = re.fullmatch(r"(\d+):2:(\d+)", pattern)
    if not match:
        return None
    v, m = map(int, match.groups())
    return (math.log(math.comb(m, 4)) + v * math.log(6)) / (v * m)


def ranks(values):
    order = sorted(values)
    return [statistics.mean(i for i, other in enumerate(order) if other == value) for value in values]


def correlation(found, way, less_is_better):
    """Of diversity and goodness over the (V, M) grid, all of it and inside of each M: lines."""
    points = [(pattern, diversity(pattern), statistics.mean(values.values())) for (pattern, own), values in found.items()
              if own == way and diversity(pattern) is not None]
    groups = {"all": points}
    for point in points:
        groups.setdefault("M = " + point[0].rsplit(":", 1)[1], []).append(point)
    sign = -1 if less_is_better else 1
    lines = []
    for name, group in groups.items():
        if len(group) > 2:
            rho = statistics.correlation(ranks([p[1] for p in group]), ranks([sign * p[2] for p in group]))
            lines.append(f"- mask diversity and {way}, {name}: rank correlation {rho:+.2f} over {len(group)} patterns")
    return "\n".join(lines)


def draw(found, reference, measure, path):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    patterns = [p for p in dict.fromkeys(pattern for pattern, _ in found) if p != "dense"]
    ways = list(dict.fromkeys(way for pattern, way in found if pattern != "dense"))
    figure, axis = plt.subplots(figsize=(1.5 + 0.7 * len(patterns), 3.6))
    for number, way in enumerate(ways):
        places = [i for i, pattern in enumerate(patterns) if (pattern, way) in found]
        values = [list(found[patterns[i], way].values()) for i in places]
        errors = [statistics.stdev(v) if len(v) > 1 else 0 for v in values]
        shift = 0.6 * (number / max(1, len(ways) - 1) - 0.5)
        axis.errorbar([i + shift for i in places], [statistics.mean(v) for v in values], errors, fmt="o", markersize=4, linewidth=1, label=way)
    if reference in found:
        axis.axhline(statistics.mean(found[reference].values()), color="black", linestyle="--", linewidth=0.8, label="dense")
    axis.set_xticks(range(len(patterns)), patterns, fontsize=8, rotation=30)
    axis.set_ylabel(measure, fontsize=8)
    axis.legend(fontsize=7, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("results")
    parser.add_argument("--svg")
    args = parser.parse_args()
    measure, less_is_better, reference, claims = STUDIES[args.study]
    found = read(args.results, measure)
    print(f"{measure}\n\n{table(found, reference)}\n\n{verdicts(found, less_is_better, claims)}\n"
          f"{correlation(found, GRID_WAY[args.study], less_is_better)}")
    if args.svg:
        draw(found, reference, measure, args.svg)


if __name__ == "__main__":
    main()
