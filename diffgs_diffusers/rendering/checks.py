"""What `rasterization` accepts, checked before any work."""

from __future__ import annotations

import torch
from torch import Tensor

# Render mode -> (with colour, with depth).
RENDER_MODES: dict[str, tuple[bool, bool]] = {
    "RGB": (True, False),
    "D": (False, True),
    "ED": (False, True),
    "RGB+D": (True, True),
    "RGB+ED": (True, True),
}
RASTERIZE_MODES = ("classic", "antialiased")
MAX_SH_DEGREE = 3


def check_arguments(
    tensors: dict[str, Tensor | None],
    width: int,
    height: int,
    near_plane: float,
    far_plane: float,
    eps2d: float,
    sh_degree: int | None,
    render_mode: str,
    rasterize_mode: str,
) -> None:
    """Raise on the first argument of `rasterization` that does not fit; the arguments are described there.

    Raises:
        ValueError: a shape, device or option that does not fit.
        TypeError: tensors that are not all float32 or all float64.
    """
    if render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode must be one of {', '.join(RENDER_MODES)}, got {render_mode!r}")
    if rasterize_mode not in RASTERIZE_MODES:
        raise ValueError(f"rasterize_mode must be one of {', '.join(RASTERIZE_MODES)}, got {rasterize_mode!r}")
    for name, size in (("width", width), ("height", height)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1 pixel, got {size}")
    if not 0.0 < near_plane < far_plane:
        raise ValueError(f"near_plane must be above 0 and below far_plane, got {near_plane} and {far_plane}")
    if not eps2d >= 0.0:
        raise ValueError(f"eps2d must be 0 or more square pixels, got {eps2d}")
    if sh_degree is not None and sh_degree not in range(MAX_SH_DEGREE + 1):
        raise ValueError(f"sh_degree must be None or 0 to {MAX_SH_DEGREE}, got {sh_degree}")
    _check_shapes(tensors, sh_degree)
    _check_types(tensors)


def _check_shapes(tensors: dict[str, Tensor | None], sh_degree: int | None) -> None:
    """Every tensor against the counts N of `means` and C of `viewmats`."""
    for name, dims in (("means", 2), ("viewmats", 3)):
        if tensors[name].dim() != dims:
            raise ValueError(f"{name} must have {dims} dimensions, got shape {list(tensors[name].shape)}")
    n, c = len(tensors["means"]), len(tensors["viewmats"])
    if c == 0:
        raise ValueError("viewmats must hold at least one camera, got shape [0, ...]")
    for name, shape in (
        ("means", (n, 3)),
        ("quats", (n, 4)),
        ("scales", (n, 3)),
        ("opacities", (n,)),
        ("viewmats", (c, 4, 4)),
        ("Ks", (c, 3, 3)),
    ):
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"{name} must have shape {list(shape)}, got {list(tensors[name].shape)}")
    channels = _check_colors(tensors["colors"], n, c, sh_degree)
    backgrounds = tensors["backgrounds"]
    if backgrounds is not None and tuple(backgrounds.shape) != (c, channels):
        raise ValueError(f"backgrounds must have shape {[c, channels]}, got {list(backgrounds.shape)}")


def _check_colors(colors: Tensor, n: int, c: int, sh_degree: int | None) -> int:
    """The number of colour channels, once the shape of `colors` is known to fit."""
    shape = tuple(colors.shape)
    if sh_degree is None:
        if shape[:-1] not in ((n,), (c, n)) or shape[-1] == 0:
            raise ValueError(f"colors must have shape [{n}, D] or [{c}, {n}, D], D above 0, got {list(shape)}")
        return shape[-1]
    bases = (sh_degree + 1) ** 2
    if shape[:-2] not in ((n,), (c, n)) or shape[-1] != 3 or shape[-2] < bases:
        raise ValueError(
            f"colors must have shape [{n}, K, 3] or [{c}, {n}, K, 3] with K at least {bases} for sh_degree "
            f"{sh_degree}, got {list(shape)}"
        )
    return 3


def _check_types(tensors: dict[str, Tensor | None]) -> None:
    """All tensors on the device and of the type of `means`."""
    means = tensors["means"]
    if means.device.type not in ("cpu", "cuda"):
        raise ValueError(f"means must be on the CPU or on CUDA, got {means.device}")
    allowed = (torch.float32, torch.float64) if means.device.type == "cpu" else (torch.float32,)
    if means.dtype not in allowed:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise TypeError(f"means must be {names} on {means.device.type}, got {means.dtype}; convert with .to(...)")
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.device != means.device:
            raise ValueError(f"{name} must be on {means.device} like means, got {tensor.device}")
        if tensor.dtype != means.dtype:
            raise TypeError(f"{name} must be {means.dtype} like means, got {tensor.dtype}")
