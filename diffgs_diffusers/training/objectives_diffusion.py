"""The objective of the latent denoiser."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from ..functional.diffusion import signal_to_noise


def diffusion_loss(
    unet: nn.Module,
    scheduler: DDPMScheduler,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    encoder_hidden_states: Tensor | None = None,
    mask: Tensor | None = None,
    snr_gamma: float | None = None,
    context: Mapping[str, Tensor] | None = None,
    guess_weight: float = 0.0,
) -> dict[str, Tensor]:
    """Mean squared error of the denoiser's prediction (DDPM, equation 14; LDM, equation 3).

    Args:
        unet: Called as :class:`~diffgs_diffusers.models.UNet1DConditionModel`.
        scheduler: Its ``prediction_type`` says what the denoiser predicts.
        latents: Clean normalised latents [B, C, L].
        noise: Standard normal noise [B, C, L].
        timesteps: [B] integers below ``num_train_timesteps``.
        encoder_hidden_states: Condition tokens [B, S, D]; None: unconditional.
        mask: [B, S], 1 for tokens to keep; a row of zeros is unconditional.
        snr_gamma: γ of min-SNR weighting; None: every timestep has weight 1.
        context: What else is told; `unet` is then a
            :class:`~diffgs_diffusers.training.conditioned_denoiser.ConditionedDenoiser`.
        guess_weight: How much the error of a first guess from pictures counts besides.

    Returns:
        ``loss`` to minimise, ``mse`` without the weights, and ``guess_mse`` where a guess was made.
    """
    noisy = scheduler.add_noise(latents, noise, timesteps)
    further = () if context is None else (context,)
    output = unet(noisy, timesteps, encoder_hidden_states, mask, *further)
    target = prediction_target(scheduler, latents, noise, timesteps)
    errors = (output.sample.float() - target.float()).square().flatten(1).mean(dim=1)
    weights = snr_weights(scheduler, timesteps, snr_gamma)
    terms = {"loss": (weights * errors).mean(), "mse": errors.mean().detach()}
    guess = getattr(output, "guess", None)
    if context is not None and guess is not None:
        guess_mse = (guess.float() - latents[context["view_rows"]]).square().mean()
        terms |= {"loss": terms["loss"] + guess_weight * guess_mse, "guess_mse": guess_mse.detach()}
    return terms


def prediction_target(scheduler: DDPMScheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the denoiser should return, [B, C, L]: ε, x₀, or v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans & Ho 2022).

    Raises:
        ValueError: If the scheduler's ``prediction_type`` is unknown.
    """
    prediction_type = scheduler.config.prediction_type
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return latents
    if prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    raise ValueError(f"prediction_type must be epsilon, sample or v_prediction, got {prediction_type!r}")


def snr_weights(scheduler: DDPMScheduler, timesteps: Tensor, gamma: float | None) -> Tensor:
    """Weights [B] of min-SNR-γ (Hang et al. 2023, section 3.4): the error of x₀ counts min(SNR, γ) times.

    An error of x₀ is worth SNR errors of ε and SNR + 1 errors of v, so their weights are divided by these.

    Args:
        scheduler: Gives SNR = ᾱ / (1 − ᾱ) and the ``prediction_type``.
        timesteps: [B] integers.
        gamma: γ; None: weight 1 everywhere.
    """
    if gamma is None:
        return torch.ones(timesteps.shape, device=timesteps.device)
    snr = signal_to_noise(scheduler.alphas_cumprod).clamp(min=1e-12)
    divisor = {"epsilon": snr, "sample": torch.ones_like(snr), "v_prediction": snr + 1}
    weights = (snr.clamp(max=gamma) / divisor[scheduler.config.prediction_type]).float()
    return weights.to(timesteps.device)[timesteps]


def sample_timesteps(scheduler: DDPMScheduler, batch_size: int, generator: torch.Generator) -> Tensor:
    """Timesteps [B], uniform, one in each of B equal parts of the schedule: less variance than free draws."""
    device = generator.device
    parts = torch.arange(batch_size, device=device) + torch.rand(batch_size, generator=generator, device=device)
    number = scheduler.config.num_train_timesteps
    return (parts / batch_size * number).long().clamp(max=number - 1)
