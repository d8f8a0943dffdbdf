"""A CSV file of what happened at which step."""

import csv
import os
from pathlib import Path


class CsvLog:
    """Rows by column; a new column rewrites the file. `keep` drops the rows behind a step: those that a resumed run makes again."""

    def __init__(self, path):
        self.path, self.columns, self.rows = Path(path), [], []
        if self.path.is_file():
            with open(self.path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                self.rows, self.columns = list(reader), list(reader.fieldnames or [])

    def keep(self, step):
        self.rows = [row for row in self.rows if int(row["step"]) <= step]
        self._rewrite()

    def add(self, **row):
        new = [name for name in row if name not in self.columns]
        self.rows.append(row)
        if new:
            self.columns += new
            self._rewrite()
        else:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    def _rewrite(self):
        unfinished = f"{self.path}.tmp-{os.getpid()}"
        with open(unfinished, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(unfinished, self.path)
