"""Pruning a whole model, each block calibrated on the pruned output of the one before."""

from .methods import METHODS
from .run import PruneReport, prune

__all__ = ["METHODS", "PruneReport", "prune"]
