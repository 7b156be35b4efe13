"""Stretched Gaussians against the library's singular value decomposition."""

from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.functional.jacobi import stretch_gaussians
from diffgs_diffusers.functional.quaternions import quaternions_to_matrices


def gaussians(count: int, dtype: torch.dtype, flatness: float = 0.01) -> tuple[torch.Tensor, torch.Tensor]:
    """Random quaternions of any length and scales, the third axis the normal of a flat Gaussian."""
    generator = torch.Generator().manual_seed(0)
    quats = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    scales = 0.01 * torch.rand(count, 3, generator=generator, dtype=torch.float64) + 1e-4
    scales[:, 2] *= flatness
    return quats.to(dtype), scales.to(dtype)


@pytest.mark.parametrize(
    ("dtype", "flatness", "factors", "sweeps", "tolerance"),
    [
        (torch.float32, 0.01, [1.2, 0.8, 1.0], 4, 3e-6),
        (torch.float64, 0.01, [1.2, 0.8, 1.0], 4, 1e-12),
        (torch.float64, 1.0, [9.0, 0.1, 1.0], 8, 1e-9),
    ],
)
def test_it_is_the_singular_value_decomposition(dtype, flatness, factors, sweeps, tolerance):
    quats, scales = gaussians(500, dtype, flatness)
    factors = torch.tensor(factors, dtype=dtype)
    found, values = stretch_gaussians(quats, scales, factors, sweeps)
    assert (found[:, 0] >= 0).all()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(500, dtype=dtype), rtol=0, atol=tolerance)
    matrices = factors.double()[:, None] * quaternions_to_matrices(quats.double()) * scales.double()[:, None]
    torch.testing.assert_close(values.double(), torch.linalg.svdvals(matrices), rtol=tolerance, atol=0)
    frames = quaternions_to_matrices(found.double())
    squares = matrices @ matrices.transpose(1, 2)
    rebuilt = (frames * values.double()[:, None] ** 2) @ frames.transpose(1, 2)
    largest = squares.abs().amax(dim=(1, 2))
    assert ((rebuilt - squares).abs().amax(dim=(1, 2)) < 4 * tolerance * largest).all()


def test_orthogonal_and_equal_axes_are_left_alone():
    """Where there is nothing to turn, no division by zero may happen."""
    identity, scales = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.full((1, 3), 0.5)
    quats, values = stretch_gaussians(identity, scales, torch.ones(3))
    assert torch.equal(quats, identity)
    assert torch.equal(values, scales)


def test_scales_fall_and_the_frame_stays_a_rotation():
    identity, scales = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.2, 0.3, 0.1]])
    quats, values = stretch_gaussians(identity, scales, torch.ones(3))
    assert torch.equal(values, torch.tensor([[0.3, 0.2, 0.1]]))
    expected = torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]])
    torch.testing.assert_close(quaternions_to_matrices(quats), expected)


def test_half_turns_come_back():
    """Each divisor of the conversion to quaternions."""
    half_turns, scales = torch.eye(4), torch.tensor([[0.3, 0.2, 0.1]]).expand(4, 3)
    quats, _values = stretch_gaussians(half_turns, scales, torch.ones(3))
    torch.testing.assert_close(quats.abs(), half_turns)


def test_a_gaussian_does_not_depend_on_its_company():
    """They are worked on in blocks, the last of which is not full."""
    quats, scales = gaussians(150, torch.float32)
    factors = torch.tensor([1.2, 0.8, 1.0])
    every = stretch_gaussians(quats, scales, factors)
    for part in (slice(0, 1), slice(3, 130)):
        some = stretch_gaussians(quats[part], scales[part], factors)
        assert all(torch.equal(one, whole[part]) for one, whole in zip(some, every, strict=True))
