"""What renderers of splats leave out of faint Gaussians, added to them beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

# Renderers skip a Gaussian where it covers less of a pixel than one of 255 steps: its rim, and more of it the
# fainter it is. They blur each by so many square pixels and thin it accordingly, so a small one is fainter than its
# opacity says.
FLOOR = 1 / 255
BLUR = 0.3
# A unit in the pictures of 256² in which objects are compared. In larger ones less is left out.
_PIXELS = 154.0


def keep_absorption(opacities: Tensor, scales: Tensor, where: Tensor) -> Tensor:
    """Opacities with which Gaussians absorb in a picture what they would without the renderers' floor.

    A blurred Gaussian of the area s² absorbs 2π α s², of which the floor f takes 2π f (s² + h²) with a blur of h².

    Args:
        opacities: [N] in [0, 1].
        scales: [N, 3] standard deviations in units of the object.
        where: [N] which of them change.

    Returns:
        [N], none of them smaller, none above 1.
    """
    if not where.any():
        return opacities
    area = scales.prod(dim=-1) / scales.amin(dim=-1)  # of the two longer axes
    kept = opacities + FLOOR * (1 + BLUR / _PIXELS**2 / area)
    return torch.where(where, kept.clamp(max=1), opacities)
