"""Orders of channels under which a pattern keeps more, and where they go: beside a packed weight, or into the layer before."""

import numpy as np

from .. import _core


def stores_order(pattern):
    """Whether a packed weight of this pattern is read through indices, into which an order goes."""
    return not pattern.is_dense and pattern.vec_rows > 1 and pattern.block_cols == 1


class Orders:
    """stored: {weight: order of its columns}; folded: {fold: order of its channels}; columns: {weight: order of its columns} of both."""

    def __init__(self, checkpoint, patterns, pack, seconds):
        self.pack, self.seconds = pack, seconds
        self.folds = {fold.consumer: fold for fold in _core.find_folds(checkpoint)
                      if fold.consumer in patterns and self._folds(fold, patterns)}
        self.stored, self.folded, self.columns = {}, {}, {}
        self._found = None

    def _folds(self, fold, patterns):
        """Whether the pattern's groups end where heads do, and the rows that move with the columns may have any order."""
        pattern = patterns[fold.consumer]
        others = [patterns[name] for name in fold.tensors if name in patterns and name != fold.consumer]
        return not (self.pack and stores_order(pattern)) and fold.head_channels % (pattern.group * pattern.block_cols) == 0 \
            and all(other.vec_rows == 1 for other in others)

    def find(self, weight, pattern, scores, options):
        """An order of the weight's columns under which the pattern keeps more of the scores, which are asked for if they are needed, or
        None. `keep` keeps it."""
        fold = self.folds.get(weight.name)
        stored = self.pack and stores_order(pattern)
        if not stored and (fold is None or weight.col_segments or weight.shape[1] != fold.copies * fold.size):
            return None
        block = options.block if options.method == "fisher" else None
        if stored:
            segments = segments_of(weight.shape[1], weight.col_segments, block, pattern)
            order = None if segments is None else self._search(scores(), pattern, weight.row_segments, segments, options)
            self._found = order, None
            return order
        # Of shared heads the columns are there once: they have to be whole blocks.
        if block is not None and fold.copies > 1 and fold.head_channels % block:
            return None
        segments = segments_of(fold.size, fold.segments, block, pattern)
        if segments is None:
            return None
        # Copies of a channel as rows of one column, since they get one order.
        copies = [np.take(scores(), fold.columns(copy), axis=1) for copy in range(fold.copies)]
        rows = (weight.row_segments or [weight.shape[0]]) * fold.copies if fold.copies > 1 else weight.row_segments
        channels = self._search(np.concatenate(copies), pattern, rows, segments, options)
        order = None if channels is None else fold.column_order(channels)
        self._found = order, channels
        return order

    def _search(self, scores, pattern, row_segments, col_segments, options):
        found = _core.find_input_permutation(scores, pattern, row_segments=row_segments, col_segments=col_segments,
                                             limit_seconds=self.seconds, threads=options.threads).permutation
        return None if np.array_equal(found, np.arange(len(found))) else found

    def keep(self, weight):
        """Keeps what `find` found of this weight: "stored" or "folded"."""
        order, channels = self._found
        self.columns[weight.name] = order
        if channels is None:
            self.stored[weight.name] = order
            return "stored"
        self.folded[self.folds[weight.name].name] = channels
        return "folded"


def segments_of(cols, col_segments, block, pattern):
    """What an order stays inside of; None: there can be none, since Fisher blocks end inside of groups."""
    return col_segments if block is None else _core.fisher_segments(cols, col_segments, block, pattern)
