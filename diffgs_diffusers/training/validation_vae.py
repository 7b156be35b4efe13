"""What a VAE in training makes of objects: PSNR of reconstructions, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..cameras import orbit_cameras
from ..extraction import EmptySurfaceError, gaussians_at, reconstruct_gaussians
from ..functional.image_metrics import psnr
from ..gaussians import GaussianSplats
from ..models.autoencoder_gaussian import GaussianVAE

WHITE = (1.0, 1.0, 1.0)


def validate_vae(
    vae: GaussianVAE,
    objects: Sequence[GaussianSplats],
    num_gaussians: int = 8192,
    size: int = 128,
    sheet_path: Path | None = None,
) -> dict[str, float]:
    """Renders objects, their attributes at the true centres and their extraction, and compares, in full precision.

    Args:
        vae: in eval mode.
        objects: fitted objects, on the CPU.
        num_gaussians: Gaussians extracted.
        size: pixels of the renders.
        sheet_path: PNG with a row an object: fitted, attributes at true centres, extracted.

    Returns:
        mean PSNR in dB as ``psnr_centers`` and ``psnr_extracted``; an object without any surface counts as the
        empty image that it is.
    """
    # The trainer validates under autocast, but half precision cannot place points finely enough.
    with torch.autocast(vae.device.type, enabled=False):
        return _validate(vae, objects, num_gaussians, size, sheet_path)


def _validate(
    vae: GaussianVAE, objects: Sequence[GaussianSplats], num_gaussians: int, size: int, sheet_path: Path | None
) -> dict[str, float]:
    cameras = orbit_cameras(4, size)
    rows, centers, extracted = [], [], []
    for splats in objects:
        target = splats.render(cameras, background=WHITE)[..., :3]
        planes = vae.decode(vae.encode(splats).latent_dist.mode()).planes[0]
        recolored = (
            gaussians_at(vae, planes, splats.means.to(planes.device))
            .to("cpu")
            .render(cameras, background=WHITE)[..., :3]
        )
        try:
            result = reconstruct_gaussians(vae, splats, num_gaussians)
            rebuilt = result.to("cpu").render(cameras, background=WHITE)[..., :3]
        except EmptySurfaceError:
            rebuilt = torch.ones_like(target)
        centers.append(psnr(recolored, target).mean())
        extracted.append(psnr(rebuilt, target).mean())
        rows.append(torch.cat([target[0], recolored[0], rebuilt[0], target[2], rebuilt[2]], dim=1))
    if sheet_path is not None:
        save_image(torch.cat(rows, dim=0), sheet_path)
    return {
        "psnr_centers": float(torch.stack(centers).mean()),
        "psnr_extracted": float(torch.stack(extracted).mean()),
    }


def save_image(image: Tensor, path: Path) -> None:
    """Writes [H, W, 3] in [0, 1] as PNG."""
    pixels = (image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
