"""The training object that looks most like a picture."""

from __future__ import annotations

import pytest

from diffgs_diffusers import orbit_cameras
from diffgs_diffusers.data.object_views import picture
from diffgs_diffusers.evaluation.picture_index import PictureIndex
from diffgs_diffusers.functional.pictures import centered_on_white
from tests.factories import painted_ball

OBJECTS = [
    painted_ball((0.9, 0.1, 0.1), (1.0, 0.9, 0.6)),
    painted_ball((0.1, 0.1, 0.9), (1.0, 0.9, 0.6)),
    painted_ball((0.9, 0.1, 0.1), (1.0, 0.3, 1.0)),
]


@pytest.fixture(scope="module")
def index() -> PictureIndex:
    return PictureIndex(OBJECTS)


@pytest.mark.parametrize(("elevation", "azimuth"), [(20.0, 130.0), (-5.0, 318.0), (40.0, 41.0)])
def test_an_object_is_found_by_a_picture_from_any_side(
    index: PictureIndex, elevation: float, azimuth: float
) -> None:
    for place, splats in enumerate(OBJECTS):
        taken = picture(splats, orbit_cameras(1, 128, elevation=elevation, azimuth=azimuth))
        assert index.nearest(centered_on_white(taken)) == place


def test_a_like_object_is_found_by_what_it_is_like(index: PictureIndex) -> None:
    other = painted_ball((0.2, 0.2, 0.7), (1.0, 0.8, 0.6))
    taken = picture(other, orbit_cameras(1, 128, elevation=10.0, azimuth=77.0))
    assert index.nearest(centered_on_white(taken)) == 1
