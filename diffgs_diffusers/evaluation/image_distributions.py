"""Do renders of samples look like renders of objects? FID (Heusel et al. 2017) and KID (Bińkowski et al. 2018)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionModel

from ..training.conditioned_denoiser import pixels_of

LEAST_IMAGES = 100
KID_SUBSETS = 100
_BATCH = 64


@dataclass(frozen=True)
class ImageDistance:
    """How far two sets of images lie apart, in features.

    Args:
        fid: Fréchet distance of Gaussians fitted to the features; grows as images get fewer.
        kid: unbiased squared maximum mean discrepancy under the cubic kernel, mean over subsets; about 0 for one
            distribution, and it may be below.
        kid_std: its standard deviation over the subsets.
        num_images: of the first set.
        num_others: of the second.
    """

    fid: float
    kid: float
    kid_std: float
    num_images: int
    num_others: int


class VisionFeatures(nn.Module):
    """Features of images [B, 3, H, W] in [0, 1]: the mean of a CLIP vision model's last hidden states, [B, D].

    Args:
        image_encoder: the vision model.
        image_processor: prepares its images.
    """

    def __init__(self, image_encoder: CLIPVisionModel, image_processor: CLIPImageProcessor) -> None:
        super().__init__()
        self.image_encoder, self.image_processor = image_encoder.eval(), image_processor
        self.num_features = image_encoder.config.hidden_size  # read by the metrics

    def forward(self, images: Tensor) -> Tensor:
        views = (images.clamp(0, 1) * 255).round().to(torch.uint8).movedim(1, -1)
        pixels = pixels_of(views, self.image_processor).to(self.image_encoder.device, self.image_encoder.dtype)
        return self.image_encoder(pixels).last_hidden_state.mean(dim=1).float()


def check_packages(features: nn.Module | int | None) -> None:
    """Raises ImportError where what measures FID and KID is not installed; asked before any long work.

    Args:
        features: as for :func:`streamed_image_distance`; None needs nothing.
    """
    if features is not None and find_spec("torchmetrics") is None:
        raise ImportError('FID and KID need torchmetrics: pip install "diffgs-diffusers[eval]"')
    if isinstance(features, int) and find_spec("torch_fidelity") is None:
        raise ImportError("Inception needs torch-fidelity: pip install torch-fidelity")


def image_distance(
    images: Tensor, others: Tensor, features: nn.Module | int, *, force: bool = False
) -> ImageDistance:
    """Distances between two sets of images [N, H, W, 3] and [M, H, W, 3], as :func:`streamed_image_distance`."""
    return streamed_image_distance([images], [others], (len(images), len(others)), features, force=force)


@torch.no_grad()
def streamed_image_distance(
    images: Iterable[Tensor],
    others: Iterable[Tensor],
    counts: tuple[int, int],
    features: nn.Module | int,
    *,
    force: bool = False,
) -> ImageDistance:
    """Distances between two sets of images that come some at a time; their features alone are kept.

    Args:
        images: parts [n, H, W, 3], in [0, 1], of the first set.
        others: those of the second.
        counts: N and M, how many images the sets have in all.
        features: a module of images [B, 3, H, W] in [0, 1] to [B, D] with an attribute ``num_features``; or 2048
            for the Inception network that the figures of papers are of, whose weights torch-fidelity downloads.
        force: measure sets of fewer than 100 images, whose figures mean little.

    Raises:
        ValueError: for sets that are too small.
        ImportError: if torchmetrics is not installed (the extra ``eval``), or torch-fidelity for Inception.
    """
    check_packages(features)
    if min(counts) < 2 or (min(counts) < LEAST_IMAGES and not force):
        raise ValueError(
            f"FID and KID of {counts[0]} and {counts[1]} images mean little: take at least {LEAST_IMAGES} of each"
            + (", or pass `force=True`." if min(counts) >= 2 else ".")
        )
    options = {"feature": features, "normalize": True}
    frechet = import_module("torchmetrics.image.fid").FrechetInceptionDistance(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the memory that all features need
        kernel = import_module("torchmetrics.image.kid").KernelInceptionDistance(
            **options, subsets=KID_SUBSETS, subset_size=max(2, min(counts) // 2)
        )
    for group, real in ((images, False), (others, True)):
        for batch in _batches(group):
            for metric in (frechet, kernel):
                metric.update(batch.movedim(-1, 1), real=real)
    with torch.random.fork_rng(devices=[]):  # the same subsets whenever it is asked
        torch.manual_seed(0)
        kid, kid_std = kernel.compute()
    return ImageDistance(float(frechet.compute()), float(kid), float(kid_std), *counts)


def _batches(parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """All rows in batches of one size, except for the last: the sums over them do not depend on the parts."""
    rest: Tensor | None = None
    for part in parts:
        *whole, rest = (part if rest is None else torch.cat([rest, part])).split(_BATCH)
        yield from whole
    if rest is not None:
        yield rest
