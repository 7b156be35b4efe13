"""The Gaussian VAE's loss (DiffGS, equation 6), term by term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..functional.quaternions import symmetric_square_roots
from ..functional.spherical_harmonics import SH_C0
from ..models.autoencoder_gaussian import GaussianVAE
from ..models.heads import GaussianFunctions


@dataclass(frozen=True)
class VAELossWeights:
    """Weights of the terms.

    Args:
        probability: error of GauPF, :func:`probability_loss`.
        color: mean absolute error of GauCF, in RGB.
        shape: mean absolute error of the square roots of covariances, in local spacings.
        opacity: mean absolute error of the opacity.
        kl: KL divergence to N(0, I), averaged over latent dimensions.
    """

    probability: float = 4.0
    color: float = 1.0
    shape: float = 0.25
    opacity: float = 0.1
    kl: float = 1e-4


def probability_loss(predicted: Tensor, target: Tensor, gross: float = 3.0) -> Tensor:
    """Mean error of GauPF, |e| + ``gross`` e², blind to predictions below 0 where the target is truncated.

    The absolute error alone weighs a corner that should not be there like a few unsharp edges, and round
    cross-sections, which few objects have, stayed square for long; squared, gross errors count several times
    as much.

    A point beyond the truncation only has to stay at or below 0, so the linear output needs no squashing whose
    gradient dies near 0 and 1.
    """
    error = torch.where(target > 0, (predicted - target).abs(), predicted.clamp(min=0))
    return (error * (1 + gross * error)).mean()


def shape_loss(scales: Tensor, quats: Tensor, target_scales: Tensor, target_quats: Tensor) -> Tensor:
    """Mean absolute error of R diag(s) Rᵀ.

    Where the paper compares scales and quaternions one by one, this compares the Gaussians that they describe: q
    and −q, or swapped axes, are no error, and the turn of a round disc about its normal has no say.
    """
    predicted = symmetric_square_roots(quats, scales)
    target = symmetric_square_roots(target_quats, target_scales)
    return (predicted - target).abs().sum(dim=(-1, -2)).mean() / 3


def function_terms(outputs: GaussianFunctions, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The errors of the three functions, unweighted, by the names of :class:`VAELossWeights`.

    Args:
        outputs: at the points of the batch.
        batch: stacked :meth:`~diffgs_diffusers.data.function_samples.FunctionTargets.sample`.
    """
    return {
        "probability": probability_loss(outputs.probability, batch["probability"]),
        "color": (outputs.sh - batch["sh"]).abs().mean() * SH_C0,
        "shape": shape_loss(outputs.scales, outputs.quats, batch["scales"], batch["quats"]),
        "opacity": (outputs.opacities - batch["opacities"]).abs().mean(),
    }


def weighted_sum(terms: Mapping[str, Tensor], weights: VAELossWeights) -> Tensor:
    """The loss that the terms make."""
    return torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()


def vae_loss(
    model: GaussianVAE,
    batch: Mapping[str, Tensor],
    weights: VAELossWeights,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Encodes, samples, decodes and compares the three functions.

    Args:
        model: the VAE, possibly wrapped for distributed training.
        batch: stacked :func:`~diffgs_diffusers.data.function_samples.function_sample`.
        weights: of the terms.
        generator: draws the latents from the posterior; None takes the posterior's mode.

    Returns:
        every term unweighted, and their weighted sum as ``loss``.
    """
    outputs, posterior = model(
        batch["features"],
        batch["query_points"],
        centers=batch["centers"],
        sample_posterior=generator is not None,
        generator=generator,
    )
    terms = function_terms(outputs, batch) | {"kl": posterior.kl().mean()}
    return {"loss": weighted_sum(terms, weights), **terms}
