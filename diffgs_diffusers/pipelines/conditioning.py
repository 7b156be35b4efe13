"""Texts to condition states for cross-attention, and what is done with such states."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompts:
    """The texts of a call, or states in their place, named as the arguments of :meth:`DiffGSPipeline.__call__`."""

    prompt: str | list[str] | None
    negative_prompt: str | list[str] | None
    prompt_embeds: Tensor | None
    prompt_attention_mask: Tensor | None
    negative_prompt_embeds: Tensor | None
    negative_prompt_attention_mask: Tensor | None

    @property
    def are_given(self) -> bool:
        """Whether there is something to lead to."""
        return self.prompt is not None or self.prompt_embeds is not None

    @property
    def count(self) -> int:
        """P, the number of prompts; 1 for none."""
        if self.prompt_embeds is not None:
            return len(self.prompt_embeds)
        return len(self.prompt) if isinstance(self.prompt, list) else 1

    def for_each(self, count: int) -> Prompts:
        """With a single prompt ``count`` times; what guidance leads away from follows its number by itself."""
        names = ("prompt", "prompt_embeds", "prompt_attention_mask")
        return replace(self, **{name: one_for_each(getattr(self, name), count) for name in names})


def encode_texts(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, texts: list[str], device: torch.device
) -> tuple[Tensor, Tensor]:
    """CLIP's last hidden states of texts, and which of them belong to the text.

    Every text is padded to the encoder's full length, so that a text's states have one shape in every batch; the
    mask hides the padding.

    Args:
        tokenizer: of the text encoder.
        text_encoder: gives states of width D.
        texts: P texts; one that is too long is cut, with a warning that names what was cut.
        device: where the encoder runs.

    Returns:
        states [P, S, D] and mask [P, S], 1 for the text's own tokens.
    """
    max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    warn_about_cut_texts(tokenizer, texts, max_length)
    tokens = tokenizer(texts, padding="max_length", max_length=max_length, truncation=True, return_tensors="pt")
    mask = tokens.attention_mask.to(device)
    states = text_encoder(tokens.input_ids.to(device), attention_mask=mask).last_hidden_state
    return states, mask


def warn_about_cut_texts(tokenizer: CLIPTokenizer, texts: list[str], max_length: int) -> None:
    """Logs a warning for every text of more than ``max_length`` tokens, with the part that will be ignored."""
    for text in texts:
        # With a limit far away the tokenizer keeps quiet about long texts, in whose place we warn.
        ids = tokenizer(text, truncation=True, max_length=10**6).input_ids
        if len(ids) > max_length:
            cut = tokenizer.decode(ids[max_length - 1 : -1])
            logger.warning(
                f"The prompt is longer than the {max_length} tokens that the text encoder reads; this part of it "
                f"was cut off: {cut!r}"
            )


def one_for_each(value: Any, count: int) -> Any:
    """A text, a list of one, or a tensor of one row, ``count`` times; anything else as it is."""
    if isinstance(value, str):
        return [value] * count
    if value is None or len(value) != 1:
        return value
    return value * count if isinstance(value, list) else value.repeat_interleave(count, 0)


def null_condition(states: Tensor) -> tuple[Tensor, Tensor]:
    """States [B, S, D] and mask [B, S] of "no condition" in the shape of ``states``: everything is masked."""
    return torch.zeros_like(states), torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)


def repeat_condition(
    states: Tensor | None, mask: Tensor | None, count: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Each prompt's states [P, S, D] and mask [P, S] (ones if None), ``count`` times in a row."""
    if states is None:
        return None, None
    if mask is None:
        mask = torch.ones(states.shape[:2], dtype=torch.long)
    return states.to(device).repeat_interleave(count, 0), mask.to(device).repeat_interleave(count, 0)
