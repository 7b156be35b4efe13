"""A network taught to guess the latents of what it sees, before the denoiser is told of pictures."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from transformers import CLIPImageProcessor

from ..data.latents import LatentDataset
from ..models import ConditionEncoder
from ..models.unet_1d_blocks import patchify
from .conditioned_denoiser import pixels_of

MOST_SHIFT = 3  # pixels, so that an object need not be in the very middle
# The side that a picture was taken from, as the network is asked for it: its azimuth as one of 36, the neighbours
# being nearly right, and its elevation in units of ten degrees around the middle one.
NUM_AZIMUTHS, AZIMUTH_SPREAD = 36, 8.0
ELEVATION_MIDDLE, ELEVATION_UNIT, ELEVATION_WEIGHT = 17.5, 10.0, 0.2
_BATCH = 128


class PictureRegressor(nn.Module):
    """From pictures to a first guess of the latents, and to the side that they were taken from.

    Latents stand in the object's own frame, so all that is guessed depends on the side; the layer that names it is
    only there for training.

    Args:
        condition_encoder: one with a :class:`~diffgs_diffusers.models.picture_guess.PictureGuess`, which alone is
            trained of it.

    Raises:
        ValueError: if it has none.
    """

    def __init__(self, condition_encoder: ConditionEncoder) -> None:
        super().__init__()
        guess = condition_encoder.picture_guess
        if guess is None:
            raise ValueError("The condition encoder makes no guess: give it `guess_channels`.")
        self.condition_encoder = condition_encoder.requires_grad_(False)
        guess.requires_grad_(True).proj_out.requires_grad_(False)
        self.side = nn.Linear(guess.num_features, NUM_AZIMUTHS + 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, H, W], as the image processor makes them, to patches of latents [B, P, C · patch] and
        what :func:`side_loss` compares with their sides, [B, NUM_AZIMUTHS + 1]."""
        guess = self.condition_encoder.picture_guess
        assert guess is not None
        features = guess.features(pixels)
        return guess.guess_from(features), self.side(features)

    def save_pretrained(self, folder: str) -> None:
        """The condition encoder."""
        self.condition_encoder.save_pretrained(folder)


def side_loss(found: Tensor, sides: Tensor) -> Tensor:
    """How far an answer is from the side, azimuths by cross-entropy and elevations by their error; a scalar.

    Args:
        found: [B, NUM_AZIMUTHS + 1], logits of the azimuths, the elevation behind them.
        sides: [B, 2] elevation and azimuth in degrees.
    """
    azimuths = torch.arange(NUM_AZIMUTHS, device=sides.device) * (360 / NUM_AZIMUTHS)
    apart = (sides[:, 1:] - azimuths + 180) % 360 - 180
    target = (-0.5 * (apart / AZIMUTH_SPREAD).square()).softmax(dim=1)
    elevations = (sides[:, 0] - ELEVATION_MIDDLE) / ELEVATION_UNIT
    around = nn.functional.cross_entropy(found[:, :-1].float(), target)
    return around + ELEVATION_WEIGHT * nn.functional.smooth_l1_loss(found[:, -1].float(), elevations)


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


@torch.no_grad()
def held_out_scores(
    model: PictureRegressor, latents: LatentDataset, image_processor: CLIPImageProcessor, patch_size: int
) -> dict[str, float]:
    """How well the pictures of objects as they are (their first versions) are read.

    Returns:
        ``explained_variance``: how much of the variance of the latents around their mean the guesses explain, 1 is
        all; ``azimuth_error``: mean of the angles by which azimuths are missed, degrees, 90 by chance.
    """
    device = next(model.parameters()).device
    rows = list(product(range(len(latents)), range(latents.num_views)))
    truth = latent_patches(torch.stack([latents.latents(index, 0) for index in range(len(latents))]), patch_size)
    spread = (truth - truth.mean(dim=0)).square().sum() * latents.num_views
    error, missed = 0.0, 0.0
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        views = torch.stack([latents.view(index, 0, number) for index, number in some])
        guess, found = (one.float().cpu() for one in model(pixels_of(views.to(device), image_processor)))
        error += float((guess - truth[[index for index, _ in some]]).square().sum())
        azimuths = torch.stack([latents.side(index, 0, number)[1] for index, number in some])
        best = found[:, :-1].argmax(dim=1) * (360 / NUM_AZIMUTHS)
        missed += float(((best - azimuths + 180) % 360 - 180).abs().sum())
    return {"explained_variance": 1 - error / float(spread), "azimuth_error": missed / len(rows)}
