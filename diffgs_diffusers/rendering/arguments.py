"""What a render is asked for, as two small records, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
RASTERIZE_MODES = ("classic", "antialiased")
MAX_SH_DEGREE = 3


@dataclass(frozen=True)
class RasterOptions:
    """The options of `rasterization`, which describes them.

    Raises:
        ValueError: an option out of its range.
    """

    width: int
    height: int
    near_plane: float
    far_plane: float
    radius_clip: float
    eps2d: float
    sh_degree: int | None
    render_mode: str
    rasterize_mode: str

    def __post_init__(self) -> None:
        if self.render_mode not in RENDER_MODES:
            raise ValueError(f"render_mode must be one of {', '.join(RENDER_MODES)}, got {self.render_mode!r}")
        if self.rasterize_mode not in RASTERIZE_MODES:
            modes = ", ".join(RASTERIZE_MODES)
            raise ValueError(f"rasterize_mode must be one of {modes}, got {self.rasterize_mode!r}")
        for name, size in (("width", self.width), ("height", self.height)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1 pixel, got {size}")
        if not 0.0 < self.near_plane < self.far_plane:
            raise ValueError(
                f"near_plane must be above 0 and below far_plane, got {self.near_plane} and {self.far_plane}"
            )
        if not self.eps2d >= 0.0:
            raise ValueError(f"eps2d must be 0 or more square pixels, got {self.eps2d}")
        if self.sh_degree is not None and self.sh_degree not in range(MAX_SH_DEGREE + 1):
            raise ValueError(f"sh_degree must be None or 0 to {MAX_SH_DEGREE}, got {self.sh_degree}")

    @property
    def with_color(self) -> bool:
        """Whether colour is rendered."""
        return self.render_mode.startswith("RGB")

    @property
    def with_depth(self) -> bool:
        """Whether depth is rendered, as the last channel."""
        return self.render_mode.endswith("D")

    @property
    def expected_depth(self) -> bool:
        """Whether depth is divided by alpha."""
        return self.render_mode.endswith("ED")

    @property
    def antialiased(self) -> bool:
        """Whether opacities are compensated for the low-pass."""
        return self.rasterize_mode == "antialiased"


@dataclass(frozen=True, eq=False)
class RasterTensors:
    """The tensors of `rasterization`, which gives their shapes and frames."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    backgrounds: Tensor | None

    def named(self) -> dict[str, Tensor]:
        """The tensors that are given, by name."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

    @property
    def needs_gradient(self) -> bool:
        """Whether a backward pass may follow."""
        return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in self.named().values())

    def check(self, sh_degree: int | None) -> None:
        """Hold every tensor against the counts N of `means` and C of `viewmats`.

        Raises:
            ValueError: a shape or device that does not fit.
            TypeError: tensors that are not all float32 or all float64.
        """
        if self.means.dim() != 2:
            raise ValueError(f"means must have shape [N, 3], got {list(self.means.shape)}")
        if self.viewmats.dim() != 3 or len(self.viewmats) == 0:
            raise ValueError(f"viewmats must have shape [C, 4, 4], C above 0, got {list(self.viewmats.shape)}")
        n, c = len(self.means), len(self.viewmats)
        shapes = {
            "means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,),
            "viewmats": (c, 4, 4), "Ks": (c, 3, 3), "backgrounds": (c, self._color_channels(n, c, sh_degree)),
        }  # fmt: skip
        for name, tensor in self.named().items():
            shape = tuple(tensor.shape)
            if shape != shapes.get(name, shape):
                raise ValueError(f"{name} must have shape {list(shapes[name])}, got {list(shape)}")
        self._check_types()

    def _color_channels(self, n: int, c: int, sh_degree: int | None) -> int:
        """The number of colour channels, once the shape of `colors` is known to fit."""
        shape = tuple(self.colors.shape)
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

    def _check_types(self) -> None:
        """All tensors on the device and of the type of `means`."""
        device, dtype = self.means.device, self.means.dtype
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"means must be on the CPU or on CUDA, got {device}")
        allowed = (torch.float32, torch.float64) if device.type == "cpu" else (torch.float32,)
        if dtype not in allowed:
            names = " or ".join(str(one) for one in allowed)
            raise TypeError(f"means must be {names} on {device.type}, got {dtype}; convert with .to(...)")
        for name, tensor in self.named().items():
            if tensor.device != device:
                raise ValueError(f"{name} must be on {device} like means, got {tensor.device}")
            if tensor.dtype != dtype:
                raise TypeError(f"{name} must be {dtype} like means, got {tensor.dtype}")
