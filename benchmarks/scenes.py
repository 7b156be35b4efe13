"""Objects to draw and to write: closed spheres of flat Gaussians, of any number."""

from __future__ import annotations

import torch

from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.functional.spherical_harmonics import sh0_to_rgb
from diffgs_diffusers.gaussians import GaussianSplats
from tests.factories import sphere_splats

from .baselines.torch_rasterizer import TorchScene


def colorful_sphere(count: int, sh_degree: int = 0) -> GaussianSplats:
    """``count`` Gaussians in random order and random colours."""
    generator = torch.Generator().manual_seed(0)
    splats = sphere_splats(count).select(torch.randperm(count, generator=generator))
    bases = (sh_degree + 1) ** 2
    return GaussianSplats(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        torch.randn(count, 1, 3, generator=generator) * 0.5,
        torch.randn(count, bases - 1, 3, generator=generator) * 0.1,
    )


def sphere_scene(count: int, size: int) -> TorchScene:
    """The sphere from one camera that it nearly fills, ``size`` pixels square, with plain colours."""
    splats = colorful_sphere(count)
    cameras = orbit_cameras(1, size)
    return TorchScene(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        sh0_to_rgb(splats.sh0[:, 0]).clamp(0, 1),
        cameras.viewmats[0],
        cameras.Ks[0],
        size,
        size,
    )
