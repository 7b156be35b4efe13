from __future__ import annotations

import dataclasses

import pytest
import torch

from diffgs_diffusers.cameras import orbit_cameras
from diffgs_diffusers.functional.quaternions import quaternions_to_matrices, symmetric_square_roots
from diffgs_diffusers.functional.spherical_harmonics import sh_bases
from diffgs_diffusers.gaussians import GaussianSplats
from tests.factories import random_splats


def fields_of(splats: GaussianSplats) -> dict[str, torch.Tensor]:
    return {field.name: getattr(splats, field.name) for field in dataclasses.fields(splats)}


@pytest.mark.parametrize("degree", range(4))
def test_tensor_round_trip(degree):
    splats = random_splats(sh_degree=degree)
    again = GaussianSplats.from_tensor(splats.to_tensor())
    assert again.sh_degree == degree
    for name, value in fields_of(again).items():
        torch.testing.assert_close(value, getattr(splats, name), rtol=0, atol=0)


def test_fields_cannot_be_replaced():
    with pytest.raises(dataclasses.FrozenInstanceError):
        random_splats().means = torch.zeros(40, 3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("quats", torch.zeros(40, 3), r"`quats` must have shape \[40, 4\], got \[40, 3\]"),
        ("opacities", torch.zeros(39), r"`opacities` must have shape \[40\]"),
        ("scales", torch.zeros(40, 3, dtype=torch.float64), "share a device and dtype"),
        ("shN", torch.zeros(40, 5, 3), "1, 4, 9 or 16"),
    ],
)
def test_wrong_shapes_and_dtypes_are_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(random_splats(), **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("means", float("nan"), "`means` must be finite: 1 of 40"),
        ("scales", 0.0, "`scales` must be positive: 1 of 40"),
        ("opacities", 1.5, "`opacities` must be between 0 and 1: 1 of 40"),
        ("quats", 0.0, "`quats` must be of unit length: 1 of 40"),
    ],
)
def test_validate_names_the_rule_and_counts(name, value, message):
    splats = random_splats().validate()
    bad = getattr(splats, name).clone()
    bad[3] = value
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(splats, **{name: bad}).validate()


def test_select_by_index_mask_slice_and_number():
    splats = random_splats()
    mask = torch.arange(40) % 2 == 0
    assert torch.equal(splats.select(mask).means, splats.means[mask])
    assert torch.equal(splats[:7].quats, splats.quats[:7])
    assert torch.equal(splats[-1].means, splats.means[-1:])
    assert torch.equal(splats.select(torch.tensor([5, 1])).scales, splats.scales[[5, 1]])


def test_a_loop_over_gaussians_ends():
    splats = random_splats(3)
    assert [len(one) for one in splats] == [1, 1, 1]
    for index in (3, -4):
        with pytest.raises(IndexError):
            splats[index]


def test_concatenate_keeps_order_and_raises_the_degree():
    low, high = random_splats(3, sh_degree=1), random_splats(2, sh_degree=3, seed=1)
    joined = GaussianSplats.concatenate([low, high])
    assert len(joined) == 5 and joined.sh_degree == 3
    assert torch.equal(joined.means, torch.cat([low.means, high.means]))
    assert torch.equal(joined.shN[:3, :3], low.shN) and not joined.shN[:3, 3:].any()
    with pytest.raises(ValueError, match="at least one"):
        GaussianSplats.concatenate([])


def test_transform_moves_centres_covariances_and_colours_together():
    splats = random_splats(sh_degree=3).to(torch.float64)
    quat, shift = torch.tensor([0.4, 0.1, -0.8, 0.3], dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0])
    rotation = quaternions_to_matrices(quat)
    moved = splats.transform(rotation, shift, scale=2.5)
    torch.testing.assert_close(moved.means, 2.5 * splats.means @ rotation.T + shift.double())
    roots = symmetric_square_roots(splats.quats, splats.scales)
    expected = 2.5 * rotation @ roots @ rotation.T
    torch.testing.assert_close(symmetric_square_roots(moved.quats, moved.scales), expected)
    direction = torch.nn.functional.normalize(torch.tensor([[0.2, -0.5, 0.9]], dtype=torch.float64), dim=-1)
    seen = torch.einsum("dk,nkc->nc", sh_bases(direction, 3), splats.colors)
    seen_moved = torch.einsum("dk,nkc->nc", sh_bases(direction @ rotation.T, 3), moved.colors)
    torch.testing.assert_close(seen_moved, seen)


