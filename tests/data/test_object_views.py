"""Pictures of objects: square, on white, the object in the middle, from all sides that people look from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffgs_diffusers import GaussianSplats
from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.data.object_views import (
    picture,
    random_camera,
    random_picture,
    random_side,
    side_camera,
    small_view,
)
from tests.factories import sphere_splats

SIZE = 64
RGB = (0.8, 0.2, 0.1)


def odd_object() -> GaussianSplats:
    """A large red ball and a small blue one, off the middle: every side shows something else."""
    red = sphere_splats(400, radius=0.2, rgb=RGB)
    blue = sphere_splats(200, radius=0.1, rgb=(0.1, 0.2, 0.8))
    return GaussianSplats.concatenate(
        [red.transform(translation=torch.tensor([0.2, 0.1, 0.0])), blue.transform(translation=-torch.ones(3) / 5)]
    )


def random_view(splats: GaussianSplats, seed: int) -> torch.Tensor:
    return small_view(random_picture(splats, 2 * SIZE, np.random.default_rng(seed))[0], SIZE)


@pytest.mark.parametrize("seed", range(4))
def test_the_object_stands_in_the_middle_of_a_white_square(seed):
    view = random_view(odd_object(), seed)
    assert view.shape == (SIZE, SIZE, 3)
    assert view.dtype == torch.uint8
    seen = (view.float() - 255).abs().amax(dim=2) > 40
    sides = []
    for found in (seen.any(dim=0).nonzero()[:, 0], seen.any(dim=1).nonzero()[:, 0]):
        before, behind = int(found[0]), SIZE - 1 - int(found[-1])
        assert abs(before - behind) <= 2
        sides.append(SIZE - before - behind)
    # A tenth is free at either end of the longer side, and the outermost pixels are too pale to count.
    assert 0.74 * SIZE <= max(sides) <= 0.84 * SIZE
    border = torch.cat([view[0], view[-1], view[:, 0], view[:, -1]])
    assert (border == 255).all()


def test_a_view_has_the_colors_of_the_object():
    view = random_view(sphere_splats(800, rgb=RGB), 0).float() / 255
    middle = view[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4].flatten(0, 1).median(dim=0).values
    torch.testing.assert_close(middle, torch.tensor(RGB), atol=0.05, rtol=0)


def test_the_generator_alone_decides_the_side():
    splats = odd_object()
    views = [random_view(splats, seed) for seed in (0, 1, 2)]
    torch.manual_seed(7)
    np.random.seed(7)
    assert torch.equal(views[1], random_view(splats, 1))
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (views[first].float() - views[second].float()).abs().mean() > 5


def test_cameras_stand_on_all_sides_and_neither_far_below_nor_straight_above():
    generator = np.random.default_rng(0)
    positions = torch.cat([random_camera(SIZE, generator).positions for _ in range(300)])
    upwards = -positions[:, 1] / positions.norm(dim=1)  # the world's up is −y
    elevations = torch.rad2deg(upwards.asin())
    assert -10.01 < elevations.min() < -8 and 43 < elevations.max() < 45.01
    sides = torch.atan2(positions[:, 0], positions[:, 2]) / (torch.pi / 4)
    assert (sides.floor().long() + 4).bincount(minlength=8).min() > 20


def test_what_can_be_seen_through_keeps_its_color_and_is_transparent():
    """The renderer's colours are multiplied with their opacity; a picture's are not."""
    splats = sphere_splats(800, rgb=RGB)
    pale = replace(splats, opacities=torch.full((800,), 0.1))
    pixels = np.asarray(picture(pale, orbit_cameras(1, SIZE)))
    assert pixels.shape == (SIZE, SIZE, 4)
    assert pixels[0, 0, 3] == 0
    middle = pixels[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4].reshape(-1, 4)
    alpha = np.median(middle[:, 3])
    assert 20 < alpha < 200
    np.testing.assert_allclose(np.median(middle[:, :3], axis=0), 255 * np.array(RGB), atol=6)
    whole = np.asarray(picture(splats, orbit_cameras(1, SIZE)))
    assert whole[SIZE // 2, SIZE // 2, 3] > alpha + 40


def test_a_picture_is_taken_from_the_side_that_is_said():
    seen, side = random_picture(odd_object(), SIZE, np.random.default_rng(5))
    assert seen.tobytes() == picture(odd_object(), side_camera(side, SIZE)).tobytes()


def pale_beads(opacity: float) -> GaussianSplats:
    """Forty beads on a string from left to right, each too pale to be seen unless others stand behind it."""
    beads = sphere_splats(40, rgb=RGB)
    means = torch.zeros(40, 3)
    means[:, 0] = torch.linspace(-0.45, 0.45, 40)
    return replace(beads, means=means, scales=torch.full((40, 3), 0.006), opacities=torch.full((40,), opacity))


def test_a_side_that_shows_nothing_is_passed_over():
    first = random_side(np.random.default_rng(0))
    _, (elevation, azimuth) = random_picture(pale_beads(0.05), SIZE, np.random.default_rng(0))
    along = abs(np.cos(np.deg2rad(elevation)) * np.sin(np.deg2rad(azimuth)))  # of the string, to the right
    assert (elevation, azimuth) != first
    assert along > 0.9 > abs(np.cos(np.deg2rad(first[0])) * np.sin(np.deg2rad(first[1])))


def test_an_object_that_cannot_be_seen_is_refused():
    with pytest.raises(ValueError, match="cannot be seen from any of 100 sides"):
        random_picture(pale_beads(0.001), SIZE, np.random.default_rng(0))
