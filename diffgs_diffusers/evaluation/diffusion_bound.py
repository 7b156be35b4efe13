"""How well the diffusion model codes held-out latents: the variational bound, term by term (DDPM, equation 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..functional.diffusion import gaussian_nll, predicted_clean
from ..functional.variational_bound import variational_bound
from ..models import Condition
from ..pipelines import DiffGSPipeline
from ..pipelines.guidance import predict


@dataclass(frozen=True)
class BoundTerms:
    """The terms for one object, in nats; all are sums over the latents' dimensions.

    Args:
        prior: L_T, what is left of the object in the last noise.
        steps: Σ L_{t−1}.
        reconstruction: L_0 = −ln p(x_0 | x_1), the Gaussian density of the last step, as latents are continuous:
            it depends on the latents' scale, which is unit variance here, and is negative where they are known
            better than that.
        normal: −ln p(x_0) of a standard normal instead of the model, which is what the latents' scale alone gives.
        dimensions: of the latents.
    """

    prior: float
    steps: float
    reconstruction: float
    normal: float
    dimensions: int


def object_bounds(
    pipe: DiffGSPipeline,
    latents: Tensor,
    captions: Sequence[str] | None,
    *,
    num_steps: int | None,
    seed: int = 0,
    variances: str = "large",
) -> list[BoundTerms]:
    """The bound for every object, with the noise of a fixed seed: the same with captions and without.

    Args:
        pipe: whose denoiser is asked, without guidance, which is no density.
        latents: [B, C, L] normalised, of the VAE's posterior modes.
        captions: B texts that condition the denoiser; None for none.
        num_steps: how many of the timesteps are evaluated, spread over all; None for all.
        seed: of noise and timesteps.
        variances: of the steps back, "large" (β) or "small" (β̃).
    """
    condition = None
    if captions is not None:
        states, mask, _, _ = pipe.encode_prompt(list(captions), do_classifier_free_guidance=False)
        condition = None if states is None else Condition.of_type(states, 0, mask)
    alphas, kind = pipe.scheduler.alphas_cumprod, pipe.scheduler.config.prediction_type

    def predict_clean(noisy: Tensor, timesteps: Tensor) -> Tensor:
        output = predict(pipe.unet, noisy, timesteps, condition, None, 1.0)
        return predicted_clean(alphas, noisy, output, timesteps, kind)

    bound = variational_bound(
        predict_clean,
        alphas,
        latents.to(pipe.unet.device),
        variances=variances,
        num_steps=num_steps,
        generator=torch.Generator().manual_seed(seed),
    )
    as_noise = gaussian_nll(latents, torch.zeros(()), torch.ones(())).flatten(1).sum(dim=1)
    terms = (bound.prior, bound.steps.sum(dim=1), bound.reconstruction, as_noise)
    rows = torch.stack([term.cpu().double() for term in terms], dim=1).tolist()
    return [BoundTerms(prior, steps, first, normal, bound.dimensions) for prior, steps, first, normal in rows]


def bound_summary(objects: Sequence[BoundTerms]) -> dict[str, float]:
    """Means over objects: each term and their sum in nats, and the same in bits for each latent dimension.

    Returns:
        ``prior``, ``steps``, ``reconstruction``, ``total`` and ``normal``, in nats for an object; the same with
        ``_bits`` behind them, in bits per dimension; ``total_std`` over objects, ``num_objects``, ``dimensions``.
    """
    names = ("prior", "steps", "reconstruction", "normal")
    nats = {name: np.array([getattr(one, name) for one in objects]) for name in names}
    nats["total"] = nats["prior"] + nats["steps"] + nats["reconstruction"]
    dimensions = objects[0].dimensions
    means = {name: float(values.mean()) for name, values in nats.items()}
    bits = {f"{name}_bits": value / (dimensions * math.log(2)) for name, value in means.items()}
    spread = float(nats["total"].std())
    return {"num_objects": len(objects), "dimensions": dimensions, **means, "total_std": spread, **bits}
