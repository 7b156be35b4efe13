"""What objects are told: texts, pictures, parts and points as condition states."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from ..models import Condition
from .conditioning import Prompts, encode_texts, null_condition, repeat_condition
from .context import Context, encode_context

_STATES = (
    "prompt_embeds",
    "prompt_attention_mask",
    "negative_prompt_embeds",
    "negative_prompt_attention_mask",
)


class ConditionMixin(DiffusionPipeline):
    """How a pipeline with encoders, some of which may be None, makes conditions of what it is given."""

    def encode_conditions(
        self, prompts: Prompts, context: Context, count: int, num_objects_per_prompt: int, device: torch.device
    ) -> dict[str, Any]:
        """The condition of a batch, by the names under which :meth:`denoise` takes it.

        Args:
            prompts: one for all, or one for each condition.
            context: the same of pictures, parts and points.
            count: P, how many conditions there are.
            num_objects_per_prompt: objects for each of them.
            device: where the condition is wanted.
        """
        states = self.encode_prompt(
            device=device,
            num_objects_per_prompt=num_objects_per_prompt,
            do_classifier_free_guidance=self.do_classifier_free_guidance,
            **vars(prompts.for_each(count)),
        )
        further = self.encode_context(context, count, num_objects_per_prompt, device)
        return dict(zip(_STATES, states, strict=True)) | {"context": further}

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
            prompt, negative_prompt, …: as in :meth:`DiffGSPipeline.__call__`.
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
