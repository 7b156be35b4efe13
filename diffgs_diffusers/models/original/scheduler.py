"""The schedule and the sampler that the original's denoiser was trained for."""

from __future__ import annotations

from diffusers import DDPMScheduler
from torch import Tensor

BETA_SCHEDULES = ("cosine", "linear")


class OriginalDDPMScheduler(DDPMScheduler):
    """A ``DDPMScheduler`` that keeps the products ᾱ in double precision; arguments are the same.

    In single precision 1 − ᾱ, and with it the mean of the posterior, is known to three digits only where hardly any
    noise is left.
    """

    @property
    def alphas_cumprod(self) -> Tensor:
        """[T] float64, ᾱ of each timestep."""
        return self._alphas_cumprod

    @alphas_cumprod.setter
    def alphas_cumprod(self, value: Tensor) -> None:
        # The base class computes them from the betas and moves them; its single precision is not taken over.
        self._alphas_cumprod = (1 - self.betas.double()).cumprod(0).to(value.device)


def original_scheduler(
    num_train_timesteps: int = 1000, beta_schedule: str = "cosine", prediction_type: str = "sample"
) -> OriginalDDPMScheduler:
    """Ancestral sampling (DDPM, Ho et al. 2020, algorithm 2) as the original does it.

    Run it with as many steps as were trained. Predictions of the clean latent are clamped to ±1, and the noise of a
    step has the posterior's variance (DDPM, equation 7).

    Args:
        num_train_timesteps: T.
        beta_schedule: "cosine" (Nichol & Dhariwal 2021, equation 17) or "linear" (DDPM, section 4, stretched to T).
        prediction_type: of the denoiser.

    Raises:
        ValueError: for another schedule.
    """
    if beta_schedule not in BETA_SCHEDULES:
        raise ValueError(f"`beta_schedule` must be one of {', '.join(BETA_SCHEDULES)}, got {beta_schedule!r}.")
    stretch = 1000 / num_train_timesteps
    return OriginalDDPMScheduler(
        num_train_timesteps=num_train_timesteps,
        beta_schedule="squaredcos_cap_v2" if beta_schedule == "cosine" else "linear",
        beta_start=1e-4 * stretch,
        beta_end=0.02 * stretch,
        prediction_type=prediction_type,
        variance_type="fixed_small",
        clip_sample=True,
        clip_sample_range=1.0,
        timestep_spacing="leading",
        steps_offset=0,
    )
