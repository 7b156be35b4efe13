"""Any condition, or none, to 3D Gaussian objects: latent diffusion over Gaussian functions (DiffGS, section 3)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import SchedulerMixin
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from ..extraction_settings import check_count, find_extraction
from ..gaussians import GaussianSplats
from ..hub import HubPipelineMixin
from ..models import Condition, ConditionEncoder
from ..models.kinds import Denoiser, PipelineVAE
from . import inputs
from .conditioning import encode_texts, null_condition, one_for_each, repeat_condition
from .context import Context, encode_context, read_context
from .decoding import (
    Extraction,
    Generators,
    chosen_by_pictures,
    complete_objects,
    decode_objects,
    object_generators,
)
from .guidance import predict
from .latent_space import LatentSpaceMixin
from .pipeline_output import DiffGSPipelineOutput, to_output_type
from .variation import Start, encode_start, noised, read_start

StepCallback = Callable[[Any, int, Tensor, dict[str, Tensor | None]], dict[str, Tensor]]


class DiffGSPipeline(HubPipelineMixin, LatentSpaceMixin):
    """Generates 3D Gaussian Splatting objects from text, a picture, a part, a point cloud, or from noise alone.

    Objects come in the world frame of ``docs/conventions.md`` (up is −y, front +z), in a box of side 1 around the
    origin.

    Args:
        vae: turns latents into Gaussian functions.
        unet: denoises latents [B, C, L] under condition tokens.
        scheduler: any of diffusers' schedulers for continuous latents.
        tokenizer: of the text encoder; None for a pipeline that takes no text.
        text_encoder: CLIP text model; None for a pipeline that takes no text.
        image_processor: of the image encoder; None for a pipeline that takes no pictures.
        image_encoder: CLIP vision model; None for a pipeline that takes no pictures.
        condition_encoder: reads pictures, parts and points; None for a pipeline that takes none.
    """

    model_cpu_offload_seq = "text_encoder->image_encoder->condition_encoder->unet->vae"
    _optional_components = [  # noqa: RUF012
        "tokenizer",
        "text_encoder",
        "image_processor",
        "image_encoder",
        "condition_encoder",
    ]
    _callback_tensor_inputs = ["latents", "prompt_embeds", "negative_prompt_embeds"]  # noqa: RUF012

    def __init__(
        self,
        vae: PipelineVAE,
        unet: Denoiser,
        scheduler: SchedulerMixin,
        tokenizer: CLIPTokenizer | None = None,
        text_encoder: CLIPTextModel | None = None,
        image_processor: CLIPImageProcessor | None = None,
        image_encoder: CLIPVisionModel | None = None,
        condition_encoder: ConditionEncoder | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            unet=unet,
            scheduler=scheduler,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            image_processor=image_processor,
            image_encoder=image_encoder,
            condition_encoder=condition_encoder,
        )

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

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        *,
        image: Any = None,
        partial: Any = None,
        points: Any = None,
        keep_input: bool = True,
        gaussians: Any = None,
        strength: float = 0.6,
        negative_prompt: str | list[str] | None = None,
        num_objects_per_prompt: int = 1,
        num_objects: int | None = None,
        num_candidates: int = 1,
        num_inference_steps: int = 25,
        guidance_scale: float = 3.0,
        num_gaussians: int = 50_000,
        extraction: Extraction = "even",
        eta: float = 0.0,
        generator: Generators = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        prompt_attention_mask: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_prompt_attention_mask: Tensor | None = None,
        output_type: str = "gaussians",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | PipelineCallback | MultiPipelineCallbacks | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
    ) -> DiffGSPipelineOutput | tuple[list[GaussianSplats] | Any]:
        """Generates objects.

        Args:
            prompt: what to generate, one text or a list of P texts. Without this and the next three, objects are
                generated unconditionally; given together, all of them count, and one entry serves all P objects.
            image: a picture of the object, or a list: a PIL image, a path, an array [H, W, 3 or 4] or a tensor
                [3 or 4, H, W], uint8 or in [0, 1]. What is transparent, or of the border's one colour, is cut off.
            partial: what is there of the object: :class:`GaussianSplats` or a path, or a list; where it belongs in
                the whole object, which fills a box of side 1 around the origin (up −y, front +z).
            points: positions [N, 3] on the object's surface, or [N, 6] with RGB in [0, 1], or a path, or a list; in
                that box.
            keep_input: whether the result begins with the Gaussians of ``partial``, bit by bit as they were.
            gaussians: what the objects are variations of: :class:`GaussianSplats` or a path, or a list, in that
                box; or normalised latents [P, C, L] as :meth:`encode_objects` makes them.
            strength: how much of it may change, in (0, 1]: noise is added up to this share of the steps, and they
                alone are run. 1 leaves hardly anything.
            negative_prompt: what guidance leads away from, one text or one per prompt; None leads away from the
                unconditional prediction.
            num_objects_per_prompt: objects for each prompt (or picture, …), next to each other in the batch.
            num_objects: objects of an unconditional batch, 1 if None; only without a condition.
            num_candidates: K, how many objects are tried for each that is returned, which is the one that looks
                most like its ``image``; time grows with it.
            num_inference_steps: denoising steps.
            guidance_scale: strength of the condition; 1 or less runs the denoiser once a step instead of twice.
            num_gaussians: N, exact, for each object.
            extraction: how Gaussians are found: "even", spread evenly over the surface, "original", the way of the
                released DiffGS (``docs/original.md``), or the settings of one of them.
            eta: η of DDIM (Song et al. 2021, eq. 16), for schedulers that take it.
            generator: one, or one per object, which makes objects independent of their batch.
            latents: [B · K, C, L] noise to start from, or to add to ``gaussians``; ``generator`` draws it if None.
            prompt_embeds: [P, S, D] states in place of ``prompt``.
            prompt_attention_mask: [P, S], 1 where ``prompt_embeds`` counts; all if None.
            negative_prompt_embeds: [P, S', D] states in place of ``negative_prompt``.
            negative_prompt_attention_mask: [P, S'], as above.
            output_type: "gaussians", "np", "pt" or "latent"; see :class:`DiffGSPipelineOutput`.
            return_dict: False gives a tuple.
            callback_on_step_end: called with (pipeline, step, timestep, tensors) after each step; the tensors
                that it returns replace the pipeline's.
            callback_on_step_end_tensor_inputs: which tensors it is given, of ``_callback_tensor_inputs``.

        Returns:
            the batch of P · num_objects_per_prompt, or num_objects, objects.

        Raises:
            TypeError, ValueError: for arguments that are wrong or do not fit each other, before any work.
            EmptySurfaceError: if an object has no surface.

        Example:
            >>> pipe = DiffGSPipeline.from_pretrained(default_checkpoint())  # doctest: +SKIP
            >>> pipe("a red armchair").gaussians[0].save("armchair.ply")  # doctest: +SKIP
        """
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        callback_inputs = callback_on_step_end_tensor_inputs or ["latents"]
        half_side = (1 + self.vae.config.padding) / 2
        context = read_context(image, partial, points, half_side)
        start = read_start(gaussians, (self.unet.config.in_channels, self.unet.config.sample_size), half_side)
        batch_size = self.check_inputs(
            context,
            keep_input,
            len(start),
            strength,
            prompt,
            negative_prompt,
            num_objects_per_prompt,
            num_objects,
            num_candidates,
            num_inference_steps,
            guidance_scale,
            num_gaussians,
            extraction,
            eta,
            generator,
            latents,
            prompt_embeds,
            prompt_attention_mask,
            negative_prompt_embeds,
            negative_prompt_attention_mask,
            output_type,
            callback_inputs,
        )
        self._guidance_scale = guidance_scale
        self._interrupt = False
        device = self._execution_device

        count = batch_size // (num_objects_per_prompt * (num_objects or 1))
        each = num_objects_per_prompt * num_candidates
        prompt, prompt_embeds, prompt_attention_mask = (
            one_for_each(value, count) for value in (prompt, prompt_embeds, prompt_attention_mask)
        )
        prompt_embeds, prompt_attention_mask, negative_prompt_embeds, negative_prompt_attention_mask = (
            self.encode_prompt(
                prompt,
                device,
                each,
                self.do_classifier_free_guidance,
                negative_prompt,
                prompt_embeds,
                prompt_attention_mask,
                negative_prompt_embeds,
                negative_prompt_attention_mask,
            )
        )
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        sources = generator
        if isinstance(generator, list):
            sources = [source for source in generator for _ in range(num_candidates)]
        noise = self.prepare_noise(batch_size * num_candidates, device, sources, latents)
        latents, timesteps = self.prepare_latents(noise, start, strength)
        tensors = {
            "latents": latents,
            "context": self.encode_context(context, count, each, device),
            "prompt_embeds": prompt_embeds,
            "prompt_attention_mask": prompt_attention_mask,
            "negative_prompt_embeds": negative_prompt_embeds,
            "negative_prompt_attention_mask": negative_prompt_attention_mask,
        }
        made: Any = self.denoise(tensors, timesteps, sources, eta, callback_on_step_end, callback_inputs)
        if num_candidates > 1:
            made = chosen_by_pictures(self.vae, made, num_candidates, context.images)
        if output_type != "latent":
            parts = [part for part in context.parts if keep_input]
            made = to_output_type(
                self.decode_latents(made, num_gaussians, generator, parts, extraction), output_type
            )

        self.maybe_free_model_hooks()
        return DiffGSPipelineOutput(gaussians=made) if return_dict else (made,)

    def check_inputs(
        self,
        context: Context,
        keep_input: bool,
        num_starts: int,
        strength: float,
        prompt: str | list[str] | None,
        negative_prompt: str | list[str] | None,
        num_objects_per_prompt: int,
        num_objects: int | None,
        num_candidates: int,
        num_inference_steps: int,
        guidance_scale: float,
        num_gaussians: int,
        extraction: Extraction,
        eta: float,
        generator: Generators,
        latents: Tensor | None,
        prompt_embeds: Tensor | None,
        prompt_attention_mask: Tensor | None,
        negative_prompt_embeds: Tensor | None,
        negative_prompt_attention_mask: Tensor | None,
        output_type: str,
        callback_inputs: list[str],
    ) -> int:
        """Checks the arguments of :meth:`__call__`; returns the number of objects B that they ask for.

        Raises:
            TypeError, ValueError: naming the argument, the rule and the value.
        """
        config = self.unet.config
        max_steps = self.scheduler.config.get("num_train_timesteps")
        inputs.check_count("num_inference_steps", num_inference_steps, max_steps)
        inputs.check_count("num_gaussians", num_gaussians)
        inputs.check_count("num_objects_per_prompt", num_objects_per_prompt)
        if num_objects is not None:
            inputs.check_count("num_objects", num_objects)
        inputs.check_count("num_candidates", num_candidates)
        if num_candidates > 1 and not context.images:
            raise ValueError("`num_candidates` chooses by a picture: pass `image`, or leave it out.")
        inputs.check_number("guidance_scale", guidance_scale)
        inputs.check_number("eta", eta)
        inputs.check_strength(strength)
        inputs.check_output_type(output_type)
        check_count(num_gaussians, find_extraction(extraction))
        if output_type != "latent":
            inputs.check_models(self.vae, self.unet)

        given = context.counts() | ({"gaussians": num_starts} if num_starts else {})
        inputs.check_prompts(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, num_objects, bool(given)
        )
        if prompt is not None or prompt_embeds is not None:
            inputs.check_conditional(self.unet)
        width = config.get("cross_attention_dim")
        inputs.check_embeds("prompt", prompt_embeds, prompt_attention_mask, width)
        inputs.check_embeds("negative_prompt", negative_prompt_embeds, negative_prompt_attention_mask, width)
        if prompt is not None or negative_prompt is not None:
            inputs.check_text_encoder(self.tokenizer, self.text_encoder, width)

        models = (self.image_processor, self.image_encoder, self.condition_encoder)
        inputs.check_context(context, keep_input, num_gaussians, *models, self.unet)
        inputs.check_extraction(extraction, context, keep_input)
        if prompt is not None or prompt_embeds is not None:
            given["prompt"] = inputs.num_prompts(prompt, prompt_embeds)
        batch_size = inputs.common_count(given) * num_objects_per_prompt * (num_objects or 1)
        inputs.check_generator(generator, batch_size)
        if latents is not None:
            inputs.check_latents(latents, (batch_size * num_candidates, config.in_channels, config.sample_size))
        inputs.check_callback_inputs(callback_inputs, self._callback_tensor_inputs)
        return batch_size

    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        device: torch.device | None = None,
        num_objects_per_prompt: int = 1,
        do_classifier_free_guidance: bool = True,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: Tensor | None = None,
        prompt_attention_mask: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_prompt_attention_mask: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Condition states of the batch and of what guidance leads away from.

        Args:
            prompt, negative_prompt, …: as in :meth:`__call__`.
            device: where the results lie; the execution device if None.
            do_classifier_free_guidance: False leaves the negative states out.

        Returns:
            states [B, S, D] and mask [B, S] (1 counts), then the same for the negative prompt. A mask of zeros is
            the unconditional case; all four are None for an unconditional batch.
        """
        device = device or self._execution_device
        if prompt is not None:
            prompt_embeds, prompt_attention_mask = self._encode_texts(prompt, 1, device)
        if not do_classifier_free_guidance:
            negative_prompt_embeds = negative_prompt_attention_mask = None
        elif negative_prompt is not None:
            count = 1 if prompt_embeds is None else len(prompt_embeds)
            negative_prompt_embeds, negative_prompt_attention_mask = self._encode_texts(
                negative_prompt, count, device
            )
        if prompt_embeds is None and negative_prompt_embeds is not None:
            prompt_embeds, prompt_attention_mask = null_condition(negative_prompt_embeds)
        elif negative_prompt_embeds is None and prompt_embeds is not None and do_classifier_free_guidance:
            negative_prompt_embeds, negative_prompt_attention_mask = null_condition(prompt_embeds)
        prompt_embeds, prompt_attention_mask = repeat_condition(
            prompt_embeds, prompt_attention_mask, num_objects_per_prompt, device
        )
        negative_prompt_embeds, negative_prompt_attention_mask = repeat_condition(
            negative_prompt_embeds, negative_prompt_attention_mask, num_objects_per_prompt, device
        )
        return prompt_embeds, prompt_attention_mask, negative_prompt_embeds, negative_prompt_attention_mask

    def _encode_texts(self, texts: str | list[str], count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """States and mask of a list of texts, or ``count`` times of one text."""
        if isinstance(texts, str):
            texts = [texts] * count
        return encode_texts(self.tokenizer, self.text_encoder, texts, device)

    def encode_context(
        self, context: Context, count: int, num_objects_per_prompt: int, device: torch.device
    ) -> Condition | None:
        """What pictures, parts and points say of each object of the batch; None if there are none.

        Args:
            context: what was given.
            count: P, how many conditions there are.
            num_objects_per_prompt: objects for each of them.
            device: where the condition is wanted.
        """
        types = list(self.unet.config.get("condition_types", ()))
        models = (self.condition_encoder, self.image_encoder, self.image_processor)
        condition = encode_context(context, count, types, *models, device)
        return None if condition is None else condition.to(device).repeat(num_objects_per_prompt)

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
            strength: how much of them may change, as in :meth:`__call__`.
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
            generator, eta, callback_on_step_end: as in :meth:`__call__`.
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

    def decode_latents(
        self,
        latents: Tensor,
        num_gaussians: int,
        generator: Generators = None,
        parts: Sequence[GaussianSplats] = (),
        extraction: Extraction = "even",
    ) -> list[GaussianSplats]:
        """Objects of ``num_gaussians`` Gaussians each from normalised latents [B, C, L].

        Args:
            latents: of B objects.
            num_gaussians: N.
            generator: one, or one per object.
            parts: partial objects to begin with, P of them for B / P objects each; none if empty.
            extraction: as in :meth:`__call__`; what is added to parts is always spread evenly.
        """
        generators = object_generators(generator, len(latents))
        if parts:
            return complete_objects(self.vae, latents, num_gaussians, generators, parts)
        return decode_objects(self.vae, latents, num_gaussians, generators, find_extraction(extraction))


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
