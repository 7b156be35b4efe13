"""Crowded Gaussians beside their objects: what the head that shares opacity is taught on, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..cameras import Cameras, orbit_cameras
from ..data.dataset import GaussianObjectDataset
from ..data.object_views import random_camera
from ..extraction import ExtractionConfig, extract_gaussians, keep_glass, reconstruct_gaussians, share_crowded
from ..functional.image_metrics import psnr
from ..functional.spacing import coarse_spacing, even_spacing
from ..gaussians import GaussianSplats
from ..io.atomic import atomic_write
from ..models import GaussianVAE
from .objectives_pictures import log_error, random_background
from .sampling import SampleKey
from .validation_vae import WHITE

_AROUND = ("planes", "spacing", "coarse")  # what is kept beside the Gaussians themselves


@dataclass(frozen=True)
class CrowdedSample:
    """One object's Gaussians as its functions describe them, and a picture of what they should look like.

    Args:
        planes: [3, C, R, R] decoded feature planes.
        splats: N extracted, before crowded ones share their opacity.
        spacing: [N] of their centres, by :func:`~diffgs_diffusers.functional.spacing.even_spacing`, object units.
        coarse: [N] as :func:`~diffgs_diffusers.functional.spacing.coarse_spacing` has it, object units.
        camera: one.
        background: RGB.
        picture: [1, H, W, 3], the fitted object from that camera.
    """

    planes: Tensor
    splats: GaussianSplats
    spacing: Tensor
    coarse: Tensor
    camera: Cameras
    background: tuple[float, ...]
    picture: Tensor

    def to(self, device: Any) -> CrowdedSample:
        """The sample on another device."""
        moved = {
            name: getattr(self, name).to(device) for name in ("planes", "splats", "spacing", "coarse", "picture")
        }
        return replace(self, **moved)


class CrowdedSets(torch.utils.data.Dataset):
    """Samples of a split's objects at several counts; an extraction takes seconds, so it is kept in a folder.

    Args:
        objects: the fitted objects.
        vae: that they are extracted from.
        counts: of Gaussians, one of which is drawn for each sample; one that comes twice is drawn more often.
        folder: where extracted Gaussians are kept, for this VAE alone.
        size: pixels a side of the pictures.
    """

    def __init__(
        self, objects: GaussianObjectDataset, vae: GaussianVAE, counts: Sequence[int], folder: Path, size: int
    ) -> None:
        self.objects, self.vae, self.counts, self.folder, self.size = objects, vae, tuple(counts), folder, size

    def __len__(self) -> int:
        return len(self.objects)

    @torch.no_grad()
    def __getitem__(self, key: SampleKey) -> CrowdedSample:
        generator = np.random.default_rng(key.seed)
        count = self.counts[int(generator.integers(len(self.counts)))]
        fitted = self.objects.splats(key.index)
        path = self.folder / str(count) / f"{self.objects.records[key.index].id}.safetensors"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as stream:
                stream.write(save(self._extracted(fitted, count)))
        stored = load_file(path)
        planes, spacing, coarse = (stored.pop(name) for name in _AROUND)
        camera = random_camera(self.size, generator)
        background = random_background(generator)
        picture = fitted.render(camera, background=background)[..., :3]
        return CrowdedSample(planes, GaussianSplats(**stored), spacing, coarse, camera, background, picture)

    def _extracted(self, fitted: GaussianSplats, count: int) -> dict[str, Tensor]:
        """An object's planes, its Gaussians before they share, and how far these lie apart."""
        planes = self.vae.decode(self.vae.encode(fitted).latent_dist.mode()).planes[0]
        splats = extract_gaussians(self.vae, planes, count, config=ExtractionConfig(finest_spacing=0))
        around = zip(_AROUND, (planes, even_spacing(splats.means), coarse_spacing(splats.means)), strict=True)
        fields = {name: value for name, value in vars(splats).items() if isinstance(value, Tensor)}
        return {name: value.cpu().contiguous() for name, value in (fields | dict(around)).items()}

    def some_features(self, num_objects: int, num_points: int, seed: int) -> Tensor:
        """[≤ num_objects · num_points, F] what the planes hold at Gaussians of random objects."""
        rows = []
        for index in np.random.default_rng(seed).permutation(len(self))[:num_objects].tolist():
            sample = self[SampleKey(index, seed)]
            rows.append(self.vae.heads.features(sample.planes[None], sample.splats.means[None, :num_points])[0])
        return torch.cat(rows)


def functions_digest(vae: GaussianVAE) -> str:
    """SHA-256 of all weights but the sharing head's, on which what is extracted before it depends."""
    digest = hashlib.sha256()
    for name, value in sorted(vae.state_dict().items()):
        if not name.startswith("sharing."):
            digest.update(name.encode() + value.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


class SharingTrainee(nn.Module):
    """A VAE of which only the sharing head is trained.

    Args:
        vae: with a sharing head.
        finest_spacing: in cells of the planes, as extraction will be told.
        neighbours_only: train the network that does not look at the planes, alone.

    Raises:
        ValueError: if it has none.
    """

    def __init__(self, vae: GaussianVAE, finest_spacing: float, neighbours_only: bool = False) -> None:
        super().__init__()
        self.finest_spacing = finest_spacing
        if vae.sharing is None:
            raise ValueError("The VAE has no sharing head: its configuration says `sharing_channels=0`.")
        self.vae = vae.requires_grad_(False)
        vae.sharing.requires_grad_(True)
        vae.sharing.from_planes.requires_grad_(not neighbours_only)

    def forward(self, sample: CrowdedSample) -> GaussianSplats:
        """The sample's Gaussians as they are drawn."""
        shared = share_crowded(
            self.vae, sample.planes, sample.splats, sample.spacing, self.finest_spacing, coarse=sample.coarse
        )
        return keep_glass(shared, sample.splats.opacities)

    def save_pretrained(self, folder: str) -> None:
        """The whole VAE."""
        self.vae.save_pretrained(folder)


def sharing_loss(model: nn.Module, batch: Sequence[CrowdedSample]) -> dict[str, Tensor]:
    """Mean logarithm of the pictures' squared error: what everybody reports is PSNR."""
    errors, ratios = [], []
    for sample in batch:
        drawn = model(sample).render(sample.camera, background=sample.background)[..., :3]
        errors.append(log_error(drawn, sample.picture))
        ratios.append(psnr(drawn.detach(), sample.picture).mean())
    return {"loss": torch.stack(errors).mean(), "psnr": torch.stack(ratios).mean()}


def validate_sharing(
    model: SharingTrainee, objects: Sequence[GaussianSplats], counts: Sequence[int], size: int
) -> dict[str, float]:
    """Mean PSNR in dB of reconstructions with each count of Gaussians, from four sides on white."""
    cameras, config = orbit_cameras(4, size), ExtractionConfig(finest_spacing=model.finest_spacing)
    results = {}
    for count in dict.fromkeys(counts):
        values = []
        for splats in objects:
            target = splats.render(cameras, background=WHITE)[..., :3]
            drawn = reconstruct_gaussians(model.vae, splats, count, config=config).to("cpu")
            pictures = drawn.render(cameras, background=WHITE)[..., :3]
            values.append(psnr(pictures, target).mean())
        results[f"psnr_{count}"] = float(torch.stack(values).mean())
    return results
