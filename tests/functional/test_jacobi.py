"""Jacobi rotations against the library's singular value decomposition."""

from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.functional.jacobi import left_singular_frames
from diffgs_diffusers.functional.quaternions import quaternions_to_matrices


def positive_matrices(count: int, dtype: torch.dtype, flatness: float = 1.0) -> torch.Tensor:
    """Stretched frames of flat Gaussians, and for `flatness` 1 any matrices of positive determinant."""
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)
    if flatness < 1:
        rotations = quaternions_to_matrices(torch.randn(count, 4, generator=generator, dtype=torch.float64))
        scales = 0.01 * torch.rand(count, 3, generator=generator, dtype=torch.float64) + 1e-4
        scales[:, 2] *= flatness
        matrices = torch.tensor([1.2, 0.8, 1.0], dtype=torch.float64)[:, None] * rotations * scales[:, None]
    return (matrices * torch.linalg.det(matrices).sign()[:, None, None]).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "flatness", "sweeps", "tolerance"),
    [(torch.float32, 0.01, 4, 3e-6), (torch.float64, 0.01, 4, 1e-12), (torch.float64, 1.0, 8, 1e-9)],
)
def test_it_is_the_singular_value_decomposition(dtype, flatness, sweeps, tolerance):
    matrices = positive_matrices(500, dtype, flatness)
    frames, values = left_singular_frames(matrices, sweeps)
    exact = torch.linalg.svdvals(matrices.double())
    torch.testing.assert_close(values.double().sort(descending=True).values, exact, rtol=tolerance, atol=0)
    frames, values = frames.double(), values.double()
    torch.testing.assert_close(
        frames.transpose(1, 2) @ frames, torch.eye(3).double().expand(500, 3, 3), rtol=0, atol=tolerance
    )
    assert (torch.linalg.det(frames) > 0).all()
    squares = matrices.double() @ matrices.double().transpose(1, 2)
    rebuilt = (frames * values[:, None] ** 2) @ frames.transpose(1, 2)
    largest = squares.abs().amax(dim=(1, 2))
    assert ((rebuilt - squares).abs().amax(dim=(1, 2)) < 4 * tolerance * largest).all()


def test_orthogonal_and_equal_columns_are_left_alone():
    """Where there is nothing to turn, no division by zero may happen."""
    frames, values = left_singular_frames(torch.eye(3)[None] * 0.5)
    assert torch.equal(frames, torch.eye(3)[None])
    assert torch.equal(values, torch.full((1, 3), 0.5))
