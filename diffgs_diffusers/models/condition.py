"""Condition tokens of a batch, whatever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """What the denoiser's cross-attention reads; fields in the order of its arguments.

    Args:
        states: [B, S, D] tokens.
        mask: [B, S] integer or bool, 0 for tokens that do not count; a row of zeros is "no condition".
        type_ids: [B, S] integer, each token's index into the denoiser's ``condition_types``.
    """

    states: Tensor
    mask: Tensor
    type_ids: Tensor

    @staticmethod
    def of_type(states: Tensor, type_id: int, mask: Tensor | None = None) -> Condition:
        """Tokens [B, S, D] of one type; all of them count if there is no mask."""
        ids = torch.full(states.shape[:2], type_id, dtype=torch.long, device=states.device)
        return Condition(states, torch.ones_like(ids) if mask is None else mask, ids)

    def __len__(self) -> int:
        return len(self.states)

    def to(self, device: torch.device) -> Condition:
        """The same on another device."""
        return Condition(self.states.to(device), self.mask.to(device), self.type_ids.to(device))

    def repeat(self, count: int) -> Condition:
        """Every row ``count`` times in a row."""
        return Condition(*(value.repeat_interleave(count, 0) for value in self._fields()))

    def expand(self, count: int) -> Condition:
        """A single row for all of ``count``, or as many rows as wanted already.

        Raises:
            ValueError: for another number of rows.
        """
        if len(self) not in (1, count):
            raise ValueError(f"A condition has {len(self)} rows for a batch of {count}.")
        return self if len(self) == count else self.repeat(count)

    def hidden(self, rows: Tensor | None = None) -> Condition:
        """ "No condition" in the rows [B] that are True (all of them if None), and in the same shape."""
        hidden = torch.ones_like(self.mask, dtype=torch.bool) if rows is None else rows[:, None]
        return Condition(self.states, self.mask * ~hidden, self.type_ids)

    def padded(self, length: int) -> Condition:
        """With tokens that do not count at the end, up to ``length`` of them."""
        extra = length - self.states.shape[1]
        pad = torch.nn.functional.pad
        return Condition(
            pad(self.states, (0, 0, 0, extra)), pad(self.mask, (0, extra)), pad(self.type_ids, (0, extra))
        )

    @staticmethod
    def joined(conditions: Sequence[Condition]) -> Condition:
        """Several conditions of the same objects as one, token after token."""
        return _cat(conditions, 1)

    @staticmethod
    def stacked(conditions: Sequence[Condition]) -> Condition:
        """Conditions of several batches as those of one, the shorter ones padded."""
        longest = max(one.states.shape[1] for one in conditions)
        return _cat([one.padded(longest) for one in conditions], 0)

    def _fields(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.states, self.mask, self.type_ids


def _cat(conditions: Sequence[Condition], dim: int) -> Condition:
    parts = zip(*(one._fields() for one in conditions), strict=True)
    return Condition(*(torch.cat(part, dim=dim) for part in parts))
