"""Errors of pictures: what Gaussians that functions describe look like beside the object itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from ..data.object_views import random_camera
from ..extraction import drawn_gaussians
from ..extraction_settings import ExtractionConfig
from ..functional.plane_lookup import cell_by_cell
from ..functional.spacing import coarse_spacing, even_spacing
from ..gaussians import GaussianSplats
from ..models.autoencoder_gaussian import GaussianVAE
from ..surface_points import EmptySurfaceError, surface_points
from .validation_vae import WHITE

_WHITE_SHARE = 0.7  # of the backgrounds; the rest has a random colour, on which what is transparent shows
_LEAST_ERROR = 1e-5  # mean squared, i.e. 50 dB: objects that are good already must not rule


def random_background(generator: np.random.Generator) -> tuple[float, ...]:
    """White, or any colour."""
    return WHITE if generator.random() < _WHITE_SHARE else tuple(generator.random(3).tolist())


def log_error(pictures: Tensor, references: Tensor) -> Tensor:
    """Logarithm of the mean squared error, as a number: what everybody reports is PSNR."""
    return ((pictures - references).square().mean() + _LEAST_ERROR).log()


@dataclass(frozen=True)
class PictureSampling:
    """What pictures are drawn to compare them.

    Args:
        counts: numbers of Gaussians, in turns, so that what is learned from pictures holds for all of them. Large
            ones have more to learn, as their Gaussians share what they cover.
        size: pixels a side.
        num_views: pictures a step, each from a side and on a background of its own.
        num_followed: Gaussians whose gradients are followed, of those that are seen. All are drawn, and others'
            gradients would say the same.
    """

    counts: tuple[int, ...] = (50_000, 350_000, 350_000, 350_000)
    size: int = 256
    num_views: int = 2
    num_followed: int = 32_768

    def __post_init__(self) -> None:
        if not self.counts or min(*self.counts, self.size, self.num_views, self.num_followed) < 1:
            raise ValueError(f"All numbers of a PictureSampling must be at least 1, got {self}.")


@dataclass(frozen=True)
class _Places:
    """Points of a surface and how far they lie apart, in object units."""

    means: Tensor
    spacing: Tensor
    coarse: Tensor

    def select(self, index: Tensor) -> _Places:
        return _Places(self.means[index], self.spacing[index], self.coarse[index])


class PictureObjective:
    """How far pictures of what planes describe are from an object's, with its gradient in the planes.

    Points stay where they were last searched for: GauPF, which says where, learns nothing from pictures.

    Args:
        vae: whose heads read the planes; its weights must not follow gradients.
        splats: the object.
        config: how surface is searched for and drawn.
        sampling: numbers of Gaussians and pictures.
    """

    def __init__(
        self,
        vae: GaussianVAE,
        splats: GaussianSplats,
        config: ExtractionConfig,
        sampling: PictureSampling,
    ) -> None:
        self.vae, self.config, self.sampling = vae, config, sampling
        self.splats = splats.to(_drawing_device(vae.device))
        self._places: list[_Places] = []
        self._turn = 0

    @torch.no_grad()
    def search(self, planes: Tensor, generator: torch.Generator) -> None:
        """Finds the points of planes [3, C, R, R] that the next pictures show; none where there is no surface."""
        planes, counts = cell_by_cell(planes.detach()), self.sampling.counts
        try:
            means = surface_points(self.vae, planes, max(counts), generator, self.config)
        except EmptySurfaceError:
            self._places = []
            return
        first = {count: means[:count] for count in counts}  # an even subset, too
        places = {count: _Places(some, even_spacing(some), coarse_spacing(some)) for count, some in first.items()}
        self._places = [places[count] for count in counts]

    def __call__(self, planes: Tensor, generator: np.random.Generator) -> Tensor:
        """The mean :func:`log_error` of a few pictures, 0 where no surface was found.

        Args:
            planes: [3, C, R, R] feature planes.
            generator: draws sides, backgrounds and the Gaussians that are followed.
        """
        if not self._places:
            return planes.new_zeros(())
        planes = cell_by_cell(planes)  # once, and not for every chunk of points
        places = self._places[self._turn % len(self._places)]
        self._turn += 1
        with torch.no_grad():
            drawn = self._drawn(planes, places)
        attributes = _attributes(drawn)
        with torch.enable_grad():
            for value in attributes.values():
                value.requires_grad_()
            error = self._error(drawn, generator)
            gradients = dict(zip(attributes, torch.autograd.grad(error, list(attributes.values())), strict=True))
        error = error.detach()
        if not planes.requires_grad:
            return error
        seen = gradients["opacities"].nonzero()[:, 0]
        followed = seen
        if len(seen) > self.sampling.num_followed:
            chosen = generator.choice(len(seen), self.sampling.num_followed, replace=False)
            followed = seen[torch.from_numpy(chosen).to(seen.device)]
        if len(followed) == 0:
            return error
        again = _attributes(self._drawn(planes, places.select(followed)))
        linear = torch.stack([(again[name] * value[followed]).sum() for name, value in gradients.items()]).sum()
        # The value is the error's, the gradient that of the Gaussians that are followed, for all that are seen.
        return error + (linear - linear.detach()) * (len(seen) / len(followed))

    def _drawn(self, planes: Tensor, places: _Places) -> GaussianSplats:
        return drawn_gaussians(self.vae, planes, places.means, places.spacing, self.config, places.coarse)

    def _error(self, drawn: GaussianSplats, generator: np.random.Generator) -> Tensor:
        drawn, errors = drawn.to(self.splats.device), []
        for _ in range(self.sampling.num_views):
            camera = random_camera(self.sampling.size, generator)
            background = random_background(generator)
            with torch.no_grad():
                picture = self.splats.render(camera, background=background)[..., :3]
            errors.append(log_error(drawn.render(camera, background=background)[..., :3], picture))
        return torch.stack(errors).mean()


def _drawing_device(device: torch.device) -> torch.device:
    """Where pictures are drawn: on a CUDA device only if gsplat is installed, which is optional."""
    return device if device.type == "cuda" and find_spec("gsplat") is not None else torch.device("cpu")


def _attributes(splats: GaussianSplats) -> dict[str, Tensor]:
    """What functions say of Gaussians, but where they are."""
    names = [field.name for field in fields(splats) if field.name != "means"]
    return {name: getattr(splats, name) for name in names if getattr(splats, name).numel()}
