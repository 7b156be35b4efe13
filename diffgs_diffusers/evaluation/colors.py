"""Which named colour an object has: a judge calibrated on renders of objects whose colour is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.colors import rgb_to_lab
from .views import foreground_colors

# Rounding and shading spread even a single flat colour by a few units of Lab.
_LEAST_VARIANCE = 9.0


@dataclass(frozen=True)
class ColorJudge:
    """Names the dominant colour of an object by the votes of its pixels.

    Every colour name is a Gaussian in Lab, fitted to shaded pixels of objects that have this colour, so shade on a
    white chair is not counted as grey. A pixel votes with the posterior of each name; all names are equally likely
    beforehand.

    Args:
        names: K colour names.
        means: [K, 3] in Lab.
        covariances: [K, 3, 3] in Lab.
    """

    names: tuple[str, ...]
    means: Tensor
    covariances: Tensor

    @classmethod
    def fit(cls, samples: Mapping[str, Tensor]) -> ColorJudge:
        """Calibrates on pixels of known colour.

        Args:
            samples: for each name, [P, 3] sRGB pixels of objects with this colour, P ≥ 2.

        Raises:
            ValueError: if a name has fewer than two pixels.
        """
        means, covariances = [], []
        for name, pixels in samples.items():
            if len(pixels) < 2:
                raise ValueError(f"Colour {name!r} has {len(pixels)} pixels to learn from; it needs at least 2.")
            lab = _lab(pixels)
            means.append(lab.mean(dim=0))
            covariances.append(torch.cov(lab.T) + _LEAST_VARIANCE * torch.eye(3, dtype=torch.float64))
        return cls(tuple(samples), torch.stack(means), torch.stack(covariances))

    def posteriors(self, pixels: Tensor) -> Tensor:
        """[P, K] probability of each name for each of [P, 3] sRGB pixels."""
        offsets = _lab(pixels)[:, None] - self.means
        solved = torch.einsum("kij,pkj->pki", torch.linalg.inv(self.covariances), offsets)
        distances = (offsets * solved).sum(dim=-1)
        return (-0.5 * (distances + torch.logdet(self.covariances))).softmax(dim=1)

    def shares(self, views: Tensor) -> dict[str, float]:
        """Share of the foreground of each name, summing to 1; all 0 for an object that is not seen.

        Args:
            views: [C, H, W, 4] RGBA, premultiplied, rendered without a background.
        """
        pixels = foreground_colors(views)
        if len(pixels) == 0:
            return dict.fromkeys(self.names, 0.0)
        return dict(zip(self.names, self.posteriors(pixels).mean(dim=0).tolist(), strict=True))

    def dominant(self, views: Tensor) -> str:
        """The name with the greatest share, or "" for an object that is not seen."""
        shares = self.shares(views)
        name = max(shares, key=shares.__getitem__)
        return name if shares[name] > 0 else ""


def _lab(pixels: Tensor) -> Tensor:
    """[P, 3] CIELAB in float64 of sRGB pixels in [0, 1]."""
    return torch.from_numpy(rgb_to_lab(pixels.detach().cpu().numpy()))
