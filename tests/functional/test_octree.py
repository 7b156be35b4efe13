from __future__ import annotations

import torch

from diffgs_diffusers.functional.octree import surface_cells


def sphere_probability(points: torch.Tensor, radius: float = 0.3, truncation: float = 0.08) -> torch.Tensor:
    return (1 - (points.norm(dim=1) - radius).abs() / truncation).clamp(min=0)


def search(**changes):
    settings = {"half_side": 0.5, "start_resolution": 16, "depth": 3, "threshold": 0.99, "slope": 1 / 0.08}
    return surface_cells(sphere_probability, **{**settings, **changes})


def test_every_cell_that_holds_surface_is_kept_and_little_else():
    cells = search()
    assert cells.side == 1 / 128
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(20_000, 3, generator=generator), dim=1) * 0.3
    wanted = {tuple(cell) for cell in ((points + 0.5) / cells.side).floor().long().tolist()}
    kept = {tuple(cell) for cell in ((cells.centers + 0.5) / cells.side).floor().long().tolist()}
    assert wanted <= kept
    assert len(kept) == len(cells.centers), "no cell twice"
    assert (sphere_probability(cells.centers) > 0.9).all()


def test_questions_grow_with_the_surface_and_not_with_the_volume():
    asked = []

    def counted(points):
        asked.append(len(points))
        return sphere_probability(points)

    surface_cells(counted, half_side=0.5, start_resolution=16, depth=4, threshold=0.999, slope=1 / 0.08)
    assert asked[0] == 16**3
    # Four times per halving for a surface, eight for a volume.
    assert asked[-1] / asked[-2] < 5


def test_nothing_reaches_the_threshold():
    cells = surface_cells(
        lambda points: torch.zeros(len(points)),
        half_side=0.5,
        start_resolution=8,
        depth=2,
        threshold=0.9,
        slope=1.0,
    )
    assert cells.centers.shape == (0, 3)
