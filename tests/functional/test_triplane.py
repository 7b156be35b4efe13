from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.functional.triplane import (
    NORMAL_AXES,
    PLANE_AXES,
    cell_indices,
    depth_occupancy,
    gather_cells,
    morton_order,
    planes_to_sequence,
    sample_planes,
    scatter_mean,
    sequence_to_planes,
)


def coordinate_planes(resolution: int, padding: float) -> torch.Tensor:
    """Planes [1, 3, 2, R, R] whose features are the coordinates of their cells' centres in the object frame."""
    centers = ((torch.arange(resolution) + 0.5) / resolution - 0.5) * (1 + padding)
    rows, columns = torch.meshgrid(centers, centers, indexing="ij")
    return torch.stack([columns, rows]).expand(1, 3, 2, resolution, resolution)


def test_lookup_returns_the_coordinates_of_each_plane_in_the_order_xz_xy_yz():
    points = (torch.rand(1, 50, 3) - 0.5) * 0.9
    x, y, z = points.unbind(-1)
    found = sample_planes(coordinate_planes(32, 0.1), points, 0.1)
    expected = torch.stack([torch.stack(pair, dim=-1) for pair in ((x, z), (x, y), (y, z))], dim=1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_point_is_looked_up_in_the_cell_it_is_pooled_into():
    """At a cell's centre, bilinear weights pick exactly the cell that cell_indices names."""
    resolution = 8
    column, row = 5, 2
    center = (torch.tensor([column, row, 3]) + 0.5) / resolution - 0.5
    point = torch.stack([center[0], center[1], center[2]])[None, None]  # xy plane: column x, row y
    index = cell_indices(point, resolution, padding=0.0)
    assert index[0, 1, 0].item() == row * resolution + column
    planes = torch.zeros(1, 3, 1, resolution, resolution)
    planes[0, 1, 0, row, column] = 1
    assert sample_planes(planes, point, 0.0)[0, 1, 0, 0].item() == pytest.approx(1.0, abs=1e-5)


def test_every_plane_has_the_axis_that_it_lacks_as_its_normal():
    assert [set(range(3)) - set(axes) for axes in PLANE_AXES] == [{axis} for axis in NORMAL_AXES]


def test_surfaces_behind_each_other_show_in_the_occupancy_along_the_normal():
    """Two points on one line along y: one cell of the xz plane, two depths in it."""
    resolution, bins = 4, 5
    points = torch.tensor([[[0.1, -0.5, 0.1], [0.1, 0.25, 0.1], [0.1, 0.375, 0.1]]])
    indices = cell_indices(points, resolution, padding=0.0)
    depth = depth_occupancy(points, indices, resolution**2, bins, padding=0.0)
    assert depth.shape == (1, 3, resolution**2, bins)
    counts = torch.tensor([1.0, 0.0, 0.0, 1.5, 0.5])  # bins lie at -0.5, -0.25, 0, 0.25 and 0.5
    torch.testing.assert_close(depth[0, 0, indices[0, 0, 0]], 1 - torch.exp(-counts))
    occupied = torch.zeros(resolution**2, dtype=torch.bool)
    occupied[indices[0, 0, 0]] = True
    assert not depth[0, 0, ~occupied].any()


def test_points_beyond_the_box_count_at_its_border():
    points = torch.tensor([[[9.0, 9.0, 9.0], [-9.0, -9.0, -9.0]]])
    depth = depth_occupancy(points, cell_indices(points, 4), 16, 8, padding=0.1)
    assert torch.equal((depth > 0).sum(dim=(2, 3)), torch.full((1, 3), 2))
    assert (depth[0, :, -1, -1] > 0).all() and (depth[0, :, 0, 0] > 0).all()


def test_scatter_mean_and_gather_agree_with_a_loop():
    points, features = torch.rand(2, 30, 3) - 0.5, torch.randn(2, 30, 4)
    indices = cell_indices(points, 4)
    means = scatter_mean(features, indices, 16)
    gathered = gather_cells(means, indices)
    for batch in range(2):
        expected = torch.zeros(30, 4)
        for plane in range(3):
            for cell in range(16):
                inside = indices[batch, plane] == cell
                mean = features[batch, inside].mean(dim=0) if inside.any() else torch.zeros(4)
                torch.testing.assert_close(means[batch, plane, cell], mean)
                expected[inside] += mean
        torch.testing.assert_close(gathered[batch], expected)


def test_points_outside_fall_into_border_cells():
    far = torch.tensor([[[9.0, -9.0, 0.0]]])
    assert cell_indices(far, 4)[0, 1, 0].item() == 3  # column 3, row 0 of the xy plane


def test_morton_order_walks_through_squares():
    order = morton_order(8)
    assert torch.equal(order.sort().values, torch.arange(64))
    for start in range(0, 64, 16):
        rows, columns = order[start : start + 16] // 8, order[start : start + 16] % 8
        assert rows.max() - rows.min() == 3 and columns.max() - columns.min() == 3


def test_sequence_round_trip_keeps_planes_apart():
    planes = torch.randn(2, 3, 5, 4, 4)
    sequence = planes_to_sequence(planes)
    assert sequence.shape == (2, 5, 48)
    assert torch.equal(sequence[:, :, :16].sort(dim=-1).values, planes[:, 0].flatten(2).sort(dim=-1).values)
    assert torch.equal(sequence_to_planes(sequence, 4), planes)


def test_morton_order_needs_a_power_of_two():
    with pytest.raises(ValueError, match="power of two as resolution, got 6"):
        morton_order(6)
