"""Unit quaternions in wxyz order, and the covariances of Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST_SQUARE = 1e-24  # keeps the gradient of a quaternion of length 0 finite


def quaternions_to_matrices(quats: Tensor) -> Tensor:
    """Rotation matrices of quaternions.

    Args:
        quats: [..., 4] wxyz; normalised here, so any non-zero length will do.

    Returns:
        [..., 3, 3] rotation matrices that act on column vectors.
    """
    # components side by side instead of rows of four: the same arithmetic in a fraction of the time
    components = quats.movedim(-1, 0).contiguous()
    lengths = (components * components).sum(dim=0).clamp(min=_LEAST_SQUARE).sqrt()
    unit = components / lengths
    w, x, y, z = unit.unbind(0)
    wx, wy, wz = (2 * w * unit[1:]).unbind(0)
    xx, xy, xz = (2 * x * unit[1:]).unbind(0)
    yy, yz, zz = 2 * y * y, 2 * y * z, 2 * z * z
    rows = [1 - yy - zz, xy - wz, xz + wy, xy + wz, 1 - xx - zz, yz - wx, xz - wy, yz + wx, 1 - xx - yy]
    return torch.stack(rows).movedim(0, -1).unflatten(-1, (3, 3))


def matrices_to_quaternions(matrices: Tensor) -> Tensor:
    """Unit quaternions of rotation matrices, with w ≥ 0.

    Each component's magnitude follows from the diagonal; the largest one is the divisor, so that the result is
    well conditioned for every rotation (Shepperd's method).

    Args:
        matrices: [..., 3, 3] rotation matrices.

    Returns:
        [..., 4] wxyz.
    """
    # components side by side, as above
    xx, xy, xz, yx, yy, yz, zx, zy, zz = matrices.flatten(-2).movedim(-1, 0).contiguous().unbind(0)
    w_w, x_x, y_y, z_z = 1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz
    w_x, w_y, w_z = zy - yz, xz - zx, yx - xy
    x_y, x_z, y_z = xy + yx, xz + zx, yz + zy
    largest = torch.stack([w_w, x_x, y_y, z_z]).amax(dim=0)
    quats = torch.stack([w_z, x_z, y_z, z_z])
    quats = torch.where(largest == y_y, torch.stack([w_y, x_y, y_y, y_z]), quats)
    quats = torch.where(largest == x_x, torch.stack([w_x, x_x, x_y, x_z]), quats)
    quats = torch.where(largest == w_w, torch.stack([w_w, w_x, w_y, w_z]), quats)
    lengths = torch.copysign((quats * quats).sum(dim=0).sqrt(), quats[0])
    return (quats / lengths).movedim(0, -1).contiguous()


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
    rotations = quaternions_to_matrices(quats).movedim((-2, -1), (0, 1))  # components side by side, as above
    halves = rotations * scales.movedim(-1, 0)
    return (halves[:, None] * rotations).sum(dim=2).movedim((0, 1), (-2, -1))
