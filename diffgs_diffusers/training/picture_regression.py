"""A vision model taught to guess the latents of what it sees, before the denoiser is told of pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionModel

from ..data.latents import LatentDataset
from ..models import ConditionEncoder
from ..models.unet_1d_blocks import patchify
from .conditioned_denoiser import pixels_of

MOST_SHIFT = 3  # pixels, so that an object need not be in the very middle


class PictureRegressor(nn.Module):
    """From pictures to a first guess of the latents.

    Args:
        image_encoder: CLIP vision model.
        condition_encoder: one with a :class:`~diffgs_diffusers.models.picture_guess.PictureGuess`, which alone is
            trained of it.

    Raises:
        ValueError: if it has none.
    """

    def __init__(self, image_encoder: CLIPVisionModel, condition_encoder: ConditionEncoder) -> None:
        super().__init__()
        if condition_encoder.picture_guess is None:
            raise ValueError("The condition encoder makes no guess: give it `image_dim` and `guess_channels`.")
        self.image_encoder, self.condition_encoder = image_encoder, condition_encoder.requires_grad_(False)
        condition_encoder.picture_guess.requires_grad_(True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures [B, 3, H, W], as the image processor makes them, to patches of latents [B, P, C · patch]."""
        assert self.condition_encoder.picture_guess is not None
        return self.condition_encoder.picture_guess.guess(self.image_encoder(pixels).last_hidden_state)

    def save_pretrained(self, folder: str) -> None:
        """The vision model to ``folder``, the condition encoder beside it."""
        self.image_encoder.save_pretrained(folder)
        self.condition_encoder.save_pretrained(str(Path(folder).with_name("condition_encoder")))


def latent_patches(latents: Tensor, patch_size: int) -> Tensor:
    """Latents [B, C, L] as the guess has them, [B, L / patch_size, C · patch_size]."""
    return patchify(latents, patch_size).transpose(1, 2)


def some_patches(latents: LatentDataset, count: int, patch_size: int, seed: int) -> Tensor:
    """Patches of ``count`` random versions of random objects, for their principal components."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for index in torch.randint(len(latents), (count,), generator=generator).tolist():
        version = int(torch.randint(len(latents.records[index].captions), (), generator=generator))
        rows.append(latents.latents(index, version))
    return latent_patches(torch.stack(rows), patch_size)


def shifted(views: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [B, H, W, 3], all moved by the same few pixels; what leaves on one side comes back on the other,
    where it is white."""
    moves = torch.randint(-MOST_SHIFT, MOST_SHIFT + 1, (2,), generator=generator, device=generator.device)
    return views.roll(tuple(moves.tolist()), (1, 2))


def explained_variance(
    model: PictureRegressor, latents: LatentDataset, image_processor: CLIPImageProcessor, patch_size: int
) -> float:
    """How much of the variance of latents around their mean the guesses from their pictures explain; 1 is all."""
    device = next(model.parameters()).device
    views = torch.stack([latents.view(index, 0) for index in range(len(latents))]).to(device)
    truth = torch.stack([latents.latents(index, 0) for index in range(len(latents))]).to(device)
    patches = latent_patches(truth, patch_size)
    errors = (model(pixels_of(views, image_processor)) - patches).square().sum()
    return 1 - float(errors / (patches - patches.mean(dim=0)).square().sum())
