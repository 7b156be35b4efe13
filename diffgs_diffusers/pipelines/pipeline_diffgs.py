"""Any condition, or none, to 3D Gaussian objects: latent diffusion over Gaussian functions (DiffGS, section 3)."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import SchedulerMixin
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from ..gaussians import GaussianSplats
from ..hub import HubPipelineMixin
from ..models import ConditionEncoder
from ..models.kinds import Denoiser, PipelineVAE
from .checking import CheckMixin, Counts, Settings
from .conditioning import Prompts
from .context import read_context
from .decoding import Extraction, Generators, candidate_generators, chosen_latents
from .denoising import DenoisingMixin, StepCallback
from .encoding import ConditionMixin
from .latent_space import LatentSpaceMixin
from .mending import default_mending_steps
from .pipeline_output import DiffGSPipelineOutput, to_output_type
from .variation import read_start


class DiffGSPipeline(HubPipelineMixin, CheckMixin, ConditionMixin, DenoisingMixin, LatentSpaceMixin):
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
        mending_steps: int | None = None,
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
            num_candidates: K, how many objects are tried for each that is returned. Kept is the soundest, whose
                Gaussians the VAE's encoder finds nearest to what they were made of; with ``image``, of the half
                that looks most like it, the one that the others are most like. Time grows with K; only with a
                condition.
            mending_steps: how often an object is encoded and decoded once more, which closes holes, mends legs and
                smooths; None for 1, or 0 with ``partial``, ``points`` or ``gaussians``, which are followed more
                closely without, and for an original VAE. Latents are returned as they were before.
            num_inference_steps: denoising steps.
            guidance_scale: strength of the condition; 1 or less runs the denoiser once a step instead of twice.
            num_gaussians: N, exact, for each object.
            extraction: how Gaussians are found: "even", spread evenly over the surface, "fast", the same with a
                search in bfloat16, "sharp", what suits refined latents, "original", the way of the released DiffGS
                (``docs/original.md``), or settings.
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
        prompts = Prompts(
            prompt,
            negative_prompt,
            prompt_embeds,
            prompt_attention_mask,
            negative_prompt_embeds,
            negative_prompt_attention_mask,
        )
        if mending_steps is None:
            given = [*context.counts(), *(["gaussians"] if len(start) else [])]
            mending_steps = default_mending_steps(self.vae, given)
        counts = Counts(
            num_objects_per_prompt, num_objects, num_candidates, mending_steps, num_inference_steps, num_gaussians
        )
        settings = Settings(keep_input, strength, guidance_scale, extraction, eta, output_type)
        batch_size = self.check_inputs(
            context, start, prompts, counts, settings, generator, latents, callback_inputs
        )
        self._guidance_scale = guidance_scale
        self._interrupt = False
        device = self._execution_device

        count, each = batch_size // counts.objects_for_each, num_objects_per_prompt * num_candidates
        tensors = self.encode_conditions(prompts, context, count, each, device)
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        sources = candidate_generators(generator, num_candidates)
        noise = self.prepare_noise(batch_size * num_candidates, device, sources, latents)
        tensors["latents"], timesteps = self.prepare_latents(noise, start, strength)
        made: Any = self.denoise(tensors, timesteps, sources, eta, callback_on_step_end, callback_inputs)
        if num_candidates > 1:
            made = chosen_latents(self.vae, made, num_candidates, context.images)
        if output_type != "latent":
            parts = context.parts if keep_input else []
            objects = self.decode_latents(made, num_gaussians, generator, parts, extraction, counts.mending_steps)
            made = to_output_type(objects, output_type)

        self.maybe_free_model_hooks()
        return DiffGSPipelineOutput(gaussians=made) if return_dict else (made,)
