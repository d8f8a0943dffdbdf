"""Sums of X^T X over the inputs X of linear layers, gathered by hooks."""

import collections
import weakref

import torch

from ..models.names import columns

# Tokens whose products are summed in fp32.
BLOCK_TOKENS = 512


class Sums:
    """What is known about one input."""

    def __init__(self, cols, device, with_gram):
        self.samples = 0
        shape = (cols, cols) if with_gram else (cols,)
        self.total = torch.zeros(shape, dtype=torch.float64, device=device)
        self.with_gram = with_gram
        self.cross = None  # X^T R, where there is a reference R

    def add(self, rows, reference=None):
        """rows: [tokens, cols] in fp32, on the device of the sums; reference: the same tokens in another model."""
        for part in rows.split(BLOCK_TOKENS):
            self.total += part.T @ part if self.with_gram else (part * part).sum(0)
        self.samples += rows.shape[0]
        if reference is not None:
            if self.cross is None:
                self.cross = torch.zeros_like(self.total)
            for part, other in zip(rows.split(BLOCK_TOKENS), reference.split(BLOCK_TOKENS)):
                self.cross += part.T @ other


class Hooks:
    """Forward hooks on linear layers, which call add(weight, x). Remove them with `remove`, or use a `with` block.

    modules: {weight: module}.
    """

    def __init__(self, modules):
        self.handles = [
            module.register_forward_pre_hook(self._hook(weight), with_kwargs=True) for weight, module in modules.items()
        ]

    def remove(self):
        for handle in self.handles:
            handle.remove()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def _hook(self, weight):
        def hook(_module, args, kwargs):
            self.add(weight, args[0] if args else next(iter(kwargs.values())))

        return hook


class Recorder(Hooks):
    """Keeps the inputs of one forward pass: {weight: [x of each call]}."""

    def __init__(self, modules):
        self.inputs = collections.defaultdict(list)
        super().__init__(modules)

    def add(self, weight, x):
        self.inputs[weight].append(x.detach())


class Gatherer(Hooks):
    """Sums up the inputs of linear layers; layers that are fed by the same tensor share one sum."""

    def __init__(self, modules, device, with_gram=True, sharing=True):
        self.device, self.with_gram, self.sharing = device, with_gram, sharing
        self.cols = {weight: columns(module) for weight, module in modules.items()}
        self.leader = {}  # weight -> the weight after which its input is called
        self.calls = collections.Counter()
        self.recent = []  # tensors of this forward pass that may come again: (ref, version, leader)
        self.sums = {}  # set -> {leader: Sums}
        self.current, self.mask, self.reference = {}, None, None
        super().__init__(modules)

    def begin(self, which, mask=None, reference=None):
        """Starts a forward pass whose samples belong to the set `which`.

        mask [batch, tokens]: 0 where a token only fills up. reference: what a Recorder kept of the same batch in another model, of
        which the products with this one's inputs are summed, too.
        """
        self.current = self.sums.setdefault(which, {})
        self.recent, self.mask, self.reference = [], mask, reference

    def pause(self):
        """Until `begin`, nothing is summed."""
        self.current = None

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

    def add(self, weight, x):
        if self.current is None:
            return
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
        cols = self.cols[weight]
        other = None if self.reference is None else self._rows(self.reference[weight].pop(0), cols)
        self.current[weight].add(self._rows(x, cols), other)
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

    def sums_of(self, weight, which="calibration"):
        """Sums of a weight's input, or None if there was none."""
        sums = self.sums.get(which, {}).get(self.leader.get(weight))
        return None if sums is None or sums.samples == 0 else sums

    def of(self, weight, which="calibration"):
        """(Gram matrix or None, sums of squares, samples) of a weight's input as float64 NumPy arrays; None: never called."""
        sums = self.sums_of(weight, which)
        if sums is None:
            return None
        total = sums.total.cpu().numpy()
        gram = (total + total.T) / 2 if sums.with_gram else None
        square_sums = total if gram is None else gram.diagonal().copy()
        if not (square_sums < float("inf")).all():
            raise RuntimeError(f"an input of '{weight}' is not a number, or too large for fp32 products")
        return gram, square_sums, sums.samples
