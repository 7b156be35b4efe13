"""Diversity of known clouds, and the first n of a larger result beside n extracted at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.evaluation.guidance_sweep import diversity, sweep_row
from diffgs_diffusers.evaluation.progressive import DIRECT, FITTED, PREFIX, progressive_scores
from tests.evaluation.primitives import colored
from tests.factories import sphere_splats


def test_every_count_has_all_ways(tiny_pipeline: DiffGSPipeline) -> None:
    scores = progressive_scores(tiny_pipeline.vae, sphere_splats(300), (100, 400), 800, size=32)
    ways = (DIRECT, PREFIX, FITTED)
    assert list(scores) == [f"800, {DIRECT}", *(f"{count}, {way}" for count in (100, 400) for way in ways)]
    # Nearer to what is extracted at once than the mere slice.
    for count in (100, 400):
        direct, plain, fitted = (scores[f"{count}, {way}"].psnr for way in ways)
        assert abs(fitted - direct) < abs(plain - direct)


def test_diversity_is_the_mean_distance_of_two_objects_of_a_prompt() -> None:
    axis = np.arange(6) * 0.1
    grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3) - 0.25
    grey = (0.5, 0.5, 0.5)
    first, near, far = (colored(grid + np.array([shift, 0, 0]), grey) for shift in (0.0, 0.02, 0.04))
    assert diversity({"a": [first, first]}) == 0.0
    assert diversity({"a": [first, near]}) == pytest.approx(0.02, rel=1e-4)
    assert diversity({"a": [first, near, far], "b": [first, far, None]}) == pytest.approx(
        ((0.02 + 0.02 + 0.04) / 3 + 0.04) / 2, rel=1e-4
    )
    assert math.isnan(diversity({"a": [first], "b": [None, first]}))


def test_a_row_of_the_sweep_takes_what_was_measured() -> None:
    summary = {"num_objects": 3, "color_accuracy": 0.5, "r_precision": 0.25, "judges": {}}
    splats = sphere_splats(300)
    row = sweep_row(summary, {"a": [splats, splats, None]})
    assert row == {
        "num_objects": 3,
        "color_accuracy": 0.5,
        "r_precision": 0.25,
        "diversity": 0.0,
        "num_empty": 1,
    }
