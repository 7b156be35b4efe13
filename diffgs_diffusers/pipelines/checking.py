"""The arguments of a call in groups, and the check that they fit each other and the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import DiffusionPipeline
from torch import Tensor

from ..extraction_settings import check_count, find_extraction
from . import inputs
from .conditioning import Prompts
from .context import Context
from .decoding import Extraction, Generators
from .variation import Start


@dataclass(frozen=True)
class Counts:
    """How many of everything, named as the arguments of :meth:`DiffGSPipeline.__call__`."""

    num_objects_per_prompt: int
    num_objects: int | None
    num_candidates: int
    mending_steps: int
    num_inference_steps: int
    num_gaussians: int

    @property
    def objects_for_each(self) -> int:
        """Objects for each condition, or of an unconditional batch."""
        return self.num_objects_per_prompt * (self.num_objects or 1)


@dataclass(frozen=True)
class Settings:
    """How objects are made, named as the arguments of :meth:`DiffGSPipeline.__call__`."""

    keep_input: bool
    strength: float
    guidance_scale: float
    extraction: Extraction
    eta: float
    output_type: str


class CheckMixin(DiffusionPipeline):
    """Checks of a pipeline's arguments that need its components, all made before any work starts."""

    def check_inputs(
        self,
        context: Context,
        start: Start,
        prompts: Prompts,
        counts: Counts,
        settings: Settings,
        generator: Generators,
        latents: Tensor | None,
        callback_inputs: list[str],
    ) -> int:
        """Checks the arguments of :meth:`DiffGSPipeline.__call__`; returns the number of objects B they ask for.

        Raises:
            TypeError, ValueError: naming the argument, the rule and the value.
        """
        self._check_values(counts, settings)
        given = context.counts() | ({"gaussians": len(start)} if len(start) else {})
        self._check_prompts(prompts, counts.num_objects, bool(given))
        models = (self.image_processor, self.image_encoder, self.condition_encoder)
        inputs.check_context(context, settings.keep_input, counts.num_gaussians, *models, self.unet)
        inputs.check_extraction(settings.extraction, context, settings.keep_input)
        if prompts.are_given:
            given["prompt"] = prompts.count
        if counts.num_candidates > 1 and not given:
            raise ValueError("`num_candidates` chooses among tries for one condition: pass one, or leave it out.")
        batch_size = inputs.common_count(given) * counts.objects_for_each
        inputs.check_generator(generator, batch_size)
        if latents is not None:
            config = self.unet.config
            shape = (batch_size * counts.num_candidates, config.in_channels, config.sample_size)
            inputs.check_latents(latents, shape)
        inputs.check_callback_inputs(callback_inputs, self._callback_tensor_inputs)
        return batch_size

    def _check_values(self, counts: Counts, settings: Settings) -> None:
        max_steps = self.scheduler.config.get("num_train_timesteps")
        inputs.check_count("num_inference_steps", counts.num_inference_steps, max_steps)
        inputs.check_count("num_gaussians", counts.num_gaussians)
        inputs.check_count("num_objects_per_prompt", counts.num_objects_per_prompt)
        if counts.num_objects is not None:
            inputs.check_count("num_objects", counts.num_objects)
        inputs.check_count("num_candidates", counts.num_candidates)
        inputs.check_count("mending_steps", counts.mending_steps, minimum=0)
        inputs.check_number("guidance_scale", settings.guidance_scale)
        inputs.check_number("eta", settings.eta)
        inputs.check_strength(settings.strength)
        inputs.check_output_type(settings.output_type)
        check_count(counts.num_gaussians, find_extraction(settings.extraction))
        if settings.output_type != "latent":
            inputs.check_models(self.vae, self.unet)

    def _check_prompts(self, prompts: Prompts, num_objects: int | None, has_context: bool) -> None:
        inputs.check_prompts(prompts, num_objects, has_context)
        if prompts.are_given:
            inputs.check_conditional(self.unet)
        width = self.unet.config.get("cross_attention_dim")
        inputs.check_embeds("prompt", prompts.prompt_embeds, prompts.prompt_attention_mask, width)
        negative = (prompts.negative_prompt_embeds, prompts.negative_prompt_attention_mask)
        inputs.check_embeds("negative_prompt", *negative, width)
        if prompts.prompt is not None or prompts.negative_prompt is not None:
            inputs.check_text_encoder(self.tokenizer, self.text_encoder, width)
