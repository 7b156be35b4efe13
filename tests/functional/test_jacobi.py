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
    torch.testing.assert_close(values.double(), exact, rtol=tolerance, atol=0)
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


def test_singular_values_fall_and_the_frame_stays_a_rotation():
    frames, values = left_singular_frames(torch.diag(torch.tensor([0.2, 0.3, 0.1]))[None])
    assert torch.equal(values, torch.tensor([[0.3, 0.2, 0.1]]))
    assert torch.equal(frames, torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]]))


def test_a_matrix_does_not_depend_on_its_company():
    """Matrices are worked on in blocks, the last of which is not full."""
    matrices = positive_matrices(150, torch.float32, flatness=0.01)
    frames, values = left_singular_frames(matrices)
    for part in (slice(0, 1), slice(3, 130)):
        some, lengths = left_singular_frames(matrices[part])
        assert torch.equal(some, frames[part]) and torch.equal(lengths, values[part])