def test_half_precision_can_be_turned():
    rotation = quaternions_to_matrices(torch.tensor([0.4, 0.1, -0.8, 0.3])).half()
    moved = random_splats(sh_degree=1).to(torch.float16).transform(rotation)
    torch.testing.assert_close(moved.means.float(), random_splats().means @ rotation.T.float(), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "rotation", [torch.diag(torch.tensor([1.0, 1.0, -1.0])), torch.eye(3) * 2, torch.eye(4), torch.zeros(3)]
)
def test_transform_refuses_what_is_no_rotation(rotation):
    with pytest.raises(ValueError, match="rotation matrix"):
        random_splats().transform(rotation)


def test_transform_refuses_a_scale_that_is_not_positive():
    with pytest.raises(ValueError, match="positive, got 0"):
        random_splats().transform(scale=0)


def test_from_tensor_refuses_other_widths():
    with pytest.raises(ValueError, match=r"\[14, 23, 38, 59\], got \[4, 15\]"):
        GaussianSplats.from_tensor(torch.zeros(4, 15))


def halved_lattice() -> tuple[torch.Tensor, int]:
    """[N, 3] a square lattice in a plane, every second point each way first, and how many these are."""
    place = torch.cartesian_prod(torch.arange(-20, 21), torch.arange(-20, 21))
    is_first = (place % 2 == 0).all(dim=1)
    ordered = torch.cat([place[is_first], place[~is_first]])
    return torch.nn.functional.pad(0.02 * ordered, (0, 1)), int(is_first.sum())


@pytest.mark.parametrize("opacity", [0.95, 0.3, 0.1])
def test_the_first_of_a_lattice_stand_for_four_each(opacity: float) -> None:
    """Half as dense a lattice: the spacing doubles everywhere."""
    means, num_first = halved_lattice()
    count = len(means)
    splats = GaussianSplats(
        means,
        torch.tensor([[1.0, 0, 0, 0]]).expand(count, 4),
        torch.full((count, 3), 0.01),
        torch.full((count,), opacity),
        torch.zeros(count, 1, 3),
    )
    first = splats.first(num_first)
    shared = min(opacity * 4**1.1, 0.95)
    torch.testing.assert_close(first.opacities, torch.full((num_first,), shared), rtol=1e-3, atol=0)
    growth = 2 * (opacity / shared) ** (1 / 2.2)
    torch.testing.assert_close(first.scales, torch.full((num_first, 3), 0.01 * growth), rtol=1e-3, atol=0)
    assert torch.equal(first.means, means[:num_first])


def test_all_of_them_are_the_object_itself_and_more_are_refused() -> None:
    splats = random_splats(30)
    assert torch.equal(splats.first(30).to_tensor(), splats.to_tensor())
    assert len(splats.first(1)) == 1
    for count in (0, 31):
        with pytest.raises(ValueError, match=f"between 1 and 30, the number of Gaussians, got {count}"):
            splats.first(count)


def test_a_cloud_of_points_becomes_a_closed_surface() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(4000, 3, generator=generator), dim=-1)
    colors = torch.tensor([0.9, 0.2, 0.1]).expand(4000, 3)
    ball = GaussianSplats.from_points(0.4 * directions, colors).validate()
    picture = ball.render(orbit_cameras(1, 64))[0]
    inside = picture[28:36, 28:36]
    assert inside[..., 3].min() > 0.95
    torch.testing.assert_close(inside[..., :3].mean(dim=(0, 1)), colors[0], atol=0.02, rtol=0)
    # Flat against the ball: no Gaussian is more than a sliver farther out than its point.
    thinnest = quaternions_to_matrices(ball.quats)[:, :, 2]
    assert (thinnest * directions).sum(dim=-1).abs().mean() > 0.98


def test_points_without_colours_are_grey_and_wrong_ones_are_refused() -> None:
    (grey,) = GaussianSplats.from_points(torch.zeros(1, 3)).validate().sh0.unique().tolist()
    assert grey == 0
    for positions, colors in (
        (torch.zeros(0, 3), None),
        (torch.zeros(4), None),
        (torch.zeros(4, 3), torch.zeros(3, 3)),
    ):
        with pytest.raises(ValueError, match=r"must both be \[N, 3\] with at least one point"):
            GaussianSplats.from_points(positions, colors)
    with pytest.raises(ValueError, match="must be finite"):
        GaussianSplats.from_points(torch.full((2, 3), torch.nan))


def test_harmonics_are_cut_or_padded_to_a_degree() -> None:
    shiny = random_splats(5, sh_degree=2)
    assert torch.equal(shiny.with_sh_degree(1).colors, shiny.colors[:, :4])
    more = shiny.with_sh_degree(3)
    assert torch.equal(more.colors[:, :9], shiny.colors) and not more.colors[:, 9:].any()
    with pytest.raises(ValueError, match="must be 0, 1, 2 or 3, got 4"):
        shiny.with_sh_degree(4)
