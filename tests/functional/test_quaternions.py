from __future__ import annotations

import torch
from scipy.spatial.transform import Rotation

from diffgs_diffusers.functional.quaternions import (
    matrices_to_quaternions,
    multiply_quaternions,
    quaternions_to_matrices,
    symmetric_square_roots,
)


def rotations(count: int = 64) -> tuple[Rotation, torch.Tensor]:
    """Random rotations, half turns about each axis and the identity, with their wxyz quaternions."""
    half_turns = Rotation.from_rotvec([[torch.pi, 0, 0], [0, torch.pi, 0], [0, 0, torch.pi], [0, 0, 0]])
    both = Rotation.concatenate([Rotation.random(count, rng=0), half_turns])
    return both, torch.tensor(both.as_quat(scalar_first=True))


def test_matrices_agree_with_scipy():
    reference, quats = rotations()
    torch.testing.assert_close(quaternions_to_matrices(quats * 3), torch.tensor(reference.as_matrix()))


def test_quaternions_of_matrices_agree_with_scipy_up_to_sign():
    reference, quats = rotations()
    found = matrices_to_quaternions(torch.tensor(reference.as_matrix()))
    assert (found[:, 0] >= 0).all()
    torch.testing.assert_close((found * quats).sum(dim=-1).abs(), torch.ones(len(quats), dtype=torch.float64))


def test_product_applies_the_right_factor_first():
    reference, quats = rotations()
    product = quaternions_to_matrices(multiply_quaternions(quats, quats.roll(1, dims=0)))
    expected = reference.as_matrix() @ torch.tensor(reference.as_matrix()).roll(1, dims=0).numpy()
    torch.testing.assert_close(product, torch.tensor(expected))


def test_square_roots_square_to_the_covariance_and_ignore_how_it_is_written():
    _, quats = rotations()
    scales = torch.rand(len(quats), 3, dtype=torch.float64) + 0.1
    roots = symmetric_square_roots(quats, scales)
    matrices = quaternions_to_matrices(quats)
    covariance = matrices @ torch.diag_embed(scales**2) @ matrices.transpose(1, 2)
    torch.testing.assert_close(roots @ roots, covariance)
    torch.testing.assert_close(symmetric_square_roots(-quats, scales), roots)
    swapped = matrices_to_quaternions(matrices[:, :, [1, 2, 0]])
    torch.testing.assert_close(symmetric_square_roots(swapped, scales[:, [1, 2, 0]]), roots)


def test_any_leading_dimensions_will_do():
    _, quats = rotations(60)
    grid = quats.reshape(4, 16, 4)
    scales = torch.rand(4, 16, 3, dtype=torch.float64)
    matrices = quaternions_to_matrices(quats)
    assert torch.equal(quaternions_to_matrices(grid).flatten(0, 1), matrices)
    assert torch.equal(quaternions_to_matrices(quats[0]), matrices[0])
    assert torch.equal(
        matrices_to_quaternions(matrices.unflatten(0, (4, 16))).flatten(0, 1), matrices_to_quaternions(matrices)
    )
    roots = symmetric_square_roots(grid, scales)
    assert torch.equal(roots.flatten(0, 1), symmetric_square_roots(quats, scales.flatten(0, 1)))


def test_a_quaternion_of_length_zero_has_a_finite_gradient():
    quats = torch.zeros(1, 4, requires_grad=True)
    symmetric_square_roots(quats, torch.ones(1, 3)).sum().backward()
    assert quats.grad is not None and quats.grad.isfinite().all()
