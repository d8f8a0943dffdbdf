"""Pruned weights to a checkpoint directory."""

import tempfile
from pathlib import Path

from .. import _core


def write(model_dir, out_dir, patterns, pruned, orders, pack, **options):
    """out_dir appears complete or not at all. orders: Orders or None. What is reordered or packed is first written dense, beside it.
    Returns the WriteReport of the last step. options: include, exclude and threads."""
    if orders is None and not pack:
        return _core.prune_checkpoint(model_dir, out_dir, patterns, prune=pruned, **options)
    out_dir, threads = Path(out_dir), options["threads"]
    with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}.dense-", dir=out_dir.parent) as scratch:
        made = Path(scratch) / "dense"
        columns = {} if orders is None else orders.columns  # of weights that `pruned` prunes: it adds theirs
        written = _core.prune_checkpoint(model_dir, made, patterns, prune=pruned, input_permutations=columns, **options)
        if orders is not None and orders.folded:
            folded = Path(scratch) / "folded"
            written = _core.write_folded(made, folded, orders.folded, threads=threads)
            made = folded
        if pack:
            stored = {} if orders is None else orders.stored
            return _core.pack_checkpoint(made, out_dir, patterns, input_permutations=stored, **options)
        made.rename(out_dir)
        return written
