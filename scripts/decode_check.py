#!/usr/bin/env python3
"""Judges products of few tokens from the CSV files of `coppice bench --device cuda`.

  decode_check.py steps CSV...            does a token more ever cost too much?
  decode_check.py peers CSV... --peers P  ratios to the times of other libraries at few tokens (bench/peer_times.csv)
  decode_check.py goals CSV...            bandwidths and ratios against floors and targets

`steps` needs rows of consecutive numbers of tokens. Up to 64 tokens a token more may cost 10 %; above, 25 %, or as much as it costs
the dense product. It exits with 1 if one costs more; the others only print.
"""
import argparse
import csv
import math
import sys
from collections import defaultdict

FEW_TOKENS = 64
FEW_STEP = 1.10
MORE_STEP = 1.25

# (rows, cols): pattern -> floor and target of the ratio to dense fp16, one token.
RATIOS = {
    (28672, 8192): {"2:4": (1.55, 1.8), "4:8": (1.55, 1.8), "2:8": (2.9, 3.4), "64:2:8": (2.9, 3.4), "2:16": (5, 6.3),
                    "vw32/8:32": (3.4, 4)},
    (14336, 4096): {"2:4": (1.6, 2.0), "4:8": (1.6, 2.0), "2:8": (2.6, 3.3), "64:2:8": (2.6, 3.3), "2:16": (4, 5.5),
                    "vw32/8:32": (2.8, 3.6)},
}
# Least own bytes -> floor and target of the share of the streaming ceiling, one token.
BANDWIDTHS = [(64e6, 0.82, 0.92), (16e6, 0.68, 0.85), (4e6, 0.40, 0.65)]
# 64 tokens, (rows, cols): pattern -> the same of the ratio.
RATIOS_64 = {(28672, 8192): {"2:8": (1.6, 2.5), "64:2:8": (1.6, 2.5)}}
# The ratio at 16 tokens over that at 1.
SHARE_16 = 0.9
PEERS = (1.5, 2.2)


def fail(text):
    sys.exit(f"decode_check: {text}")


def read(files):
    rows = []
    for file in files:
        try:
            with open(file, newline="", encoding="utf-8") as lines:
                rows += csv.DictReader(line for line in lines if not line.startswith("#"))
        except OSError as error:
            fail(f"cannot read {file}: {error.strerror}")
    if not rows:
        fail("no results in " + ", ".join(files))
    missing = {"pattern", "dtype", "tokens", "cols", "rows", "us"} - set(rows[0])
    if missing:
        fail(f"{files[0]} has no column {', '.join(sorted(missing))}: not a file of coppice bench --device cuda")
    for row in rows:
        for name in ("tokens", "cols", "rows"):
            row[name] = int(row[name])
        for name in ("us", "dense_us", "ratio", "own_bytes", "stream_fraction", "own_tb_s"):
            row[name] = float(row.get(name) or 0)
        if row.get("check", "ok") != "ok":
            fail(f"a product was wrong: {row['pattern']} {row['rows']}x{row['cols']}, {row['tokens']} tokens")
    return rows


def product_of(row):
    return row["pattern"], row["dtype"], row.get("layout", ""), row["rows"], row["cols"]


def name_of(row):
    layout = f" {row['layout']}" if row.get("layout") else ""
    return f"{row['pattern']} {row['dtype']}{layout} {row['rows']}x{row['cols']}"


def verdict(value, floor, target):
    return "target" if value >= target else "floor" if value >= floor else "MISSED"


def step_of(before, after):
    """Cost of a token more, and what is allowed."""
    if after["tokens"] <= FEW_TOKENS:
        allowed = FEW_STEP
    else:
        dense = after["dense_us"] / before["dense_us"] if before["dense_us"] > 0 else 0
        allowed = max(MORE_STEP, dense)
    return after["us"] / before["us"], allowed


