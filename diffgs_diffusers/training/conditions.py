"""Condition states of many captions, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EncodeTexts = Callable[[list[str]], tuple[Tensor, Tensor]]


class CaptionStates:
    """Text states of distinct captions, in memory, in half precision, cut to the longest caption.

    Args:
        captions: the distinct captions; batches name them by their index.
        encode: texts -> (states [P, S, D], mask [P, S]), as the pipeline encodes its prompts.
        device: where batches are wanted; the table itself lies there too.
        batch_size: captions encoded at a time.

    Raises:
        ValueError: if there is no caption or a state is not finite.
    """

    def __init__(
        self, captions: Sequence[str], encode: EncodeTexts, device: torch.device, batch_size: int = 256
    ) -> None:
        if not captions:
            raise ValueError("There are no captions: the latents folder has an empty metadata.jsonl.")
        chunks = []
        with torch.no_grad():
            for start in range(0, len(captions), batch_size):
                states, mask = encode(list(captions[start : start + batch_size]))
                length = int(mask.sum(1).max())
                chunks.append((states[:, :length].half(), mask[:, :length].bool()))
        longest = max(mask.shape[1] for _, mask in chunks)
        pad = torch.nn.functional.pad
        self.states = torch.cat([pad(states, (0, 0, 0, longest - states.shape[1])) for states, _ in chunks]).to(
            device
        )
        self.mask = torch.cat([pad(mask, (0, longest - mask.shape[1])) for _, mask in chunks]).to(device)
        if not torch.isfinite(self.states).all():
            raise ValueError("The text encoder gave states that are not finite in half precision.")

    def __len__(self) -> int:
        return len(self.states)

    @property
    def dim(self) -> int:
        """D, the size of a state."""
        return self.states.shape[2]

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, S, D] in float32 and mask [B, S] of captions [B], S as long as these captions need."""
        mask = self.mask[indices]
        length = int(mask.sum(1).max())
        return self.states[indices, :length].float(), mask[:, :length]
