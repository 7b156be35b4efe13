"""Gaussians stretched along the world's axes, by one-sided Jacobi rotations of many small matrices at once."""

from __future__ import annotations

from torch import Tensor

from .threads import run_ranges

# Stretched frames begin with nearly orthogonal columns: three sweeps exhaust float32.
SWEEPS = 4
_GRAIN = 4096  # Gaussians worth a thread of their own


def stretch_gaussians(
    quats: Tensor, scales: Tensor, factors: Tensor, sweeps: int = SWEEPS
) -> tuple[Tensor, Tensor]:
    """Rotations and scales under x → D x, D = diag(factors).

    A covariance is M Mᵀ with M = R diag(s); D M = U diag(σ) Vᵀ has the new rotation U and the new scales σ. Pairs
    of columns are turned in their plane until all are orthogonal (Hestenes 1958): they are then U diag(σ), and
    small σ keep their relative precision. Everything lies on the CPU, outside of any autograd graph.

    Args:
        quats: [N, 4] wxyz of any length but 0.
        scales: [N, 3], > 0.
        factors: [3], > 0.
        sweeps: passes over the three pairs of columns.

    Returns:
        Unit quaternions [N, 4] with w ≥ 0 and scales [N, 3] in falling order.
    """
    from . import jacobi_kernels

    given = [value.contiguous().numpy() for value in (quats, scales, factors)]
    new_quats, new_scales = quats.new_empty(quats.shape), scales.new_empty(scales.shape)
    run_ranges(jacobi_kernels.stretch, len(quats), _GRAIN, *given, sweeps, new_quats.numpy(), new_scales.numpy())
    return new_quats, new_scales
