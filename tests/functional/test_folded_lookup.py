"""A layer taken into the planes gives what it gives after the lookup, in values and in the gradient of points."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffgs_diffusers.functional.folded_lookup import FoldedLookup, can_fold
from diffgs_diffusers.functional.triplane import sample_planes
from tests.factories import planes_and_points

PADDING = 0.1


def problem(resolution: int, channels: int, width: int = 24) -> tuple[torch.Tensor, torch.Tensor, nn.Linear]:
    """One object's planes, points, and a layer."""
    planes, points = planes_and_points(1, resolution, channels, PADDING)
    torch.manual_seed(0)
    return planes[0], points[0], nn.Linear(3 * channels + 3, width).requires_grad_(False)


def folded(planes: torch.Tensor, layer: nn.Linear, activation: str = "relu") -> FoldedLookup:
    return FoldedLookup(planes, layer.weight, layer.bias, PADDING, activation)


def reference(planes: torch.Tensor, points: torch.Tensor, layer: nn.Linear, activation: str) -> torch.Tensor:
    joined = sample_planes(planes[None].double(), points[None].double(), PADDING).transpose(1, 2).flatten(2)[0]
    rows = torch.cat([joined, points.double()], dim=-1) @ layer.weight.double().T
    rows = rows if layer.bias is None else rows + layer.bias.double()
    return rows.relu() if activation == "relu" else rows


def values_and_gradient(function, points: torch.Tensor, v_rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = points.clone().requires_grad_()
    rows = function(leaf)
    return rows.detach(), torch.autograd.grad(rows, leaf, v_rows.to(rows))[0]


@pytest.mark.parametrize(("resolution", "channels", "width"), [(1, 4, 3), (2, 1, 1), (8, 5, 19), (64, 48, 128)])
@pytest.mark.parametrize(("activation", "has_bias"), [("relu", True), ("relu", False), ("none", True)])
def test_values_and_gradients_are_those_of_the_layer(resolution, channels, width, activation, has_bias):
    planes, points, layer = problem(resolution, channels, width)
    if not has_bias:
        layer.bias = None
    lookup = folded(planes, layer, activation)
    v_rows = torch.randn(len(points), width, generator=torch.Generator().manual_seed(1))
    expected = values_and_gradient(lambda leaf: reference(planes, leaf, layer, activation), points, v_rows)
    found = values_and_gradient(lookup, points, v_rows)
    assert found[0].dtype == found[1].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), expected[0], atol=2e-5, rtol=1e-4)
    # Where a value is as good as 0, rounding decides whether it has a gradient.
    clear = ((found[0] > 0) == (expected[0] > 0)).all(dim=1)
    assert clear.float().mean() > 0.9
    scale = float(expected[1].abs().max())
    torch.testing.assert_close(found[1][clear], expected[1][clear].float(), atol=2e-5 * scale, rtol=1e-4)
    with torch.no_grad():
        assert torch.equal(lookup(points), found[0])


@pytest.mark.parametrize("activation", ["relu", "none"])
def test_bfloat16_is_rounded_once(activation: str):
    """Its weights are what they are; what is read is summed in float32 and rounded as it is written."""
    planes, points, layer = problem(64, 48)
    layer.to(torch.bfloat16)
    v_rows = torch.randn(len(points), 24, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    exact_layer = nn.Linear(147, 24).requires_grad_(False)
    exact_layer.load_state_dict({name: value.float() for name, value in layer.state_dict().items()})
    exact, gradient = values_and_gradient(folded(planes, exact_layer, activation), points, v_rows)
    rounded, found = values_and_gradient(folded(planes, layer, activation), points, v_rows)
    assert rounded.dtype == torch.bfloat16 and torch.equal(rounded, exact.bfloat16())
    torch.testing.assert_close(found, gradient, atol=1e-5 * float(gradient.abs().max()), rtol=1e-5)


def test_threads_change_no_bit():
    planes, points, layer = problem(16, 8)
    lookup = folded(planes, layer)
    points = points.repeat(40, 1)
    v_rows = torch.randn(len(points), 24, generator=torch.Generator().manual_seed(1))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            results.append(values_and_gradient(lookup, points, v_rows))
    finally:
        torch.set_num_threads(before)
    for one, four in zip(*results, strict=True):
        assert torch.equal(one, four)


@pytest.mark.parametrize("width", [1, 24])
def test_planes_and_layer_are_copied(width: int):
    planes, points, layer = problem(8, 5, width)
    lookup = folded(planes, layer)
    before = lookup(points).clone()
    planes.zero_()
    for parameter in layer.parameters():
        parameter.zero_()
    assert torch.equal(lookup(points), before) and before.any()


def test_autocast_leaves_the_folding_alone():
    planes, points, layer = problem(8, 5)
    expected = folded(planes, layer)(points)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(folded(planes, layer)(points), expected)


def test_an_activation_without_a_kernel_is_refused():
    planes, _, layer = problem(8, 5)
    with pytest.raises(ValueError, match="`activation` must be 'none' or 'relu', got 'swish'"):
        folded(planes, layer, "swish")


def test_no_point_is_no_error():
    planes, points, layer = problem(8, 5)
    assert folded(planes, layer)(points[:0]).shape == (0, 24)


def test_what_follows_a_gradient_or_has_no_kernel_is_not_folded():
    planes, _, layer = problem(8, 5)
    assert can_fold(planes, layer.weight) and can_fold(planes.bfloat16(), layer.weight)
    assert not can_fold(planes.clone().requires_grad_(), layer.weight)
    assert not can_fold(planes.double(), layer.weight)
    assert not can_fold(planes.to("meta"), layer.weight)
    assert not can_fold(planes, layer.weight.half())
    assert not can_fold(planes, layer.weight.requires_grad_())
