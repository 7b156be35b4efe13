"""Metrics against closed forms and slow formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from diffgs_diffusers.evaluation.metrics import chamfer_distance, f_score, psnr, ssim


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_constant_offset() -> None:
    images = noise(0, 2, 8, 8, 3) * 0.5
    torch.testing.assert_close(psnr(images + 0.1, images), torch.full((2,), 20.0))


def test_ssim_of_equal_images_is_one() -> None:
    images = noise(0, 2, 16, 20, 3)
    torch.testing.assert_close(ssim(images, images), torch.ones(2))


def test_ssim_of_constant_images() -> None:
    """Without variance only the luminance term is left."""
    a, b, c1 = 0.2, 0.7, 1e-4
    value = ssim(torch.full((1, 12, 12, 1), a), torch.full((1, 12, 12, 1), b))
    torch.testing.assert_close(value, torch.tensor([(2 * a * b + c1) / (a * a + b * b + c1)]))


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, window by window, for one channel."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            p, q = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            cov = (weights * (p - mp) * (q - mq)).sum()
            top = (2 * mp * mq + 1e-4) * (2 * cov + 9e-4)
            values.append(top / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    return float(np.mean(values))


def test_ssim_against_its_definition() -> None:
    x, y = noise(0, 1, 15, 13, 2), noise(1, 1, 15, 13, 2)
    y = 0.6 * x + 0.4 * y
    expected = np.mean([slow_ssim(x[0, ..., c].double().numpy(), y[0, ..., c].double().numpy()) for c in (0, 1)])
    assert ssim(x, y).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 10, 20, 3), (20, 20, 3)])
def test_ssim_refuses_what_has_no_window(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(torch.zeros(shape), torch.zeros(shape))


def test_chamfer_of_a_shifted_grid() -> None:
    """A shift by less than half a cell moves every point by just that."""
    axis = np.arange(5) * 0.1
    grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    moved = grid + np.array([0.03, 0.0, 0.0])
    assert chamfer_distance(grid, moved) == pytest.approx(0.03)
    assert chamfer_distance(grid, cKDTree(moved), cKDTree(grid)) == pytest.approx(0.03)


def test_chamfer_is_the_mean_of_both_directions() -> None:
    points, others = np.zeros((1, 3)), np.array([[1.0, 0, 0], [3.0, 0, 0]])
    assert chamfer_distance(points, others) == pytest.approx((1 + (1 + 3) / 2) / 2)
    assert math.isclose(chamfer_distance(points, others), chamfer_distance(others, points))


def test_f_score_of_known_overlap() -> None:
    points = np.stack([np.arange(10.0), np.zeros(10), np.zeros(10)], axis=1)
    near, far = (points + np.array([0, offset, 0]) for offset in (0.019, 0.021))
    assert f_score(cKDTree(points), cKDTree(near)) == 1
    assert f_score(cKDTree(points), cKDTree(far)) == 0
    # All that is there is right, half of all is there.
    assert f_score(cKDTree(points[:5]), cKDTree(points)) == pytest.approx(2 / 3)
