"""What pipelines return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput

from ..gaussians import GaussianSplats


@dataclass
class DiffGSPipelineOutput(BaseOutput):
    """
    Args:
        gaussians: the batch. By ``output_type``: "gaussians" is a list of B objects of N Gaussians, world frame;
            "np" an array and "pt" a tensor [B, N, 11 + 3K], columns as in ``GaussianSplats.to_tensor``; "latent"
            the normalised latents [B, C, L].
    """

    gaussians: list[GaussianSplats] | np.ndarray | torch.Tensor


def to_output_type(objects: list[GaussianSplats], output_type: str) -> Any:
    """A batch of equally large objects as ``output_type`` "gaussians", "np" or "pt" says."""
    if output_type == "gaussians":
        return objects
    batch = torch.stack([splats.to_tensor() for splats in objects])
    return batch.cpu().numpy() if output_type == "np" else batch
