from __future__ import annotations

import math

import pytest
import torch

from diffgs_diffusers.cameras import Cameras, orbit_cameras, sphere_cameras


def project(cameras: Cameras, point: list[float]) -> torch.Tensor:
    """Pixels [C, 2] and depth of a world point, written out from the definition of a pinhole camera."""
    world = torch.tensor([*point, 1.0])
    in_camera = (cameras.viewmats @ world)[:, :3]
    pixels = (cameras.Ks @ in_camera[..., None])[..., 0]
    return torch.cat([pixels[:, :2] / pixels[:, 2:], in_camera[:, 2:]], dim=1)


def test_orbit_looks_at_the_origin_from_its_radius_with_the_world_upright():
    cameras = orbit_cameras(5, 64, radius=3.0)
    centre = project(cameras, [0, 0, 0])
    torch.testing.assert_close(centre, torch.tensor([[32.0, 32.0, 3.0]]).expand(5, 3))
    torch.testing.assert_close(cameras.positions.norm(dim=1), torch.full((5,), 3.0))
    above = project(cameras, [0, -0.5, 0])  # up is -y, and rows count downwards
    assert (above[:, 1] < 32).all()
    torch.testing.assert_close(above[:, 0], torch.full((5,), 32.0), atol=1e-4, rtol=0)


def test_first_camera_at_azimuth_zero_sees_the_front_with_plus_x_on_the_left():
    """Seen from the front, the world's +x lies on the image's left: the frame is right-handed."""
    camera = orbit_cameras(1, 64, elevation=0, azimuth=0, radius=2.0)
    torch.testing.assert_close(camera.positions, torch.tensor([[0.0, 0.0, 2.0]]))
    assert project(camera, [0.3, 0, 0])[0, 0] < 32


def test_focal_length_is_that_of_the_field_of_view():
    camera = orbit_cameras(1, 100, fov=60)
    assert camera.Ks[0, 0, 0].item() == pytest.approx(50 / math.tan(math.radians(30)), rel=1e-6)


@pytest.mark.parametrize("fov", [20.0, 40.0, 70.0])
def test_the_ball_about_the_object_just_fits_the_image(fov):
    cameras = orbit_cameras(1, 64, elevation=0, azimuth=0, fov=fov)
    radius = 0.9 * math.sqrt(3) / 2
    angles = torch.linspace(0, 2 * math.pi, 2001)
    edge = torch.stack([torch.zeros_like(angles), radius * angles.cos(), radius * angles.sin()], dim=1)
    rows = torch.cat([project(cameras, point.tolist())[:, 1] for point in edge])
    assert rows.min() > -1e-3 and rows.max() < 64 + 1e-3
    assert rows.max() - rows.min() > 63.9


def test_a_corner_of_a_full_cube_may_be_cut():
    """What the docstring admits: seen from above a corner, the lower one in front is outside."""
    camera = orbit_cameras(1, 64, azimuth=45)
    assert project(camera, [0.5, 0.5, 0.5])[0, 1] > 64
    assert (project(camera, [0.5, 0.0, 0.0])[0, :2] < 64).all()


def test_sphere_cameras_keep_the_elevations_and_repeat_with_the_generator():
    make = lambda: sphere_cameras(40, 32, generator=torch.Generator().manual_seed(3), elevations=(-10, 50))  # noqa: E731
    first, second = make(), make()
    assert torch.equal(first.viewmats, second.viewmats)
    elevation = torch.rad2deg(torch.asin(-first.positions[:, 1] / first.positions.norm(dim=1)))
    assert elevation.min() >= -10.01 and elevation.max() <= 50.01
    assert elevation.max() - elevation.min() > 50


def test_resizing_scales_pixels_only():
    small = orbit_cameras(1, 64)
    large = small.resized(128, 256)
    before, after = project(small, [0.1, 0.2, -0.1]), project(large, [0.1, 0.2, -0.1])
    torch.testing.assert_close(after, before * torch.tensor([2.0, 4.0, 1.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_views": 0, "size": 8}, "`num_views` must be at least 1, got 0"),
        ({"num_views": 1, "size": 8, "fov": 180}, "`fov` must lie between"),
        ({"num_views": 1, "size": 8, "elevation": 90}, "between -89 and 89"),
        ({"num_views": 1, "size": 0}, "at least one pixel"),
        ({"num_views": 1, "size": 8, "radius": 0.0}, "`radius` must be positive"),
        ({"num_views": 1, "size": 8, "radius": float("nan")}, "`radius` must be positive"),
    ],
)
def test_impossible_orbits_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        orbit_cameras(**arguments)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"`viewmats` must be \[C, 4, 4\]"):
        Cameras(torch.eye(4), torch.eye(3)[None], 8, 8)
