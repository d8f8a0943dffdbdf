"""Pruning a whole model, each layer calibrated on what the pruned layers before it give."""

from .methods import METHODS
from .run import PruneReport, prune

__all__ = ["METHODS", "PruneReport", "prune"]
