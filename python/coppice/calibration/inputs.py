"""Sums of X^T X over the inputs X of linear layers, gathered by hooks."""

import collections
import weakref

import torch

# Tokens whose products are summed in fp32.
BLOCK_TOKENS = 512


class Sums:
    """What is known about one input."""

    def __init__(self, cols, device, with_gram):
        self.samples = 0
        shape = (cols, cols) if with_gram else (cols,)
        self.total = torch.zeros(shape, dtype=torch.float64, device=device)
        self.with_gram = with_gram

    def add(self, rows):
        """rows: [tokens, cols] in fp32, on the device of the sums."""
        for part in rows.split(BLOCK_TOKENS):
            self.total += part.T @ part if self.with_gram else (part * part).sum(0)
        self.samples += rows.shape[0]


class Gatherer:
    """Forward hooks on linear layers that sum up their inputs; layers that are fed by the same tensor share one sum.

    modules: {weight: (module, cols)}. Remove the hooks with `remove`, or use it in a `with` block.
    """

    def __init__(self, modules, device, with_gram=True, sharing=True):
        self.device, self.with_gram, self.sharing = device, with_gram, sharing
        self.cols = {weight: cols for weight, (_, cols) in modules.items()}
        self.leader = {}  # weight -> the weight after which its input is called
        self.calls = collections.Counter()
        self.recent = []  # tensors of this forward pass that may come again: (ref, version, leader)
        self.sums = {}  # set -> {leader: Sums}
        self.current, self.mask = {}, None
        self.handles = [
            module.register_forward_pre_hook(self._hook(weight), with_kwargs=True)
            for weight, (module, _) in modules.items()
        ]

    def begin(self, which, mask=None):
        """Starts a forward pass whose samples belong to the set `which`. mask [batch, tokens]: 0 where a token only fills up."""
        self.current = self.sums.setdefault(which, {})
        self.recent, self.mask = [], mask

    def remove(self):
        for handle in self.handles:
            handle.remove()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def _hook(self, weight):
        def hook(_module, args, kwargs):
            self._add(weight, args[0] if args else next(iter(kwargs.values())))

        return hook

    def _seen_as(self, x):
        """The leader that was given this very tensor, unchanged since, in this forward pass."""
        self.recent = [entry for entry in self.recent if entry[0]() is not None]
        for ref, version, leader in self.recent:
            if ref() is x and version == x._version:
                return leader
        return None

    def _rows(self, x, cols):
        x = x.detach()
        if self.mask is not None and x.shape[:2] == self.mask.shape and x.dim() == 3:
            x = x[self.mask.to(x.device).bool()]
        return x.reshape(-1, cols).float()

    def _add(self, weight, x):
        self.calls[weight] += 1
        seen = self._seen_as(x) if self.sharing else None
        leader = self.leader.setdefault(weight, seen or weight)
        if leader != weight:
            if seen != leader:
                raise RuntimeError(
                    f"'{weight}' shared its input with '{leader}' before and does not now; use --no-sharing"
                )
            return
        if weight not in self.current:
            self.current[weight] = Sums(self.cols[weight], self.device, self.with_gram)
        self.current[weight].add(self._rows(x, self.cols[weight]))
        if self.sharing:
            self.recent.append((weakref.ref(x), x._version, weight))

    def check(self):
        for weight, leader in self.leader.items():
            if self.calls[weight] != self.calls[leader]:
                raise RuntimeError(
                    f"'{weight}' was called {self.calls[weight]} times and '{leader}', whose input it shares, "
                    f"{self.calls[leader]} times; use --no-sharing"
                )

    def weights(self):
        """{weight: input name}: an input is called after the first weight that it is fed to."""
        return {weight: leader + ".input" for weight, leader in self.leader.items()}

    def of(self, weight, which="calibration"):
        """(Gram matrix or None, sums of squares, samples) of a weight's input as float64 NumPy arrays; None: never called."""
        sums = self.sums.get(which, {}).get(self.leader.get(weight))
        if sums is None or sums.samples == 0:
            return None
        total = sums.total.cpu().numpy()
        gram = (total + total.T) / 2 if sums.with_gram else None
        square_sums = total if gram is None else gram.diagonal().copy()
        if not (square_sums < float("inf")).all():
            raise RuntimeError(f"an input of '{weight}' is not a number, or too large for fp32 products")
        return gram, square_sums, sums.samples
