"""The colour judge on shaded primitives whose colour is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffgs_diffusers.data.colors import COLOR_NAMES, random_shade
from diffgs_diffusers.evaluation.colors import ColorJudge
from diffgs_diffusers.evaluation.views import evaluation_cameras, foreground_colors
from diffgs_diffusers.gaussians import GaussianSplats
from tests.evaluation.primitives import box_points, colored, shaded, sphere_points


def views_of(splats: GaussianSplats) -> torch.Tensor:
    return splats.render(evaluation_cameras(48, 4))


@pytest.fixture(scope="module")
def judge() -> ColorJudge:
    """Calibrated on spheres, each name in several shades."""
    generator, points = np.random.default_rng(0), sphere_points()
    samples = {}
    for name in COLOR_NAMES:
        shades = [shaded(tuple(random_shade(name, generator)), points) for _ in range(6)]
        samples[name] = torch.cat([foreground_colors(views_of(colored(points, rgb))) for rgb in shades])
    return ColorJudge.fit(samples)


@pytest.mark.parametrize("name", COLOR_NAMES)
def test_names_shaded_boxes(judge: ColorJudge, name: str) -> None:
    points = box_points((0.8, 0.5, 0.4))
    rgb = np.array(COLOR_NAMES[name]) / 255
    assert judge.dominant(views_of(colored(points, shaded(tuple(rgb), points)))) == name


def test_the_larger_part_decides(judge: ColorJudge) -> None:
    """A blue box on a red one, seen from above the horizon; where they meet, pixels are mixed."""
    points = box_points((0.5, 1.0, 0.5))
    blue = points[:, 1] < 0.1
    rgb = np.where(blue[:, None], np.array(COLOR_NAMES["blue"]) / 255, np.array(COLOR_NAMES["red"]) / 255)
    views = views_of(colored(points, rgb))
    shares = judge.shares(views)
    assert judge.dominant(views) == "blue"
    assert 0.55 < shares["blue"] < 0.75
    assert 0.2 < shares["red"] < 0.4
    assert sum(shares.values()) == pytest.approx(1.0)


def test_background_has_no_say(judge: ColorJudge) -> None:
    """A small black object in an empty image is black, not the colour of what is behind it."""
    assert judge.dominant(views_of(colored(sphere_points(200, 0.1), (0.1, 0.1, 0.1)))) == "black"


def test_nothing_to_see_has_no_colour(judge: ColorJudge) -> None:
    views = torch.zeros(2, 8, 8, 4)
    assert judge.dominant(views) == ""
    assert set(judge.shares(views).values()) == {0.0}


def test_calibration_needs_pixels() -> None:
    with pytest.raises(ValueError, match="'red' has 1 pixels"):
        ColorJudge.fit({"red": torch.rand(1, 3)})


def test_foreground_colors_are_straight() -> None:
    """Half-transparent red premultiplied is (0.4, 0, 0); its own colour is (2/3, 0, 0)."""
    views = torch.zeros(1, 1, 2, 4)
    views[0, 0, 0] = torch.tensor([0.4, 0.0, 0.0, 0.6])
    torch.testing.assert_close(foreground_colors(views), torch.tensor([[2 / 3, 0.0, 0.0]]))
