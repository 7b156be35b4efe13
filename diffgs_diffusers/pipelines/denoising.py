"""From noise, or from objects that begin as others, to latents: the steps of the scheduler under guidance."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..models import Condition
from .decoding import Generators
from .guidance import predict
from .variation import Start, encode_start, noised

StepCallback = Callable[[Any, int, Tensor, dict[str, Tensor | None]], dict[str, Tensor]]


class DenoisingMixin(DiffusionPipeline):
    """How a pipeline with a ``unet``, a ``scheduler`` and a ``vae`` makes latents."""

    @property
    def guidance_scale(self) -> float:
        """Weight of classifier-free guidance (Ho & Salimans 2022), read at every step."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        """Denoising steps of the current or last call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """True skips the remaining steps; a callback sets ``pipe._interrupt``."""
        return self._interrupt

    def prepare_noise(
        self, batch_size: int, device: torch.device, generator: Generators, latents: Tensor | None = None
    ) -> Tensor:
        """Standard normal noise [B, C, L], the one given or drawn, float32 whatever the models' precision."""
        if latents is None:
            shape = (batch_size, self.unet.config.in_channels, self.unet.config.sample_size)
            latents = randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
        return latents.to(device=device, dtype=torch.float32)

    def prepare_latents(self, noise: Tensor, start: Start = (), strength: float = 1.0) -> tuple[Tensor, Tensor]:
        """Latents [B, C, L] to denoise, and the timesteps to do it in.

        Args:
            noise: [B, C, L] standard normal.
            start: P objects or latents to begin as, for B / P objects each; if there is none, noise alone.
            strength: how much of them may change, as in :meth:`DiffGSPipeline.__call__`.
        """
        if not len(start):
            return noise * self.scheduler.init_noise_sigma, self.scheduler.timesteps
        clean = encode_start(self.vae, start).to(noise)
        return noised(self.scheduler, clean.repeat_interleave(len(noise) // len(clean), 0), noise, strength)

    def denoise(
        self,
        tensors: dict[str, Any],
        timesteps: Tensor,
        generator: Generators,
        eta: float,
        callback_on_step_end: StepCallback | None,
        callback_inputs: list[str],
    ) -> Tensor:
        """Runs steps of the scheduler; returns the final latents [B, C, L].

        Args:
            tensors: "latents" to start from, the texts' states and masks under the names that
                :meth:`encode_prompt` returns (a callback may replace them), and "context", the
                condition of everything else.
            timesteps: those of the scheduler that are run.
            generator, eta, callback_on_step_end: as in :meth:`DiffGSPipeline.__call__`.
            callback_inputs: names of the tensors that the callback is given.
        """
        self._num_timesteps = len(timesteps)
        options = _accepted_by(self.scheduler.step, {"generator": generator, "eta": eta})
        with self.progress_bar(total=self._num_timesteps) as progress_bar:
            for step, timestep in enumerate(timesteps):
                if self.interrupt:
                    continue
                latents = tensors["latents"]
                sample = self.scheduler.scale_model_input(latents, timestep)
                condition, negative = _conditions(tensors, self.do_classifier_free_guidance)
                model_output = predict(self.unet, sample, timestep, condition, negative, self.guidance_scale)
                tensors["latents"] = self.scheduler.step(model_output, timestep, latents, **options).prev_sample
                if callback_on_step_end is not None:
                    given = {name: tensors[name] for name in callback_inputs}
                    tensors.update(callback_on_step_end(self, step, timestep, given) or {})
                progress_bar.update()
        return tensors["latents"]


def _conditions(tensors: dict[str, Any], guided: bool) -> tuple[Condition | None, Condition | None]:
    """What to lead to and what to lead away from: the texts' tokens and, after them, the context's."""
    found: dict[str, list[Condition]] = {"prompt": [], "negative_prompt": []}
    for name, tokens in found.items():
        states = tensors[f"{name}_embeds"]
        if states is not None:
            tokens.append(Condition.of_type(states, 0, tensors[f"{name}_attention_mask"]))
    if tensors["context"] is not None:
        found["prompt"].append(tensors["context"])
        found["negative_prompt"].append(tensors["context"].hidden())
    if not found["prompt"]:
        return None, None
    return Condition.joined(found["prompt"]), Condition.joined(found["negative_prompt"]) if guided else None


def _accepted_by(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Schedulers differ in the options of their steps."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}
