"""The picture of the 2-D example."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from examples import ddpm_points_2d as example

TRAINING_STEPS = 800


def points(folder: Path) -> dict[str, str]:
    """Held-out points, samples, and samples of the untrained denoiser."""
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent):
        panels, verdicts = example.run("moons", seed=0, steps=TRAINING_STEPS)
    example.draw(panels, folder / "points.png")
    numbers = {"points_held_out": str(example.HELD_OUT_POINTS), "points_steps": str(TRAINING_STEPS)}
    for name, verdict in verdicts.items():
        numbers[f"{name}_distance"] = f"{verdict.distance:.2f}"
        numbers[f"{name}_p"] = f"{verdict.p_value:.3f}"
    return numbers
