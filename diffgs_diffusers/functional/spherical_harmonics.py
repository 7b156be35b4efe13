"""Real spherical harmonics as 3D Gaussian Splatting stores them (bands 0 to 3).

Conversions between degree 0 and RGB, and rotation of the higher bands. Evaluation in a view direction belongs to
the renderer.
"""

from __future__ import annotations

import torch
from torch import Tensor

SH_C0 = 0.28209479177387814  # 1 / (2 sqrt(pi))
MAX_SH_DEGREE = 3


def rgb_to_sh0(rgb: Tensor) -> Tensor:
    """Degree-0 coefficients of view-independent colours [..., 3] in [0, 1]."""
    return (rgb - 0.5) / SH_C0


def sh0_to_rgb(sh0: Tensor) -> Tensor:
    """View-independent part [..., 3] of coloured splats, clamped at 0 as renderers do."""
    return (sh0 * SH_C0 + 0.5).clamp(min=0)


def num_sh_bases(sh_degree: int) -> int:
    """Number of coefficients K of a colour channel.

    Raises:
        ValueError: if the degree is not 0, 1, 2 or 3.
    """
    if sh_degree not in range(MAX_SH_DEGREE + 1):
        raise ValueError(f"`sh_degree` must be 0, 1, 2 or 3, got {sh_degree!r}.")
    return (sh_degree + 1) ** 2


def sh_degree_of(num_bases: int) -> int:
    """Degree of a colour with K coefficients a channel.

    Raises:
        ValueError: if K is not 1, 4, 9 or 16.
    """
    for degree in range(MAX_SH_DEGREE + 1):
        if (degree + 1) ** 2 == num_bases:
            return degree
    raise ValueError(f"Spherical harmonics have 1, 4, 9 or 16 coefficients a channel, got {num_bases}.")


def sh_bases(directions: Tensor, sh_degree: int) -> Tensor:
    """Values of the basis functions in the sign convention of 3D Gaussian Splatting.

    Args:
        directions: [..., 3] unit vectors, world frame.
        sh_degree: 0 to 3.

    Returns:
        [..., K].
    """
    num_bases = num_sh_bases(sh_degree)
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, SH_C0)]
    if sh_degree >= 1:
        c1 = 0.4886025119029199
        values += [-c1 * y, c1 * z, -c1 * x]
    if sh_degree >= 2:
        values += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if sh_degree >= 3:
        values += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values[:num_bases], dim=-1)


def rotate_sh(shN: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients of the same colours seen in a turned frame.

    A rotation maps each band onto itself. Its matrix is found by solving for the values on fixed directions, in
    float64 on the CPU, instead of by closed-form Wigner matrices: as exact, the same whatever the device of the
    colours, and it holds for reflections as well.

    Args:
        shN: [N, K-1, 3] coefficients of bands 1 to the degree.
        rotation: [3, 3] orthogonal matrix from the old frame to the new.

    Returns:
        [N, K-1, 3].
    """
    if shN.shape[1] == 0:
        return shN
    degree = sh_degree_of(shN.shape[1] + 1)
    directions = _probe_directions()
    turned = directions @ rotation.to("cpu").to(directions).T
    bands = []
    for band in range(1, degree + 1):
        old = sh_bases(directions, degree)[:, band**2 : (band + 1) ** 2]
        new = sh_bases(turned, degree)[:, band**2 : (band + 1) ** 2]
        matrix = torch.linalg.lstsq(new, old).solution.to(shN.dtype).to(shN.device)
        bands.append(matrix @ shN[:, band**2 - 1 : (band + 1) ** 2 - 1])
    return torch.cat(bands, dim=1)


def _probe_directions() -> Tensor:
    """64 fixed unit vectors [64, 3] in general position, float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(64, 3, generator=generator, dtype=torch.float64), dim=-1)
