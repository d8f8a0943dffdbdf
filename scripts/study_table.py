#!/usr/bin/env python3
"""Tables of a prune_study CSV file: geometric means over the layers, and how often one method beats
another.

    scripts/study_table.py FILE.csv
"""

import csv
import math
import sys
from collections import defaultdict

METHODS = ["magnitude", "wanda", "ria", "sparsegpt", "obs", "admm"]
ERRORS = ["error", "held_out_error"]


def read(path):
    """{(pattern, method, order): {layer: (error, held-out error)}}, patterns in file order."""
    found = defaultdict(dict)
    with open(path, newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            key = row["pattern"], row["method"], row["order"]
            found[key][row["layer"]] = tuple(float(row[name]) for name in ERRORS)
    return found


def mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values))


def errors_table(found, patterns, which):
    print(f"\n{ERRORS[which]}, geometric mean over layers: own order / permuted\n")
    print("| pattern | " + " | ".join(METHODS) + " |")
    print("|" + "---|" * (len(METHODS) + 1))
    for pattern in patterns:
        cells = []
        for method in METHODS:
            own, permuted = (
                mean([e[which] for e in found[pattern, method, order].values()])
                for order in ("identity", "permuted")
            )
            cells.append(f"{own:.3f} / {permuted:.3f}")
        print(f"| `{pattern}` | " + " | ".join(cells) + " |")


def wins(found, pattern, better, worse, which):
    """Layers of which `better`'s error is below `worse`'s; both are (method, order)."""
    a, b = found[(pattern, *better)], found[(pattern, *worse)]
    return sum(a[layer][which] < b[layer][which] for layer in a), len(a)


def wins_table(found, patterns, pairs):
    print("\nlayers in which the first is better: calibration, held-out\n")
    print("| pattern | " + " | ".join(f"{a[0]} {a[1]} < {b[0]} {b[1]}" for a, b in pairs) + " |")
    print("|" + "---|" * (len(pairs) + 1))
    for pattern in patterns:
        cells = []
        for a, b in pairs:
            (seen, layers), (held, _) = (wins(found, pattern, a, b, w) for w in (0, 1))
            cells.append(f"{seen}, {held} of {layers}")
        print(f"| `{pattern}` | " + " | ".join(cells) + " |")


def ratios(found, pattern, a, b, which=0):
    x, y = found[(pattern, *a)], found[(pattern, *b)]
    values = sorted(x[layer][which] / y[layer][which] for layer in x)
    return mean(values), values[0], values[-1]


def ratios_table(found, patterns, pairs):
    print("\nratio of errors, calibration: geometric mean (least to largest)\n")
    print("| pattern | " + " | ".join(f"{a[0]} {a[1]} / {b[0]} {b[1]}" for a, b in pairs) + " |")
    print("|" + "---|" * (len(pairs) + 1))
    for pattern in patterns:
        cells = ["{:.3f} ({:.3f} to {:.3f})".format(*ratios(found, pattern, a, b)) for a, b in pairs]
        print(f"| `{pattern}` | " + " | ".join(cells) + " |")


def main(path):
    found = read(path)
    patterns = list(dict.fromkeys(pattern for pattern, _, _ in found))
    own = [(method, "identity") for method in METHODS]
    for which in (0, 1):
        errors_table(found, patterns, which)
    steps = [(b, a) for a, b in zip(own, own[1:])]
    wins_table(found, patterns, steps)
    same = [((method, "permuted"), (method, "identity")) for method in METHODS]
    wins_table(found, patterns, same)
    obs, magnitude = ("obs", "identity"), ("magnitude", "identity")
    ratios_table(found, patterns, [(obs, magnitude), (("admm", "identity"), magnitude)] + same[3:])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
