"""What one latent space gives besides generation: objects as latents and back, and what lies between two."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..extraction_settings import PICTURE_STEPS, REFINEMENT_STEPS, check_count, default_extraction, find_extraction
from ..gaussians import GaussianSplats
from ..models import GaussianVAE
from . import inputs
from .context import read_objects
from .decoding import Extraction, Generators, complete_objects, decode_objects, mended_latents, object_generators
from .pipeline_output import DiffGSPipelineOutput
from .variation import encode_start, slerp


class LatentSpaceMixin(DiffusionPipeline):
    """Objects encoded, decoded and mixed by a pipeline that has a ``vae`` and a ``unet``."""

    def decode_latents(
        self,
        latents: Tensor,
        num_gaussians: int,
        generator: Generators = None,
        parts: Sequence[GaussianSplats] = (),
        extraction: Extraction = "even",
        mending_steps: int = 0,
    ) -> list[GaussianSplats]:
        """Objects of ``num_gaussians`` Gaussians each from normalised latents [B, C, L].

        Args:
            latents: of B objects.
            num_gaussians: N.
            generator: one, or one per object.
            parts: partial objects to begin with, P of them for B / P objects each; none if empty.
            extraction: as in :meth:`DiffGSPipeline.__call__`; what is added to parts is always spread evenly.
            mending_steps: as there.
        """
        inputs.check_count("mending_steps", mending_steps, minimum=0)
        if mending_steps:
            latents = mended_latents(self.vae, latents, mending_steps)
        generators = object_generators(generator, len(latents))
        if parts:
            return complete_objects(self.vae, latents, num_gaussians, generators, parts)
        return decode_objects(self.vae, latents, num_gaussians, generators, find_extraction(extraction))

    @torch.no_grad()
    def encode_objects(self, gaussians: Any, refinement_steps: int = 0, picture_steps: int = 0) -> Tensor:
        """Objects as the VAE knows them.

        Args:
            gaussians: :class:`GaussianSplats` or a path of a file of them, or a list, in a box of side 1 around the
                origin (up −y, front +z).
            refinement_steps: gradient steps that make the latents of each object better than the encoder's, by
                :func:`~diffgs_diffusers.latent_refinement.refine_latents`; 50 find most of what there is.
            picture_steps: steps that follow them and compare pictures, too; 40 find most.

        Returns:
            normalised latents [P, C, L], as ``gaussians`` and ``output_type="latent"`` of a call have them.

        Raises:
            TypeError, ValueError, OSError: saying what is wrong with an object, or with the number of steps.
        """
        for name, steps in _check_steps(refinement_steps, picture_steps).items():
            if steps and not isinstance(self.vae, GaussianVAE):
                raise ValueError(f"`{name}` are for a GaussianVAE, this is an {type(self.vae).__name__}.")
        objects = self._read_objects(gaussians)
        latents = encode_start(self.vae, objects)
        if refinement_steps or picture_steps:
            # Imported here: it brings what training samples are made of.
            from ..latent_refinement import refine_latents

            with self.progress_bar(total=len(objects) * (refinement_steps + picture_steps)) as bar:
                refined = [
                    refine_latents(self.vae, *pair, refinement_steps, picture_steps, on_step=bar.update)
                    for pair in zip(objects, latents, strict=True)
                ]
            latents = torch.stack(refined)
        return latents

    def _read_objects(self, gaussians: Any) -> list[GaussianSplats]:
        return read_objects("gaussians", gaussians, (1 + self.vae.config.padding) / 2)

    @torch.no_grad()
    def reconstruct(
        self,
        gaussians: Any,
        num_gaussians: int = 50_000,
        generator: Generators = None,
        extraction: Extraction | None = None,
        refinement_steps: int | None = None,
        picture_steps: int | None = None,
    ) -> list[GaussianSplats]:
        """Objects encoded and decoded, without diffusion: what the VAE keeps of them, in any number of Gaussians.

        Args:
            gaussians: as for :meth:`encode_objects`.
            num_gaussians: N, exact, for each object.
            generator: one, or one per object.
            extraction: as in :meth:`DiffGSPipeline.__call__`; None is "even", and "sharp" for refined latents.
            refinement_steps: as for :meth:`encode_objects`. None is 50: some seconds an object on a CPU, and a
                reconstruction about three decibels nearer to it; but 0 where the VAE cannot be refined.
            picture_steps: as for :meth:`encode_objects`. None is 40 where there are refinement steps, and 0 where
                there are none: most of a minute an object on a CPU, and one or two decibels.

        Raises:
            TypeError, ValueError, OSError: as for :meth:`encode_objects`.
            EmptySurfaceError: if an object has no surface.
        """
        inputs.check_count("num_gaussians", num_gaussians)
        if refinement_steps is None:
            refinement_steps = REFINEMENT_STEPS if isinstance(self.vae, GaussianVAE) else 0
        if picture_steps is None:
            picture_steps = PICTURE_STEPS if refinement_steps else 0
        _check_steps(refinement_steps, picture_steps)
        extraction = default_extraction(refinement_steps + picture_steps) if extraction is None else extraction
        check_count(num_gaussians, find_extraction(extraction))
        objects = self._read_objects(gaussians)
        inputs.check_generator(generator, len(objects))
        latents = self.encode_objects(objects, refinement_steps, picture_steps)
        return self.decode_latents(latents, num_gaussians, generator, extraction=extraction)

    def interpolate(
        self,
        first: Any,
        second: Any,
        num_objects: int = 5,
        *,
        strength: float = 0.6,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> DiffGSPipelineOutput | tuple[list[GaussianSplats] | Any]:
        """Objects on the way from one to another; the first and the last are variations of those two.

        Two objects are mixed as latents, and the mixture, noised up to ``strength`` with one noise for all, is made
        an object by the rest of the steps (DDPM, figure 8). Two seeds are noises, mixed along the sphere.

        Args:
            first, second: two objects as for :meth:`encode_objects`; or two seeds, integers, of generated ones.
            num_objects: how many objects, at least 2.
            strength: as in :meth:`__call__`; two seeds take none.
            generator: of the one noise for all; of two seeds, only of the Gaussians' places.
            options: further arguments of :meth:`__call__`, but no numbers of objects and nothing to begin with.

        Returns:
            as :meth:`__call__`, for ``num_objects`` objects.

        Raises:
            TypeError, ValueError: as :meth:`__call__`.
        """
        inputs.check_count("num_objects", num_objects)
        if num_objects < 2:
            raise ValueError(f"`num_objects` must be at least 2, the two ends, got {num_objects}.")
        seeds = [isinstance(end, Integral) and not isinstance(end, bool) for end in (first, second)]
        if any(seeds) and not all(seeds):
            raise TypeError("Pass two objects or two seeds to interpolate between, not one of each.")
        weights = [index / (num_objects - 1) for index in range(num_objects)]
        shape = (1, self.unet.config.in_channels, self.unet.config.sample_size)
        if all(seeds):
            begin, end = (
                torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in (first, second)
            )
            noise = torch.cat([slerp(begin, end, weight) for weight in weights])
            generator = generator or torch.Generator().manual_seed(int(first))
            return self(latents=noise, num_objects_per_prompt=num_objects, generator=generator, **options)
        begin, end = self.encode_objects(first), self.encode_objects(second)
        if len(begin) != 1 or len(end) != 1:
            raise ValueError(f"Interpolate between two objects, got lists of {len(begin)} and {len(end)}.")
        mixed = torch.cat([torch.lerp(begin, end, weight) for weight in weights])
        noise = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=torch.float32)
        noise = noise.expand(num_objects, -1, -1)
        return self(gaussians=mixed, strength=strength, latents=noise, generator=generator, **options)


def _check_steps(refinement_steps: int, picture_steps: int) -> dict[str, int]:
    """The numbers by their names; raises TypeError or ValueError naming the one that is wrong."""
    steps = {"refinement_steps": refinement_steps, "picture_steps": picture_steps}
    for name, count in steps.items():
        inputs.check_count(name, count, minimum=0)
    return steps
