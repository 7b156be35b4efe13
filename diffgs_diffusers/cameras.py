"""Pinhole cameras, and the orbits that objects are looked at from.

Axes are OpenCV's (x right, y down, z forward); the world's up is −y, so a camera at eye height needs no roll.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

UP = (0.0, -1.0, 0.0)
DEFAULT_FOV = 40.0  # degrees


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of C pinhole cameras of one image size.

    Args:
        viewmats: [C, 4, 4] world-to-camera.
        Ks: [C, 3, 3] intrinsics in pixels; pixel centres lie at +0.5.
        width: pixels.
        height: pixels.
    """

    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.viewmats.ndim != 3 or tuple(self.viewmats.shape[1:]) != (4, 4):
            raise ValueError(f"`viewmats` must be [C, 4, 4], got {list(self.viewmats.shape)}.")
        if tuple(self.Ks.shape) != (len(self), 3, 3):
            raise ValueError(f"`Ks` must be [{len(self)}, 3, 3], got {list(self.Ks.shape)}.")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"Images must have at least one pixel, got {self.width} x {self.height}.")

    def __len__(self) -> int:
        return self.viewmats.shape[0]

    @property
    def positions(self) -> Tensor:
        """[C, 3] camera centres in the world."""
        rotations, translations = self.viewmats[:, :3, :3], self.viewmats[:, :3, 3]
        return -(rotations.transpose(1, 2) @ translations[..., None])[..., 0]

    def select(self, index: Tensor | slice) -> Cameras:
        """The cameras of an integer index, a mask or a slice."""
        return Cameras(self.viewmats[index], self.Ks[index], self.width, self.height)

    def to(self, *args: Any, **kwargs: Any) -> Cameras:
        """The same cameras on another device or in another dtype; arguments as in ``torch.Tensor.to``."""
        return Cameras(self.viewmats.to(*args, **kwargs), self.Ks.to(*args, **kwargs), self.width, self.height)

    def resized(self, width: int, height: int) -> Cameras:
        """The same views in another resolution."""
        factors = self.Ks.new_tensor([width / self.width, height / self.height, 1.0])
        return Cameras(self.viewmats, self.Ks * factors[:, None], width, height)


def look_at(eyes: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """World-to-camera matrices of cameras that look at a point.

    Args:
        eyes: [C, 3] camera centres, none of them straight above or below the target.
        target: [3].
        up: [3] direction that appears upwards in the image.

    Returns:
        [C, 4, 4].
    """
    forward = torch.nn.functional.normalize(target - eyes, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up.expand_as(forward)), dim=-1)
    down = torch.linalg.cross(forward, right)
    rotations = torch.stack([right, down, forward], dim=1)
    viewmats = torch.eye(4).to(eyes).repeat(len(eyes), 1, 1)
    viewmats[:, :3, :3] = rotations
    viewmats[:, :3, 3] = -(rotations @ eyes[..., None])[..., 0]
    return viewmats


def fitting_radius(fov: float) -> float:
    """Distance at which the ball of radius 0.78 about the target just fits a field of view of ``fov`` degrees.

    0.78 is 0.9 times half the diagonal of the unit box: objects seldom reach its corners, and larger pictures of
    them are worth more than the corners of a full cube, which stick out of some views.
    """
    return 0.5 * math.sqrt(3) / math.sin(math.radians(fov) / 2) * 0.9


def orbit_cameras(
    num_views: int,
    size: int,
    *,
    elevation: float = 20.0,
    azimuth: float = 30.0,
    fov: float = DEFAULT_FOV,
    radius: float | None = None,
    device: torch.device | str | None = None,
) -> Cameras:
    """Cameras evenly spaced on a circle about the object, all looking at the origin.

    Args:
        num_views: number of cameras C ≥ 1.
        size: width and height in pixels.
        elevation: degrees above the horizon, between −89 and 89.
        azimuth: degrees from the object's front (+z) towards its right side (+x) for the first camera.
        fov: field of view in degrees.
        radius: distance to the origin, > 0; by default that of :func:`fitting_radius`, at which objects of longest
            side 1 fill the image and only the corners of a full cube may be cut.
        device: where the tensors live.

    Raises:
        ValueError: if there is no view, or the elevation or field of view is out of range.
    """
    if num_views < 1:
        raise ValueError(f"`num_views` must be at least 1, got {num_views}.")
    angles = azimuth + torch.arange(num_views, dtype=torch.float64) * (360.0 / num_views)
    return _sphere_views(angles, torch.full_like(angles, elevation), size, fov, radius, device)


def sphere_cameras(
    num_views: int,
    size: int,
    *,
    generator: torch.Generator | None = None,
    elevations: tuple[float, float] = (-20.0, 70.0),
    fov: float = DEFAULT_FOV,
    radius: float | None = None,
    device: torch.device | str | None = None,
) -> Cameras:
    """Cameras spread over a band of the sphere about the object: a golden-angle spiral, turned at random.

    Args:
        num_views: number of cameras C ≥ 1.
        size: width and height in pixels.
        generator: draws the turn of the spiral; None leaves it at 0.
        elevations: lowest and highest elevation in degrees; views are spread evenly over the area between.
        fov: field of view in degrees.
        radius: distance to the origin, > 0; by default that of :func:`fitting_radius`, at which objects of longest
            side 1 fill the image and only the corners of a full cube may be cut.
        device: where the tensors live.

    Raises:
        ValueError: as :func:`orbit_cameras`.
    """
    if num_views < 1:
        raise ValueError(f"`num_views` must be at least 1, got {num_views}.")
    low, high = (math.sin(math.radians(value)) for value in elevations)
    index = torch.arange(num_views, dtype=torch.float64)
    turn = torch.rand(1, generator=generator, dtype=torch.float64) * 360 if generator is not None else 0.0
    elevation = torch.rad2deg(torch.asin(low + (high - low) * (index + 0.5) / num_views))
    return _sphere_views(index * 137.50776405003785 + turn, elevation, size, fov, radius, device)


def _sphere_views(
    azimuths: Tensor,
    elevations: Tensor,
    size: int,
    fov: float,
    radius: float | None,
    device: torch.device | str | None,
) -> Cameras:
    if not 0 < fov < 180:
        raise ValueError(f"`fov` must lie between 0 and 180 degrees, got {fov}.")
    if elevations.abs().max() > 89:
        raise ValueError("Elevations must lie between -89 and 89 degrees: straight above has no upright image.")
    distance = fitting_radius(fov) if radius is None else radius
    if not 0 < distance < math.inf:
        raise ValueError(f"`radius` must be positive and finite, got {distance}.")
    azimuths, elevations = torch.deg2rad(azimuths), torch.deg2rad(elevations)
    eyes = torch.stack(
        [elevations.cos() * azimuths.sin(), -elevations.sin(), elevations.cos() * azimuths.cos()], dim=-1
    )
    viewmats = look_at(eyes * distance, eyes.new_zeros(3), eyes.new_tensor(UP))
    focal = 0.5 * size / math.tan(math.radians(fov) / 2)
    Ks = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]).repeat(len(eyes), 1, 1)
    return Cameras(viewmats.float(), Ks, size, size).to(device)