def steps(arguments):
    products = defaultdict(dict)
    for row in read(arguments.csv):
        products[product_of(row)][row["tokens"]] = row
    passed, found = True, 0
    for times in products.values():
        pairs = [(times[t], times[t + 1]) for t in sorted(times) if t + 1 in times]
        name = name_of(next(iter(times.values())))
        gaps = len(times) - 1 - len(pairs)
        for title, chosen in (("up to 64 tokens", [p for p in pairs if p[1]["tokens"] <= FEW_TOKENS]),
                              ("above", [p for p in pairs if p[1]["tokens"] > FEW_TOKENS])):
            if not chosen:
                continue
            found += len(chosen)
            largest = max(chosen, key=lambda pair: step_of(*pair)[0])
            broken = [pair for pair in chosen if step_of(*pair)[0] > step_of(*pair)[1]]
            passed = passed and not broken
            cost, allowed = step_of(*largest)
            print(f"{'FAIL' if broken else 'pass'}  {name}, {title}: {len(chosen)} steps, largest {100 * (cost - 1):+.1f} % "
                  f"({largest[0]['us']:.2f} us at {largest[0]['tokens']}, {largest[1]['us']:.2f} us at {largest[1]['tokens']}; "
                  f"allowed {100 * (allowed - 1):.0f} %)")
            for before, after in broken:
                cost, allowed = step_of(before, after)
                print(f"        {before['tokens']} -> {after['tokens']} tokens: {100 * (cost - 1):+.1f} %, allowed "
                      f"{100 * (allowed - 1):.0f} %  ({before.get('kernel', '')} -> {after.get('kernel', '')})")
        if gaps:
            print(f"note  {name}: {gaps} gaps between the numbers of tokens, not judged")
    if found == 0:
        fail("no two consecutive numbers of tokens: measure 1 to 72")
    return 0 if passed else 1


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def peers(arguments):
    ours = {}
    for row in read(arguments.csv):
        key = row["pattern"], row["dtype"], row["tokens"], row["cols"], row["rows"]
        ours[key] = min(row["us"], ours.get(key, math.inf))
    ratios, missing = defaultdict(list), []
    for peer in read([arguments.peers]):
        if peer["tokens"] > FEW_TOKENS:
            continue
        key = peer["pattern"], peer["dtype"], peer["tokens"], peer["cols"], peer["rows"]
        if key not in ours:
            missing.append(f"{peer['name']} {peer['pattern']}")
            continue
        ratio = peer["us"] / ours[key]
        ratios[peer["peer"], peer["pattern"]].append(ratio)
        print(f"{peer['name']:>4} {peer['pattern']:>6} {peer['dtype']} cols {peer['cols']:>5} rows {peer['rows']:>5}: "
              f"{ours[key]:7.2f} us, {peer['peer']} {peer['us']:6.1f} us, {ratio:5.2f}x")
    for (peer, pattern), values in ratios.items():
        print(f"{peer} {pattern}: {mean(values):.2f}x (geometric mean of {len(values)}, least {min(values):.2f}x)")
    if missing:
        print(f"not measured: {', '.join(missing)}")
    if ratios:
        everything = mean([value for values in ratios.values() for value in values])
        print(f"all: {everything:.2f}x; floor {PEERS[0]}, target {PEERS[1]}: {verdict(everything, *PEERS)}"
              f"{' (of a part)' if missing else ''}")
    return 0


def goals(arguments):
    rows = [row for row in read(arguments.csv) if row["dtype"] in ("F16", "BF16")]

    def judge(row, what, value, floor, target):
        print(f"{verdict(value, floor, target):<6}  {name_of(row)}, {what}: {value:.2f} (floor {floor:.2f}, target {target:.2f})")

    at_one = {product_of(row): row for row in rows if row["tokens"] == 1}
    for row in rows:
        shape = row["rows"], row["cols"]
        if row["tokens"] == 1:
            for least, floor, target in BANDWIDTHS:
                if row["own_bytes"] >= least:
                    judge(row, f"{row['own_bytes'] / 1e6:.0f} MB, 1 token, share of the streaming ceiling",
                          row["stream_fraction"], floor, target)
                    break
            if row["pattern"] in RATIOS.get(shape, {}):
                judge(row, "1 token, ratio to dense", row["ratio"], *RATIOS[shape][row["pattern"]])
        elif row["tokens"] == 16 and at_one.get(product_of(row), {}).get("ratio"):
            judge(row, "ratio at 16 tokens over that at 1", row["ratio"] / at_one[product_of(row)]["ratio"], SHARE_16, SHARE_16)
        elif row["tokens"] == 64 and row["pattern"] in RATIOS_64.get(shape, {}):
            judge(row, "64 tokens, ratio to dense", row["ratio"], *RATIOS_64[shape][row["pattern"]])
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("steps", steps), ("peers", peers), ("goals", goals)):
        command = commands.add_parser(name)
        command.add_argument("csv", nargs="+", metavar="CSV")
        command.set_defaults(run=run)
        if name == "peers":
            command.add_argument("--peers", required=True, metavar="FILE")
    arguments = parser.parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
