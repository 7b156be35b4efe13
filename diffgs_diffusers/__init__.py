"""3D Gaussian Splatting objects by latent diffusion over Gaussian functions, in the manner of diffusers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "GaussianSplats": "gaussians",
    "Cameras": "cameras",
    "orbit_cameras": "cameras",
    "sphere_cameras": "cameras",
    "load_splats": "io",
    "save_splats": "io",
    "rasterization": "rendering",
    "render": "rendering",
    "ConditionEncoder": "models",
    "DiffGSPriorTransformer": "models",
    "GaussianVAE": "models",
    "OriginalDDPMScheduler": "models",
    "OriginalGaussianVAE": "models",
    "UNet1DConditionModel": "models",
    "extract_gaussians": "extraction",
    "DiffGSPipeline": "pipelines",
    "DiffGSPipelineOutput": "pipelines",
    "default_checkpoint": "hub",
}
__all__ = [
    "Cameras",
    "ConditionEncoder",
    "DiffGSPipeline",
    "DiffGSPipelineOutput",
    "DiffGSPriorTransformer",
    "GaussianSplats",
    "GaussianVAE",
    "OriginalDDPMScheduler",
    "OriginalGaussianVAE",
    "UNet1DConditionModel",
    "__version__",
    "default_checkpoint",
    "extract_gaussians",
    "load_splats",
    "orbit_cameras",
    "rasterization",
    "render",
    "save_splats",
    "sphere_cameras",
]

if TYPE_CHECKING:
    from .cameras import Cameras, orbit_cameras, sphere_cameras
    from .extraction import extract_gaussians
    from .gaussians import GaussianSplats
    from .hub import default_checkpoint
    from .io import load_splats, save_splats
    from .models import (
        ConditionEncoder,
        DiffGSPriorTransformer,
        GaussianVAE,
        OriginalDDPMScheduler,
        OriginalGaussianVAE,
        UNet1DConditionModel,
    )
    from .pipelines import DiffGSPipeline, DiffGSPipelineOutput
    from .rendering import rasterization, render


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for: ``import diffgs_diffusers`` alone stays fast."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
