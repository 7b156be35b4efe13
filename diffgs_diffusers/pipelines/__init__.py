"""Pipelines: from conditions to Gaussian objects."""

from .pipeline_diffgs import DiffGSPipeline
from .pipeline_output import DiffGSPipelineOutput

__all__ = ["DiffGSPipeline", "DiffGSPipelineOutput"]
