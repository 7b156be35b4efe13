"""LPIPS (Zhang et al. 2018) by torchmetrics, where its backbone's weights are on the machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

# torchmetrics brings LPIPS' own weights; those of the backbone are torchvision's, under these names.
BACKBONES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


def lpips_obstacle(net: str = "alex", weights: str | Path | None = None) -> str | None:
    """Why LPIPS cannot be measured here, or None if it can. Nothing is downloaded to find out.

    Args:
        net: one of ``BACKBONES``; published figures are mostly of "alex".
        weights: file of the backbone's weights; None looks where torchvision keeps those that it downloaded.

    Raises:
        ValueError: if the backbone is unknown.
    """
    if net not in BACKBONES:
        raise ValueError(f"LPIPS knows the backbones {', '.join(BACKBONES)}, got {net!r}.")
    missing = [name for name in ("torchmetrics", "torchvision") if find_spec(name) is None]
    if missing:
        return f"the package {' and '.join(missing)} is not installed"
    if weights is not None:
        return None if Path(weights).is_file() else f"there is no file {Path(weights).name} of backbone weights"
    if not _cached(net).is_file():
        return f"the backbone's weights are absent ({BACKBONES[net]} in torch.hub's checkpoints folder)"
    return None


def load_lpips(net: str = "alex", weights: str | Path | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS for images [B, H, W, 3] in [0, 1]; gives [B].

    Args and errors as in :func:`lpips_obstacle`.

    Raises:
        RuntimeError: if a package or the weights are absent.
        ValueError: if the file holds anything but tensors.
    """
    obstacle = lpips_obstacle(net, weights)
    if obstacle is not None:
        raise RuntimeError(f"LPIPS cannot be measured: {obstacle}.")
    file = _cached(net) if weights is None else Path(weights)
    try:  # torchvision unpickles anything, so what is more than tensors must not reach it
        torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{file.name} is no file of weights alone: {str(error).splitlines()[0]}") from error
    with _hub_of(net, file):
        metric = import_module("torchmetrics.image.lpip").LearnedPerceptualImagePatchSimilarity
        network = metric(net_type=net, reduction="none", normalize=True)

    @torch.no_grad()
    def distance(images: Tensor, references: Tensor) -> Tensor:
        values = network(images.clamp(0, 1).movedim(-1, 1), references.clamp(0, 1).movedim(-1, 1)).reshape(-1)
        network.reset()
        return values

    return distance


def _cached(net: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[net]


@contextmanager
def _hub_of(net: str, weights: Path) -> Iterator[None]:
    """For a while, torch.hub's folder holds this file alone: torchvision has no argument for it."""
    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "checkpoints" / BACKBONES[net]
        place.parent.mkdir()
        try:
            place.symlink_to(weights.resolve())
        except OSError:  # some systems allow no links
            shutil.copyfile(weights, place)
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)
