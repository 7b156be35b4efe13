"""gsplat's rendering in plain torch, gradients by autograd: every Gaussian at every pixel, or tile by tile.

Projection is that of the tests' reference renderer; blending is Kerbl et al. (2023), eq. 3, with gsplat's limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.rendering.reference import project

ALPHA_FLOOR = 1 / 255
ALPHA_CEILING = 0.999
TRANSMITTANCE_STOP = 1e-4
TILE = 16
# Matrices of one number per Gaussian and pixel that live at once, counted in the code of `_blend`.
LIVE_FORWARD, LIVE_BACKWARD = 5, 14


@dataclass(frozen=True)
class TorchScene:
    """What one camera draws.

    Args:
        means: [N, 3] centres, world frame.
        quats: [N, 4] wxyz.
        scales: [N, 3] standard deviations, after activation.
        opacities: [N] after activation.
        colors: [N, D].
        viewmat: [4, 4] world to camera, OpenCV axes.
        K: [3, 3] pixels.
        width: pixels.
        height: pixels.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmat: Tensor
    K: Tensor
    width: int
    height: int


@dataclass(frozen=True)
class ScreenGaussians:
    """Gaussians on the screen, front to back.

    Args:
        values: [N, 6 + D]: centre x, y (pixels), conic a, b, c, opacity, colour.
        boxes: [N, 4] first and past-the-last tile in x, then in y, of the pixels above the alpha floor.
    """

    values: Tensor
    boxes: Tensor


Rasterizer = Callable[[TorchScene], tuple[Tensor, Tensor]]


def rasterize_dense(scene: TorchScene) -> tuple[Tensor, Tensor]:
    """Every Gaussian at every pixel: colours [H, W, D] over black, alphas [H, W]."""
    screen = project_to_screen(scene)
    image = _blend(screen.values, _pixels(0, scene.width, 0, scene.height).to(screen.values))
    image = image.reshape(scene.height, scene.width, -1)
    return image[..., :-1], image[..., -1]


def rasterize_tiles(scene: TorchScene) -> tuple[Tensor, Tensor]:
    """Every tile of 16² pixels with the Gaussians that reach it; results as of :func:`rasterize_dense`."""
    screen = project_to_screen(scene)
    counts, index = tile_lists(scene, screen)
    columns = -(-scene.width // TILE)
    image = screen.values.new_zeros(scene.height, scene.width, scene.colors.shape[1] + 1)
    parts, places = [], []
    for tile, values in enumerate(screen.values[index].split(counts)):
        if len(values) == 0:
            continue
        x, y = tile % columns * TILE, tile // columns * TILE
        pixels = _pixels(x, min(x + TILE, scene.width), y, min(y + TILE, scene.height))
        parts.append(_blend(values, pixels.to(values)))
        places.append(pixels.long())
    if parts:
        where = torch.cat(places)
        image = image.index_put((where[:, 1], where[:, 0]), torch.cat(parts))
    return image[..., :-1], image[..., -1]


def dense_bytes(gaussians: int, pixels: int, backward: bool) -> int:
    """Memory that :func:`rasterize_dense` takes, about."""
    return 4 * gaussians * pixels * (LIVE_BACKWARD if backward else LIVE_FORWARD)


def tile_bytes(scene: TorchScene, backward: bool) -> int:
    """Memory that :func:`rasterize_tiles` takes, about: without gradients the largest tile's, else all tiles'."""
    with torch.no_grad():
        counts, _ = tile_lists(scene, project_to_screen(scene))
    gaussians = sum(counts) if backward else max(counts)
    return dense_bytes(gaussians, TILE * TILE, backward)


def project_to_screen(scene: TorchScene) -> ScreenGaussians:
    """The visible Gaussians in the order of their depth; the low-pass is 0.3 px², opacity is not compensated."""
    centers, blurred, _, depths = project(
        scene.means, scene.quats, scene.scales, scene.viewmat, scene.K, scene.width, scene.height, 0.3
    )
    with torch.no_grad():
        extents = (2 * (scene.opacities / ALPHA_FLOOR).clamp(min=1).log()).sqrt()[:, None]
        half = extents * blurred.diagonal(dim1=-2, dim2=-1).sqrt() + 1e-3
        size = torch.tensor([scene.width, scene.height])
        first = (centers - half - 0.5).ceil().long().clamp(min=0)
        last = torch.minimum((centers + half - 0.5).floor().long(), size - 1)
        visible = (depths >= 0.01) & (scene.opacities >= ALPHA_FLOOR) & (first <= last).all(dim=1)
        order = torch.nonzero(visible)[:, 0]
        order = order[torch.argsort(depths[order].float(), stable=True)]
        boxes = torch.stack([first // TILE, last // TILE + 1], dim=-1).flatten(1)
    conics = torch.linalg.inv(blurred)
    columns = [centers, conics[:, 0], conics[:, 1, 1:], scene.opacities[:, None], scene.colors]
    return ScreenGaussians(torch.cat(columns, dim=1)[order], boxes[order])


def tile_lists(scene: TorchScene, screen: ScreenGaussians) -> tuple[list[int], Tensor]:
    """Number of Gaussians in each tile, row by row, and their indices one tile after the other, front to back."""
    columns, rows = -(-scene.width // TILE), -(-scene.height // TILE)
    x0, x1, y0, y1 = screen.boxes.unbind(1)
    sizes = (x1 - x0) * (y1 - y0)
    index = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    place = torch.arange(len(index)) - (sizes.cumsum(0) - sizes)[index]
    wide = (x1 - x0)[index]
    tiles = (y0[index] + place // wide) * columns + x0[index] + place % wide
    counts = torch.bincount(tiles, minlength=columns * rows)
    return counts.tolist(), index[torch.argsort(tiles, stable=True)]


def _pixels(x0: int, x1: int, y0: int, y1: int) -> Tensor:
    """[P, 2] pixels (x, y) of a rectangle, row by row."""
    ys, xs = torch.meshgrid(torch.arange(y0, y1), torch.arange(x0, x1), indexing="ij")
    return torch.stack([xs, ys], dim=-1).reshape(-1, 2)


def _blend(values: Tensor, pixels: Tensor) -> Tensor:
    """Front-to-back blending of Gaussians [N, 6 + D] at pixels [P, 2]: colours and alpha [P, D + 1]."""
    x, y, a, b, c, opacity = values[:, :6].T[:, None]
    dx, dy = pixels[:, :1] + 0.5 - x, pixels[:, 1:] + 0.5 - y
    sigma = dx * (0.5 * a * dx + b * dy) + 0.5 * c * dy * dy
    alpha = (opacity * torch.exp(-sigma)).clamp(max=ALPHA_CEILING)
    alpha = torch.where(alpha >= ALPHA_FLOOR, alpha, 0)
    with torch.no_grad():  # what would close the pixel is left out, and with it everything behind
        open_after = torch.cumprod(1 - alpha, dim=1) > TRANSMITTANCE_STOP
    alpha = torch.where(open_after, alpha, 0)
    after = torch.cumprod(1 - alpha, dim=1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=1)
    # Blending a last channel of ones gives the alpha.
    return (alpha * before) @ torch.cat([values[:, 6:], torch.ones_like(values[:, :1])], dim=1)
