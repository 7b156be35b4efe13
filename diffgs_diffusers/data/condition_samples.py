"""Training samples of the denoiser: a latent, and what is told of its object: a text, a picture, a part, points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..functional.quaternions import quaternions_to_matrices
from ..functional.spherical_harmonics import sh0_to_rgb
from ..gaussians import GaussianSplats
from ..models.condition_encoder import POINT_KINDS, points_features, splats_features
from .dataset import SampleKey
from .latents import LatentDataset, all_captions
from .partial import random_part

VersionSplats = Callable[[int, int], GaussianSplats]
LEAST_POINTS = 256
COLORED_SHARE = 0.7  # of the point clouds
NOISY_SHARE, MOST_NOISE = 0.3, 0.01  # of the point clouds; standard deviation in object units


@dataclass(frozen=True)
class ConditionShares:
    """How often each condition is told; several may be at once, and none.

    Args:
        text: one of the captions.
        image: a picture.
        partial: some of the object's Gaussians.
        points: points from all over its surface, never together with a part.
    """

    text: float = 1.0
    image: float = 0.0
    partial: float = 0.0
    points: float = 0.0


class LatentSamples(torch.utils.data.Dataset):
    """A random version of an object and what is told of it; decided by the key alone.

    Args:
        latents: where they come from.
        plain_caption_probability: how often the caption names no colour.
        sample_posterior: draw from the posterior instead of taking its mean.
        shares: how often each condition is told.
        splats_of: the Gaussians of (index, version), needed for parts and points.
        num_points: points of a condition at most, so many rows have ``features``.
    """

    def __init__(
        self,
        latents: LatentDataset,
        plain_caption_probability: float = 0.1,
        sample_posterior: bool = False,
        shares: ConditionShares | None = None,
        splats_of: VersionSplats | None = None,
        num_points: int = 4096,
    ) -> None:
        self.latents = latents
        self.plain_caption_probability = plain_caption_probability
        self.sample_posterior = sample_posterior
        self.shares, self.splats_of, self.num_points = shares or ConditionShares(), splats_of, num_points
        self.captions = sorted({text for record in latents.records for text in all_captions(record)})
        self._caption_ids = {text: i for i, text in enumerate(self.captions)}

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """``latents`` [C, L]; ``caption``, an index into :attr:`captions`; ``has_text``; and, where they are told,
        ``view`` [H, W, 3] uint8 from ``side`` [2], elevation and azimuth in degrees, ``features`` [num_points, F]
        with ``kind``, an index into ``POINT_KINDS``."""
        generator = np.random.default_rng(key.seed)
        record = self.latents.records[key.index]
        version = int(generator.integers(len(record.captions)))
        plain = bool(record.plain_captions) and generator.random() < self.plain_caption_probability
        texts = record.plain_captions if plain else record.captions[version]
        text = texts[int(generator.integers(len(texts)))]
        noise = None
        if self.sample_posterior:
            drawn = generator.standard_normal(self.latents.latent_shape, dtype=np.float32)
            noise = torch.from_numpy(drawn)
        sample = {
            "latents": self.latents.latents(key.index, version, noise),
            "caption": self._caption_ids[text],
            "has_text": bool(generator.random() < self.shares.text),
        }
        if generator.random() < self.shares.image:
            number = int(generator.integers(self.latents.num_views))
            sample["view"] = self.latents.view(key.index, version, number)
            sample["side"] = self.latents.side(key.index, version, number)
        draw = generator.random()
        if draw < self.shares.partial + self.shares.points:
            if self.splats_of is None:
                raise ValueError("Parts and points need the objects themselves: pass `splats_of`.")
            kind = "partial" if draw < self.shares.partial else "points"
            splats = self.splats_of(key.index, version)
            told = _part(splats, generator) if kind == "partial" else _cloud(splats, generator)
            sample |= {"features": _resampled(told, self.num_points, generator), "kind": POINT_KINDS.index(kind)}
        return sample


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch of :class:`LatentSamples`: what only some rows have is stacked beside the numbers of those rows.

    Returns:
        ``latents`` [B, C, L], ``caption`` and ``has_text`` [B]; where any row has them ``view`` [I, H, W, 3] and
        ``side`` [I, 2] with ``view_rows`` [I], and ``features`` [G, N, F] and ``kind`` [G] with ``features_rows``
        [G].
    """
    batch = {
        "latents": torch.stack([sample["latents"] for sample in samples]),
        "caption": torch.tensor([sample["caption"] for sample in samples]),
        "has_text": torch.tensor([sample["has_text"] for sample in samples]),
    }
    for name in ("view", "features"):
        rows = [row for row, sample in enumerate(samples) if name in sample]
        if rows:
            batch[name] = torch.stack([samples[row][name] for row in rows])
            batch[f"{name}_rows"] = torch.tensor(rows)
            if name == "features":
                batch["kind"] = torch.tensor([samples[row]["kind"] for row in rows])
            else:
                batch["side"] = torch.stack([samples[row]["side"] for row in rows])
    return batch


def scanned_points(splats: GaussianSplats, count: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Points on the surface of a fitted object, as a scan gives them, and their colours in [0, 1]; [count, 3] each.

    A point lies in its Gaussian's plane, a random share of its scales away from the centre.
    """
    chosen = splats.select(torch.from_numpy(generator.integers(0, len(splats), count)))
    offsets = torch.from_numpy(generator.uniform(-1.5, 1.5, (count, 3)).astype(np.float32)) * chosen.scales
    rows = torch.arange(count)
    offsets[rows, chosen.scales.argmin(dim=1)] = 0
    turned = (quaternions_to_matrices(chosen.quats) @ offsets[..., None])[..., 0]
    return chosen.means + turned, sh0_to_rgb(chosen.sh0[:, 0]).clamp(0, 1)


def _part(splats: GaussianSplats, generator: np.random.Generator) -> Tensor:
    return splats_features(random_part(splats, generator))


def _cloud(splats: GaussianSplats, generator: np.random.Generator) -> Tensor:
    count = round(float(np.exp(generator.uniform(np.log(LEAST_POINTS), np.log(len(splats) + LEAST_POINTS)))))
    points, colors = scanned_points(splats, count, generator)
    if generator.random() < NOISY_SHARE:
        noise = torch.from_numpy(generator.standard_normal((count, 3)).astype(np.float32))
        points = points + noise * float(generator.uniform(0, MOST_NOISE))
    return points_features(points, colors if generator.random() < COLORED_SHARE else None)


def _resampled(features: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """``count`` rows: a random choice of more, repetitions of fewer."""
    order = torch.from_numpy(generator.permutation(len(features)))
    return features[order.repeat(-(-count // len(features)))[:count]]
