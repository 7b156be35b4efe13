"""Unit quaternions in wxyz order, and the covariances of Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor


def quaternions_to_matrices(quats: Tensor) -> Tensor:
    """Rotation matrices of quaternions.

    Args:
        quats: [..., 4] wxyz; normalised here, so any non-zero length will do.

    Returns:
        [..., 3, 3] rotation matrices that act on column vectors.
    """
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quats.shape[:-1], 3, 3)


def matrices_to_quaternions(matrices: Tensor) -> Tensor:
    """Unit quaternions of rotation matrices, with w ≥ 0.

    Each component's magnitude follows from the diagonal; the largest one is the divisor, so that the result is
    well conditioned for every rotation (Shepperd's method).

    Args:
        matrices: [..., 3, 3] rotation matrices.

    Returns:
        [..., 4] wxyz.
    """
    m = matrices
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 2, 0] + m[..., 0, 2], m[..., 2, 1] + m[..., 1, 2]
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], wx, wy, wz], dim=-1),
            torch.stack([wx, squares[..., 1], xy, xz], dim=-1),
            torch.stack([wy, xy, squares[..., 2], yz], dim=-1),
            torch.stack([wz, xz, yz, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quats = torch.nn.functional.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)
    return torch.where(quats[..., :1] < 0, -quats, quats)


def is_rotation(matrix: Tensor, tolerance: float = 1e-3) -> bool:
    """Whether a tensor is a [3, 3] orthogonal matrix of determinant 1, up to what half precision rounds away."""
    if tuple(matrix.shape) != (3, 3):
        return False
    # On the CPU in double precision, which neither half-precision nor Apple's GPU tensors can be checked in.
    matrix = matrix.detach().to("cpu").double()
    error = (matrix @ matrix.T - torch.eye(3, dtype=matrix.dtype)).abs().max()
    return bool(error < tolerance and torch.linalg.det(matrix) > 0)


def multiply_quaternions(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton product: the rotation ``right`` followed by ``left``.

    Args:
        left: [..., 4] wxyz.
        right: [..., 4] wxyz.

    Returns:
        [..., 4] wxyz.
    """
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    return torch.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        dim=-1,
    )


def symmetric_square_roots(quats: Tensor, scales: Tensor) -> Tensor:
    """Symmetric square roots of covariances, R diag(s) Rᵀ.

    Linear in the scales and blind to what a covariance is blind to (the sign of a quaternion, the order of the
    axes, turns about an axis of symmetry), which makes it the quantity to compare two Gaussians' shapes in.

    Args:
        quats: [..., 4] wxyz.
        scales: [..., 3] standard deviations.

    Returns:
        [..., 3, 3], in the unit of ``scales``.
    """
    rotations = quaternions_to_matrices(quats)
    return (rotations * scales[..., None, :]) @ rotations.transpose(-1, -2)
