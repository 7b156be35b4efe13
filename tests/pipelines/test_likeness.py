"""How like a picture an object looks, and from where."""

from __future__ import annotations

import pytest

from diffgs_diffusers import orbit_cameras
from diffgs_diffusers.data.object_views import picture
from diffgs_diffusers.functional.pictures import centered_on_white, load_picture
from diffgs_diffusers.pipelines.likeness import likeness
from tests.factories import painted_ball

RED, FLAT = painted_ball((0.9, 0.1, 0.1), (1.0, 0.9, 0.6)), painted_ball((0.9, 0.1, 0.1), (1.0, 0.3, 1.0))
BLUE = painted_ball((0.1, 0.1, 0.9), (1.0, 0.9, 0.6))


@pytest.mark.parametrize(("elevation", "azimuth"), [(20.0, 130.0), (3.0, 318.0), (40.0, 41.0)])
def test_the_side_that_a_picture_was_taken_from_is_found(elevation: float, azimuth: float) -> None:
    taken = centered_on_white(picture(RED, orbit_cameras(1, 100, elevation=elevation, azimuth=azimuth)))
    found = likeness(RED, taken)
    assert abs((found.azimuth - azimuth + 180) % 360 - 180) < 8
    assert abs(found.elevation - elevation) < 12
    assert found.error < 0.004
    assert likeness(BLUE, taken).error > 5 * found.error
    assert likeness(FLAT, taken).error > 5 * found.error


def test_another_background_changes_nothing() -> None:
    cameras = orbit_cameras(1, 100, elevation=20, azimuth=60)
    on_grey = RED.render(cameras, background=(0.5, 0.5, 0.5))[0, ..., :3].clamp(0, 1).numpy()
    assert likeness(RED, centered_on_white(load_picture(on_grey))).error < 0.004
