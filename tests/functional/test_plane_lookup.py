"""The CPU's lookup agrees with torch's, in values and in every gradient."""

from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.functional.plane_lookup import plane_features
from diffgs_diffusers.functional.triplane import sample_planes
from tests.factories import planes_and_points

PADDING = 0.1


def reference(planes: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    joined = sample_planes(planes, points, PADDING).transpose(1, 2).flatten(2)
    return torch.cat([joined, points.to(joined.dtype)], dim=-1)


def problem(resolution: int, channels: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Two objects' planes, points, and a gradient to send back."""
    planes, points = planes_and_points(2, resolution, channels, PADDING)
    generator = torch.Generator().manual_seed(0)
    return planes.to(dtype), points, torch.randn(2, 500, 3 * channels + 3, generator=generator).to(dtype)


@pytest.mark.parametrize(("resolution", "channels"), [(2, 1), (8, 5), (64, 48)])
def test_values_and_gradients_are_those_of_grid_sample(resolution: int, channels: int):
    planes, points, v_rows = problem(resolution, channels)
    results = []
    for function in (reference, lambda a, b: plane_features(a, b, PADDING)):
        leaves = planes.clone().requires_grad_(), points.clone().requires_grad_()
        rows = function(*leaves)
        results.append([rows.detach(), *torch.autograd.grad(rows, leaves, v_rows)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5 * float(expected.abs().max()), rtol=1e-4)


def test_planes_of_one_cell_are_constant():
    planes, points, _ = problem(1, 4)
    rows = plane_features(planes, points, PADDING)
    torch.testing.assert_close(rows[..., :12], planes[..., 0, 0].flatten(1)[:, None].expand(2, 500, 12))


def test_half_precision_is_rounded_once_and_coordinates_are_not():
    """A coordinate rounded to bfloat16 would move a point by several cells' hundredths; features are rounded."""
    planes, points, v_rows = problem(64, 48, torch.bfloat16)
    leaf = planes.clone().requires_grad_()
    rows = plane_features(leaf, points, PADDING)
    exact = plane_features(planes.float(), points, PADDING)
    assert rows.dtype == torch.bfloat16
    torch.testing.assert_close(rows, exact.to(torch.bfloat16), atol=0, rtol=0)
    (v_planes,) = torch.autograd.grad(rows, leaf, v_rows)
    assert v_planes.dtype == torch.bfloat16


def test_rows_rounded_as_they_are_written_are_those_rounded_afterwards():
    """Heads in bfloat16 read planes in float32; numbers in the middle between two of theirs go to the even one."""
    planes, points, v_rows = problem(64, 5)
    planes[..., 0, 0] = 1 + torch.tensor([1, 3, 5, 7, 9]) / 256
    points[:, :50] = -1.0
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        leaf = points.clone().requires_grad_()
        rows = plane_features(planes, leaf, PADDING, dtype)
        assert rows.dtype == dtype
        v_points = torch.autograd.grad(rows, leaf, v_rows.to(torch.bfloat16).to(dtype))[0]
        results.append((rows.detach().to(torch.bfloat16), v_points))
    for exact, rounded in zip(*results, strict=True):
        assert torch.equal(exact, rounded)


def test_other_types_and_second_derivatives_are_left_to_torch():
    planes, points, _ = problem(4, 2, torch.float64)
    torch.testing.assert_close(plane_features(planes, points, PADDING), reference(planes, points))
    single = planes.float().requires_grad_()
    rows = plane_features(single, points, PADDING)
    (gradient,) = torch.autograd.grad(rows.square().sum(), single, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_threads_change_no_bit():
    planes, points, v_rows = problem(16, 8)
    points, v_rows = points.repeat(1, 40, 1), v_rows.repeat(1, 40, 1)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            leaves = planes.clone().requires_grad_(), points.clone().requires_grad_()
            rows = plane_features(*leaves, PADDING)
            results.append([rows.detach(), *torch.autograd.grad(rows, leaves, v_rows)])
    finally:
        torch.set_num_threads(before)
    for one, four in zip(*results, strict=True):
        assert torch.equal(one, four)
