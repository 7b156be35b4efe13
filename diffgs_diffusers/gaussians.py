"""A set of 3D Gaussians, the value that every other part makes, changes, stores or draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .functional.neighbourhoods import surface_frames
from .functional.progressive import prefix_changes
from .functional.quaternions import is_rotation, matrices_to_quaternions, multiply_quaternions
from .functional.spacing import even_spacing
from .functional.spherical_harmonics import num_sh_bases, rgb_to_sh0, rotate_sh, sh_degree_of

if TYPE_CHECKING:
    from .cameras import Cameras

# Of a point of a cloud: standard deviations in spacings, about those of fitted objects. Scanned points lie
# unevenly: with half a spacing the surface is translucent, with more outlines grow.
_POINT_SHAPE = (0.6, 0.6, 0.1)
_POINT_OPACITY = 0.95


@dataclass(frozen=True, eq=False)
class GaussianSplats:
    """An immutable set of N 3D Gaussians, every field after activation.

    Frames and units are those of ``docs/conventions.md``: the world frame of 3DGS PLY files (up is −y), lengths in
    object units (an object's longest side is 1).

    Args:
        means: [N, 3] centres.
        quats: [N, 4] rotations, wxyz, unit length.
        scales: [N, 3] standard deviations along the rotated axes, > 0.
        opacities: [N] in [0, 1].
        sh0: [N, 1, 3] colour coefficients of band 0.
        shN: [N, K-1, 3] colour coefficients of the higher bands, K = (degree + 1)²; None means degree 0.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh0: Tensor
    shN: Tensor = None  # type: ignore[assignment]  # replaced by an empty tensor below

    def __post_init__(self) -> None:
        if self.shN is None:
            object.__setattr__(self, "shN", self.sh0.new_zeros(self.sh0.shape[0], 0, 3))
        n = self.means.shape[0]
        expected = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,), "sh0": (n, 1, 3)}
        expected["shN"] = (n, self.shN.shape[1] if self.shN.ndim == 3 else -1, 3)
        for name, shape in expected.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise ValueError(f"`{name}` must have shape {list(shape)}, got {list(value.shape)}.")
            if value.device != self.means.device or value.dtype != self.means.dtype:
                raise ValueError(
                    f"All fields must share a device and dtype: `means` is {self.means.dtype} on "
                    f"{self.means.device}, `{name}` is {value.dtype} on {value.device}."
                )
        sh_degree_of(self.shN.shape[1] + 1)

    def __len__(self) -> int:
        return self.means.shape[0]

    def __repr__(self) -> str:
        return f"GaussianSplats({len(self)} Gaussians, sh_degree={self.sh_degree}, {self.dtype}, {self.device})"

    @property
    def sh_degree(self) -> int:
        return sh_degree_of(self.shN.shape[1] + 1)

    @property
    def device(self) -> torch.device:
        return self.means.device

    @property
    def dtype(self) -> torch.dtype:
        return self.means.dtype

    @property
    def colors(self) -> Tensor:
        """[N, K, 3] all colour coefficients, as renderers take them."""
        return torch.cat([self.sh0, self.shN], dim=1)

    def validate(self) -> GaussianSplats:
        """Returns itself if every value can be drawn.

        Raises:
            ValueError: naming the field, the rule and how many Gaussians break it.
        """
        rules = {field.name: (getattr(self, field.name).isfinite(), "finite") for field in fields(self)}
        for name, (good, rule) in rules.items():
            self._check(name, good, rule)
        self._check("scales", self.scales > 0, "positive")
        self._check("opacities", (self.opacities >= 0) & (self.opacities <= 1), "between 0 and 1")
        self._check("quats", (self.quats.norm(dim=-1) - 1).abs() < 1e-2, "of unit length")
        return self

    def _check(self, name: str, good: Tensor, rule: str) -> None:
        bad = int((~good).reshape(len(self), -1).any(dim=-1).sum()) if good.numel() else 0
        if bad:
            raise ValueError(f"`{name}` must be {rule}: {bad} of {len(self)} Gaussians are not.")

    def to(self, *args: Any, **kwargs: Any) -> GaussianSplats:
        """The same splats on another device or in another dtype; arguments as in ``torch.Tensor.to``."""
        return self._map(lambda value: value.to(*args, **kwargs))

    def detach(self) -> GaussianSplats:
        """The same values outside of any autograd graph."""
        return self._map(lambda value: value.detach())

    def select(self, index: Tensor | slice) -> GaussianSplats:
        """The Gaussians of an integer index [M], a boolean mask [N] or a slice."""
        return self._map(lambda value: value[index])

    def __getitem__(self, index: int | Tensor | slice) -> GaussianSplats:
        """As :meth:`select`; a number gives a set of one, and IndexError beyond the end, which ends a loop."""
        if isinstance(index, int):
            place = range(len(self))[index]
            index = slice(place, place + 1)
        return self.select(index)

    def with_sh_degree(self, degree: int) -> GaussianSplats:
        """The same Gaussians with harmonics of degree 0 to 3: higher ones are left out, missing ones are 0."""
        missing = num_sh_bases(degree) - 1 - self.shN.shape[1]
        return replace(self, shN=torch.nn.functional.pad(self.shN, (0, 0, 0, missing)))

    def first(self, count: int) -> GaussianSplats:
        """The first Gaussians of a progressive order as a smaller object, for results of this package.

        A slice leaves scales and opacities as they fit all N, and holes between the Gaussians; here they fit the
        smaller number: opacities rise first, then scales grow, by local spacings. Glass gets denser where it does.

        Args:
            count: n, from 1 to N.

        Raises:
            ValueError: if there are not so many.
        """
        if not 1 <= count <= len(self):
            raise ValueError(f"`count` must be between 1 and {len(self)}, the number of Gaussians, got {count}.")
        part = self.select(slice(0, count))
        if count == len(self):
            return part
        growth, opacities = prefix_changes(self.means, self.opacities, count)
        return replace(part, scales=part.scales * growth[:, None], opacities=opacities)

    def _map(self, function: Any) -> GaussianSplats:
        return GaussianSplats(**{field.name: function(getattr(self, field.name)) for field in fields(self)})

    @staticmethod
    def from_points(positions: Tensor, colors: Tensor | None = None) -> GaussianSplats:
        """A cloud as flat, nearly opaque Gaussians: one at each point, in the plane of its neighbours.

        Args:
            positions: [N, 3] on a surface, N ≥ 1.
            colors: [N, 3] RGB in [0, 1]; grey if None.

        Raises:
            ValueError: if a shape does not fit or a value is not finite.
        """
        colors = torch.full_like(positions, 0.5) if colors is None else colors
        if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0 or colors.shape != positions.shape:
            shapes = f"{list(positions.shape)} and {list(colors.shape)}"
            raise ValueError(f"`positions` and `colors` must both be [N, 3] with at least one point, got {shapes}.")
        if not (positions.isfinite().all() and colors.isfinite().all()):
            raise ValueError("`positions` and `colors` must be finite.")
        frames = torch.from_numpy(surface_frames(positions.detach().cpu().double().numpy())).to(positions)
        scales = even_spacing(positions)[:, None] * positions.new_tensor(_POINT_SHAPE)
        opacities = positions.new_full((len(positions),), _POINT_OPACITY)
        sh0 = rgb_to_sh0(colors.to(positions))[:, None]
        return GaussianSplats(positions, matrices_to_quaternions(frames), scales, opacities, sh0)

    @staticmethod
    def concatenate(splats: Sequence[GaussianSplats]) -> GaussianSplats:
        """All Gaussians in order; lower SH degrees are padded with zeros to the highest.

        Raises:
            ValueError: if the sequence is empty.
        """
        if not splats:
            raise ValueError("`concatenate` needs at least one GaussianSplats.")
        degree = max(one.sh_degree for one in splats)
        alike = [one.with_sh_degree(degree) for one in splats]
        return GaussianSplats(
            **{
                field.name: torch.cat([getattr(one, field.name) for one in alike])
                for field in fields(GaussianSplats)
            }
        )

    def transform(
        self, rotation: Tensor | None = None, translation: Tensor | None = None, scale: float = 1.0
    ) -> GaussianSplats:
        """The splats under x → scale · rotation · x + translation, colours turned along.

        Args:
            rotation: [3, 3] proper rotation matrix, or None.
            translation: [3], or None.
            scale: uniform, > 0.

        Raises:
            ValueError: if the rotation is not one or the scale is not positive.
        """
        if not scale > 0:
            raise ValueError(f"`scale` must be positive, got {scale}.")
        means, quats, shN = self.means, self.quats, self.shN
        if rotation is not None:
            if not is_rotation(rotation):
                raise ValueError("`rotation` must be a [3, 3] rotation matrix (orthogonal, determinant 1).")
            rotation = rotation.to(self.means)
            means = means @ rotation.T
            quats = multiply_quaternions(matrices_to_quaternions(rotation).expand_as(quats), quats)
            shN = rotate_sh(shN, rotation)
        means = means * scale
        if translation is not None:
            means = means + translation.to(means)
        return GaussianSplats(means, quats, self.scales * scale, self.opacities, self.sh0, shN)

    def to_tensor(self) -> Tensor:
        """[N, 11 + 3K]: means 3, quats 4, scales 3, opacity 1, then the K colour coefficients times RGB."""
        flat = [self.means, self.quats, self.scales, self.opacities[:, None], self.colors.flatten(1)]
        return torch.cat(flat, dim=1)

    @staticmethod
    def from_tensor(values: Tensor) -> GaussianSplats:
        """Inverse of :meth:`to_tensor`.

        Raises:
            ValueError: if the width is not 11 + 3K for a degree of 0 to 3.
        """
        widths = [11 + 3 * num_sh_bases(degree) for degree in range(4)]
        if values.ndim != 2 or values.shape[1] not in widths:
            raise ValueError(f"`values` must be [N, W] with W in {widths}, got {list(values.shape)}.")
        means, quats, scales, opacities, colors = values.split([3, 4, 3, 1, values.shape[1] - 11], dim=1)
        colors = colors.unflatten(1, (-1, 3))
        return GaussianSplats(means, quats, scales, opacities[:, 0], colors[:, :1], colors[:, 1:])

    def save(self, path: str | Path, *, rasterize_mode: str = "antialiased") -> None:
        """Writes a file in the format of its suffix; see :func:`diffgs_diffusers.io.save_splats`."""
        from .io import save_splats

        save_splats(self, path, rasterize_mode=rasterize_mode)

    @staticmethod
    def load(path: str | Path) -> GaussianSplats:
        """Reads a file in the format of its suffix; see :func:`diffgs_diffusers.io.load_splats`."""
        from .io import load_splats

        return load_splats(path)

    def render(
        self,
        cameras: Cameras,
        background: Sequence[float] | Tensor | None = None,
        rasterize_mode: str = "antialiased",
    ) -> Tensor:
        """RGBA images [C, H, W, 4], not clipped at 1; see :func:`diffgs_diffusers.rendering.render`."""
        from .rendering import render

        return render(self, cameras, background=background, rasterize_mode=rasterize_mode)
