"""What pruning did to a model: quality on the user's own text or task, time, memory."""

from .run import evaluate

__all__ = ["evaluate"]
