"""Statistics of a model's inputs: what the pruning methods know about the data (docs/statistics.md)."""

from .run import CalibrationReport, calibrate

__all__ = ["CalibrationReport", "calibrate"]
