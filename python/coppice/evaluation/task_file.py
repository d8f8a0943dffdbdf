"""A task of the user's own: one JSON object a line, or a folder of images."""

import json
from pathlib import Path

from ..models.images import image_files

# kind -> what each of its lines has. The first that fits the first line counts.
KEYS = {
    "similarity": ("text", "text_pair", "score"),
    "choice": ("text", "choices", "answer"),
    "classification": ("text", "label"),
    "tokens": ("tokens", "labels"),
    "images": ("image", "label"),
    "retrieval": ("query", "document"),
}


def read_task(path):
    """(kind, rows). A folder has a folder of images for each label; images of lines are named from the file's folder on."""
    path = Path(path)
    if path.is_dir():
        return "images", images_of(path)
    rows = list(read_lines(path))
    kinds = [kind for kind, keys in KEYS.items() if rows and has(rows[0][1], keys)]
    if not kinds:
        wanted = "; ".join(" and ".join(f'"{key}"' for key in keys) for keys in KEYS.values())
        raise ValueError(f"'{path}': needs lines that have one of: {wanted}")
    for number, row in rows:
        if not has(row, KEYS[kinds[0]]):
            raise ValueError(f"'{path}', line {number}: needs {' and '.join(KEYS[kinds[0]])}, as the first line has")
    if kinds[0] == "images":
        return "images", [dict(row, image=path.parent / row["image"]) for _, row in rows]
    return kinds[0], [row for _, row in rows]


def has(row, keys):
    return isinstance(row, dict) and all(key in row for key in keys)


def read_lines(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise ValueError(f"'{path}', line {number}: not JSON: {error}") from None


def images_of(folder):
    rows = [{"image": image, "label": label.name} for label in sorted(folder.iterdir()) if label.is_dir() for image in image_files(label)]
    if not rows:
        raise ValueError(f"'{folder}': needs a folder of images for each label")
    return rows
