"""Checkpoints of the public DiffGS repository become models and pipelines of this package."""

from .checkpoint import CheckpointError
from .convert import ConversionReport, convert_checkpoint

__all__ = ["CheckpointError", "ConversionReport", "convert_checkpoint"]
