"""What the denoiser is told of a batch, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Tokens for the denoiser's cross-attention, and states of the places of the object.

    Args:
        states: [B, S, D] tokens.
        mask: [B, S] integer or bool, 0 for tokens that do not count; a row of zeros is "no condition".
        type_ids: [B, S] integer, each token's index into the denoiser's ``condition_types``.
        aligned: [B, P, D] a state for each of the P positions of the denoiser's sequence; a row of zeros, as None,
            is "no condition".
    """

    states: Tensor
    mask: Tensor
    type_ids: Tensor
    aligned: Tensor | None = None

    @staticmethod
    def of_places(aligned: Tensor) -> Condition:
        """States [B, P, D] of places, without tokens."""
        none = torch.zeros(len(aligned), 0, dtype=torch.long, device=aligned.device)
        return Condition(aligned.new_zeros(len(aligned), 0, aligned.shape[2]), none, none, aligned)

    @staticmethod
    def of_type(states: Tensor, type_id: int, mask: Tensor | None = None) -> Condition:
        """Tokens [B, S, D] of one type; all of them count if there is no mask."""
        ids = torch.full(states.shape[:2], type_id, dtype=torch.long, device=states.device)
        return Condition(states, torch.ones_like(ids) if mask is None else mask, ids)

    def __len__(self) -> int:
        return len(self.states)

    def to(self, device: torch.device) -> Condition:
        """The same on another device."""
        return self._each(lambda value: value.to(device))

    def repeat(self, count: int) -> Condition:
        """Every row ``count`` times in a row."""
        return self._each(lambda value: value.repeat_interleave(count, 0))

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
        if rows is None:
            rows = torch.ones(len(self), dtype=torch.bool, device=self.states.device)
        aligned = None if self.aligned is None else self.aligned * ~rows[:, None, None]
        return Condition(self.states, self.mask * ~rows[:, None], self.type_ids, aligned)

    def padded(self, length: int) -> Condition:
        """With tokens that do not count at the end, up to ``length`` of them."""
        extra = length - self.states.shape[1]
        pad = torch.nn.functional.pad
        tokens = (pad(self.states, (0, 0, 0, extra)), pad(self.mask, (0, extra)), pad(self.type_ids, (0, extra)))
        return Condition(*tokens, self.aligned)

    @staticmethod
    def joined(conditions: Sequence[Condition]) -> Condition:
        """Several conditions of the same objects as one, token after token; what they say of places is added."""
        aligned = [one.aligned for one in conditions if one.aligned is not None]
        return Condition(*_cat(conditions, 1), sum(aligned[1:], aligned[0]) if aligned else None)

    @staticmethod
    def stacked(conditions: Sequence[Condition]) -> Condition:
        """Conditions of several batches as those of one, the shorter ones padded."""
        longest = max(one.states.shape[1] for one in conditions)
        known = next((one.aligned for one in conditions if one.aligned is not None), None)
        aligned = None
        if known is not None:
            nothing = known.new_zeros(1, *known.shape[1:])
            rows = (nothing.expand(len(one), -1, -1) if one.aligned is None else one.aligned for one in conditions)
            aligned = torch.cat(list(rows))
        return Condition(*_cat([one.padded(longest) for one in conditions], 0), aligned)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        aligned = None if self.aligned is None else change(self.aligned)
        return Condition(change(self.states), change(self.mask), change(self.type_ids), aligned)


def _cat(conditions: Sequence[Condition], dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """States, masks and types joined along a dimension."""
    return (
        torch.cat([one.states for one in conditions], dim),
        torch.cat([one.mask for one in conditions], dim),
        torch.cat([one.type_ids for one in conditions], dim),
    )
