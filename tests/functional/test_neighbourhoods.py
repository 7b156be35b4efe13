"""Frames of surfaces from points."""

from __future__ import annotations

import numpy as np

from diffgs_diffusers.functional.neighbourhoods import surface_frames


def test_normals_of_a_ball_point_away_from_its_centre() -> None:
    points = np.random.default_rng(0).standard_normal((2000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    frames = surface_frames(points)
    assert np.abs((frames[:, :, 2] * points).sum(axis=1)).mean() > 0.99
    np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-9)
    np.testing.assert_allclose(
        frames @ frames.transpose(0, 2, 1), np.broadcast_to(np.eye(3), frames.shape), atol=1e-9
    )


def test_the_first_axis_lies_along_a_rod() -> None:
    points = np.random.default_rng(0).standard_normal((300, 3)) * [0.01, 5.0, 0.05]
    assert np.abs(surface_frames(points)[:, 1, 0]).mean() > 0.9


def test_few_points_have_frames_too() -> None:
    for count in (1, 2, 3):
        frames = surface_frames(np.random.default_rng(0).standard_normal((count, 3)))
        np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-9)
