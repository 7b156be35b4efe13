"""Averaged weights (EMA) of a model that is being trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel


class AveragedWeights:
    """Exponential moving average of a model's parameters; does nothing when switched off.

    Args:
        model: The unwrapped model, on its device.
        decay: Weight of the old average in each update, reached after a warm-up of (1 + t) / (10 + t).
        enabled: Whether to average at all.
    """

    def __init__(self, model: torch.nn.Module, decay: float, enabled: bool = True) -> None:
        self.model = model
        self.average = EMAModel(model.parameters(), decay=decay, foreach=True) if enabled else None

    @property
    def step(self) -> int:
        """Updates so far, 0 when switched off."""
        return 0 if self.average is None else self.average.optimization_step

    def update(self) -> None:
        """Moves the average towards the model's present weights."""
        if self.average is not None:
            self.average.step(self.model.parameters())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the averaged weights into the model for the time of the block."""
        if self.average is None:
            yield
            return
        parameters = list(self.model.parameters())
        self.average.store(parameters)
        self.average.copy_to(parameters)
        try:
            yield
        finally:
            self.average.restore(parameters)

    def load(self, folder: Path, step: int) -> None:
        """Takes the average from weights that ``save_pretrained`` wrote while :meth:`applied`.

        Args:
            folder: Folder of the averaged model.
            step: Updates that went into it.
        """
        if self.average is None:
            return
        averaged = type(self.model).from_pretrained(str(folder))  # type: ignore[attr-defined]
        device = next(self.model.parameters()).device
        self.average.shadow_params = [p.detach().clone().to(device) for p in averaged.parameters()]
        self.average.optimization_step = step
