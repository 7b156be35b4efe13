"""A denoiser and the encoders of its conditions, trained together (LDM, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from ..models import Condition, ConditionEncoder, UNet1DConditionModel
from ..models.kinds import Denoiser
from ..models.loading import load_denoiser
from ..models.unet_1d_condition import UNet1DConditionOutput

ENCODERS: dict[str, Any] = {
    "text_encoder": CLIPTextModel,
    "image_encoder": CLIPVisionModel,
    "condition_encoder": ConditionEncoder,
}


@dataclass
class ConditionedDenoiserOutput(UNet1DConditionOutput):
    """What :class:`ConditionedDenoiser` returns.

    Attributes:
        guess: [I, C, L], the clean latents as they were guessed from the pictures of the call, if there were any.
    """

    guess: Tensor | None = None


class ConditionedDenoiser(nn.Module):
    """A denoiser called with what conditions are made of in the place of their states.

    A text encoder trained on few images may keep nouns so close together that the denoiser cannot tell them apart;
    here the denoiser's own loss pulls them apart, and teaches the encoder of parts and points all it knows.
    Attention in CLIP's text model is causal, so padding at the end changes nothing before it: the mask is for the
    denoiser alone.

    Args:
        unet: the denoiser.
        text_encoder: gives its states of texts; None if those are given ready-made, or if there are no texts.
        image_encoder: gives states of pictures; None for none.
        condition_encoder: projects those, and gives states of places; None for none.
    """

    def __init__(
        self,
        unet: Denoiser,
        text_encoder: CLIPTextModel | None = None,
        image_encoder: CLIPVisionModel | None = None,
        condition_encoder: ConditionEncoder | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder, self.image_encoder = text_encoder, image_encoder
        self.condition_encoder = condition_encoder

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        texts: Tensor | None = None,
        mask: Tensor | None = None,
        context: Mapping[str, Tensor] | None = None,
    ) -> ConditionedDenoiserOutput:
        """As the denoiser.

        Args:
            sample: [B, C, L].
            timestep: [B].
            texts: token ids [B, S] for the text encoder, or states [B, S, D]; None for none.
            mask: [B, S], 1 for tokens that the denoiser may read.
            context: ``pixels`` [I, 3, H, W] of the rows ``view_rows`` [I]; ``features`` [G, N, F] and ``kind`` [G]
                of the rows ``features_rows`` [G]; and ``keep`` [B] bool, False for rows that are told nothing.
        """
        context, found, guess = context or {}, [], None
        if texts is not None:
            states = texts if self.text_encoder is None else self.text_encoder(texts).last_hidden_state
            found.append(Condition.of_type(states, 0, mask))
        if "pixels" in context:
            pictures, guess = self._pictures(context["pixels"], context["view_rows"], len(sample))
            found.append(pictures)
        if "features" in context:
            found.append(self._places(context, len(sample)))
        if not found:
            return ConditionedDenoiserOutput(self.unet(sample, timestep).sample)
        condition = Condition.joined(found)
        if "keep" in context:
            condition = condition.hidden(~context["keep"])
        told = (condition.states, condition.mask, condition.type_ids, condition.aligned)
        return ConditionedDenoiserOutput(self.unet(sample, timestep, *told).sample, guess)

    def _pictures(self, pixels: Tensor, rows: Tensor, batch_size: int) -> tuple[Condition, Tensor | None]:
        """What the pictures of some rows say, and the latents [I, C, L] guessed from them, if any are."""
        assert self.image_encoder is not None and self.condition_encoder is not None
        states = self.image_encoder(pixels).last_hidden_state
        tokens = _spread(self.condition_encoder.project_images(states), rows, batch_size)
        mask = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=states.device)
        mask[rows] = True
        type_id = list(self.unet.config.condition_types).index("image")
        condition, guesser = Condition.of_type(tokens, type_id, mask), self.condition_encoder.picture_guess
        if guesser is None:
            return condition, None
        guess = guesser.guess(pixels)
        aligned = _spread(guesser.places(guess), rows, batch_size)
        return replace(condition, aligned=aligned), guesser.latents(guess, self.unet.config.patch_size)

    def _places(self, context: Mapping[str, Tensor], batch_size: int) -> Condition:
        assert self.condition_encoder is not None
        states = self.condition_encoder(context["features"], context["kind"])
        return Condition.of_places(_spread(states, context["features_rows"], batch_size))

    def save_pretrained(self, folder: str) -> None:
        """The denoiser to ``folder``, the encoders beside it."""
        self.unet.save_pretrained(folder)
        for name in ENCODERS:
            encoder = getattr(self, name)
            if encoder is not None:
                encoder.save_pretrained(str(Path(folder).with_name(name)))

    @classmethod
    def from_pretrained(cls, folder: str) -> ConditionedDenoiser:
        """All that :meth:`save_pretrained` put there."""
        encoders = {}
        for name, model in ENCODERS.items():
            path = Path(folder).with_name(name)
            encoders[name] = model.from_pretrained(str(path)) if path.is_dir() else None
        return cls(load_denoiser(folder), **encoders)

    def enable_gradient_checkpointing(self) -> None:
        """In the denoiser and the text encoder."""
        self.unet.enable_gradient_checkpointing()
        if self.text_encoder is not None:
            self.text_encoder.gradient_checkpointing_enable()


def _spread(states: Tensor, rows: Tensor, batch_size: int) -> Tensor:
    """States of some rows in a batch whose other rows are zero."""
    return states.new_zeros(batch_size, *states.shape[1:]).index_copy(0, rows, states)


def with_aligned_condition(unet: UNet1DConditionModel) -> UNet1DConditionModel:
    """The denoiser, told of places besides: the same function until it is trained."""
    if unet.config.has_aligned_condition:
        return unet
    grown = UNet1DConditionModel.from_config(unet.config, has_aligned_condition=True)
    grown.load_state_dict(unet.state_dict(), strict=False)
    return grown


class CaptionTokens:
    """Tokens of distinct captions, in memory.

    Args:
        captions: the distinct captions; batches name them by their index.
        tokenizer: of the text encoder.
        device: where batches are wanted.
    """

    def __init__(self, captions: Sequence[str], tokenizer: CLIPTokenizer, device: torch.device) -> None:
        tokens = tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
        self.input_ids, self.mask = tokens.input_ids.to(device), tokens.attention_mask.to(device)

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and mask [B, S] of captions [B], S as long as these captions need."""
        length = int(self.mask[indices].sum(1).max())
        return self.input_ids[indices, :length], self.mask[indices, :length].bool()


def context_of(
    batch: Mapping[str, Tensor],
    image_processor: CLIPImageProcessor | None,
    condition_dropout: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The ``context`` of :class:`ConditionedDenoiser` for a batch of
    :func:`~diffgs_diffusers.data.condition_samples.collate`.

    Args:
        batch: on the device.
        image_processor: of the image encoder.
        condition_dropout: share of the rows that are told nothing, for classifier-free guidance.
        generator: draws them.
    """
    keep = torch.rand(len(batch["latents"]), generator=generator, device=generator.device) >= condition_dropout
    context = {name: batch[name] for name in ("features", "features_rows", "kind", "view_rows") if name in batch}
    if "view" in batch and image_processor is not None:
        context["pixels"] = pixels_of(batch["view"], image_processor)
    return {**context, "keep": keep}


def pixels_of(views: Tensor, image_processor: CLIPImageProcessor) -> Tensor:
    """Pictures [I, H, W, 3] uint8 as their encoder wants them, on the same device."""
    images = list(views.cpu().movedim(-1, 1))
    return image_processor(images=images, return_tensors="pt").pixel_values.to(views.device)
