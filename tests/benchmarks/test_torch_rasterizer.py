"""The torch rasterisers and our kernels draw the same, and pass back the same gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.baselines.torch_rasterizer import (
    TorchScene,
    dense_bytes,
    project_to_screen,
    rasterize_dense,
    rasterize_tiles,
    tile_bytes,
    tile_lists,
)
from benchmarks.scenes import sphere_scene
from benchmarks.subjects.rasterizer import rasterize_ours, with_gradients
from tests.rendering import scenes


def difficult_scene() -> TorchScene:
    """Gaussians in front of, beside and behind the camera; tiles that are cut."""
    tensors = scenes.single_precision({**scenes.gaussians(120, seed=5), **scenes.cameras(1)})
    gaussians = {name: tensors[name] for name in ("means", "quats", "scales", "opacities")}
    return TorchScene(
        **gaussians,
        colors=scenes.colors(120, None).float(),
        viewmat=tensors["viewmats"][0],
        K=tensors["Ks"][0],
        width=scenes.WIDTH,
        height=scenes.HEIGHT,
    )


@pytest.mark.parametrize("rasterize", [rasterize_dense, rasterize_tiles])
@pytest.mark.parametrize("scene", [difficult_scene(), sphere_scene(400, 48)], ids=["difficult", "sphere"])
def test_agrees_with_our_kernels(rasterize, scene):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(scene.height, scene.width, 4, generator=generator)
    results = []
    for function in (rasterize_ours, rasterize):
        leaves = with_gradients(scene)
        image = torch.cat([part.reshape(scene.height, scene.width, -1) for part in function(leaves)], dim=-1)
        (image * weights).sum().backward()
        results.append((image.detach(), leaves))
    (ours, our_leaves), (theirs, their_leaves) = results
    assert ours[..., 3].max() > 0.9
    assert (ours - theirs).abs().max() < 1e-4
    for name in ("means", "quats", "scales", "opacities", "colors"):
        expected, found = getattr(our_leaves, name).grad, getattr(their_leaves, name).grad
        assert (expected - found).abs().max() < 1e-4 * expected.abs().max(), name


def test_tiles_hold_what_reaches_them():
    scene = difficult_scene()
    screen = project_to_screen(scene)
    counts, index = tile_lists(scene, screen)
    columns = -(-scene.width // 16)
    seen = [set(part.tolist()) for part in index.split(counts)]
    for gaussian, (x0, x1, y0, y1) in enumerate(screen.boxes.tolist()):
        tiles = {y * columns + x for x in range(x0, x1) for y in range(y0, y1)}
        assert tiles == {tile for tile, members in enumerate(seen) if gaussian in members}
    assert all(part.tolist() == sorted(part.tolist()) for part in index.split(counts)), "front to back"


def test_nothing_to_draw_is_black():
    scene = difficult_scene()
    behind = replace(scene, means=scene.means - torch.tensor([0.0, 0.0, 100.0]))
    for rasterize in (rasterize_dense, rasterize_tiles):
        colors, alphas = rasterize(behind)
        assert colors.shape == (scene.height, scene.width, 3)
        assert not colors.any() and not alphas.any()


def test_memory_is_that_of_the_matrices():
    assert dense_bytes(1000, 128 * 128, backward=False) == 5 * 4 * 1000 * 128 * 128
    scene = sphere_scene(400, 48)
    assert tile_bytes(scene, backward=False) < tile_bytes(scene, backward=True)
    assert tile_bytes(scene, backward=False) <= dense_bytes(400, 256, backward=False)
