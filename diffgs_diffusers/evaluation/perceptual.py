"""LPIPS (Zhang et al. 2018), where its package and weights are already on the machine."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

_BACKBONE = "alexnet-owt-7be5be79.pth"


def lpips_obstacle() -> str | None:
    """Why LPIPS cannot be measured here, or None if it can. Nothing is downloaded to find out."""
    missing = [name for name in ("lpips", "torchvision") if find_spec(name) is None]
    if missing:
        return f"the package {' and '.join(missing)} is not installed"
    weights = Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONE
    if not weights.is_file():
        return f"the AlexNet weights are absent ({_BACKBONE} in torch.hub's checkpoints folder)"
    return None


def load_lpips() -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS on AlexNet features, for images [B, H, W, 3] in [0, 1]; gives [B].

    Raises:
        RuntimeError: if package or weights are absent.
    """
    obstacle = lpips_obstacle()
    if obstacle is not None:
        raise RuntimeError(f"LPIPS cannot be measured: {obstacle}.")
    network = import_module("lpips").LPIPS(net="alex", verbose=False).eval()

    def distance(images: Tensor, references: Tensor) -> Tensor:
        with torch.no_grad():
            return network(images.movedim(-1, 1), references.movedim(-1, 1), normalize=True).flatten()

    return distance
