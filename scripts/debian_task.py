#!/usr/bin/env python3
"""A retrieval task and a calibration text from the descriptions of Debian's packages.

    apt-get -o Acquire::Languages=en update
    /usr/lib/apt/apt-helper cat-file /var/lib/apt/lists/*_bookworm_main_i18n_Translation-en* > descriptions
    scripts/debian_task.py descriptions --task task.jsonl --text calibration.txt

The query is a package's short description, the document the first paragraph of its long one; the package's name is taken out of
both. Packages whose short description or first paragraph is another one's, too, and short paragraphs are left out. Packages of
the task give nothing to the calibration text. The choice is by --seed alone.
"""

import argparse
import collections
import json
import random
import re


def packages(path):
    """(name, short description, first paragraph)"""
    with open(path, encoding="utf-8") as file:
        for entry in file.read().split("\n\n"):
            name = re.search(r"^Package: (\S+)$", entry, re.M)
            found = re.search(r"^Description-en: (.*)\n((?: .*\n?)*)", entry, re.M)
            if name and found:
                paragraph = found[2].split("\n .\n")[0]
                yield name[1], found[1], " ".join(paragraph.split())


def without_name(text, name):
    """The package's name and its parts of three letters or more give the answer away."""
    for part in sorted({name, *(p for p in re.split(r"[-.+\d]+", name) if len(p) > 2)}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "", text, flags=re.I)
    return " ".join(text.split())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("descriptions", help="an uncompressed Translation-en file")
    parser.add_argument("--task", default="task.jsonl", help="(default: %(default)s)")
    parser.add_argument("--text", default="calibration.txt", help="(default: %(default)s)")
    parser.add_argument("--train", metavar="FILE", help="the other packages as lines like the task's, to train on")
    parser.add_argument("--queries", type=int, default=2000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    args = parser.parse_args()

    rows = [(without_name(short, name), without_name(first, name)) for name, short, first in packages(args.descriptions)]
    queries, documents = (collections.Counter(row[i] for row in rows) for i in (0, 1))
    alone = [row for row in rows if queries[row[0]] == 1 and documents[row[1]] == 1 and len(row[0]) >= 20 and len(row[1]) >= 120]
    random.Random(args.seed).shuffle(alone)
    if len(alone) < 2 * args.queries:
        parser.error(f"{len(alone)} packages are usable, needed are {2 * args.queries}: half of them for the text")
    for path, rows in ((args.task, alone[: args.queries]), (args.train, alone[args.queries :])):
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(json.dumps({"query": query, "document": document}) + "\n" for query, document in rows)
    with open(args.text, "w", encoding="utf-8") as file:
        file.writelines(f"{query}\n{document}\n" for query, document in alone[args.queries :])
    print(f"{args.task}: {args.queries} queries; {args.text}: {len(alone) - args.queries} packages")


if __name__ == "__main__":
    main()
