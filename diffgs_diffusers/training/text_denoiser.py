"""A denoiser and the text encoder that it reads, trained together (LDM, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from ..models import UNet1DConditionModel
from ..models.unet_1d_condition import UNet1DConditionOutput

TEXT_ENCODER = "text_encoder"


class TextDenoiser(nn.Module):
    """A denoiser called with tokens in the place of states.

    A text encoder trained on few images may keep nouns so close together that the denoiser cannot tell them apart;
    here the denoiser's own loss pulls them apart. Attention in CLIP's text model is causal, so padding at the end
    changes nothing before it, and the mask is needed by the denoiser only.

    Args:
        unet: the denoiser.
        text_encoder: gives its states.
    """

    def __init__(self, unet: UNet1DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, sample: Tensor, timestep: Tensor, input_ids: Tensor, mask: Tensor) -> UNet1DConditionOutput:
        """As the denoiser; ``input_ids`` [B, S], ``mask`` [B, S] with 1 for tokens that it may read."""
        states = self.text_encoder(input_ids).last_hidden_state
        return self.unet(sample, timestep, states, mask)

    def save_pretrained(self, folder: str) -> None:
        """The denoiser to ``folder``, the text encoder beside it."""
        self.unet.save_pretrained(folder)
        self.text_encoder.save_pretrained(str(Path(folder).with_name(TEXT_ENCODER)))

    @classmethod
    def from_pretrained(cls, folder: str) -> TextDenoiser:
        """Both from where :meth:`save_pretrained` put them."""
        text_encoder = CLIPTextModel.from_pretrained(str(Path(folder).with_name(TEXT_ENCODER)))
        return cls(UNet1DConditionModel.from_pretrained(folder), text_encoder)

    def enable_gradient_checkpointing(self) -> None:
        """In both."""
        self.unet.enable_gradient_checkpointing()
        self.text_encoder.gradient_checkpointing_enable()


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
