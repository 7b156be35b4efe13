"""The original's heads, asked about one object in two ways."""

from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.models.original.heads import OriginalFunctionHeads


def heads_and_planes(**changes: bool) -> tuple[OriginalFunctionHeads, torch.Tensor]:
    torch.manual_seed(0)
    return OriginalFunctionHeads(6, 24, **changes), torch.randn(3, 6, 16, 16)


@pytest.mark.parametrize("is_constant", [True, False])
@pytest.mark.parametrize("has_skip", [True, False])
@pytest.mark.parametrize("has_tanh", [True, False])
def test_probability_of_one_object_is_that_of_its_planes(has_skip: bool, has_tanh: bool, is_constant: bool):
    heads, planes = heads_and_planes(has_skip=has_skip, has_tanh=has_tanh)
    heads.requires_grad_(not is_constant)
    points = ((torch.rand(200, 3) - 0.5) * 1.1).requires_grad_()
    function = heads.probability_of(planes)
    expected, found = heads.probability(planes[None], points[None])[0], function(points)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(values.sum(), points, retain_graph=True)[0] for values in (expected, found)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))
    if not is_constant:
        found.sum().backward()
        assert all(weight.grad is not None for weight in heads.gaupf.parameters())
    planes.zero_()
    assert torch.equal(function(points), found) is is_constant, "only folded planes are copies"


def test_beyond_the_box_the_border_is_read():
    heads, planes = heads_and_planes()
    heads.requires_grad_(False)
    points = torch.tensor([[0.8, 0.1, -0.2], [-0.9, 0.7, 0.3], [0.55001, -0.55001, 0.0]])
    expected = heads.probability(planes[None], points[None])[0]
    torch.testing.assert_close(heads.probability_of(planes)(points), expected, rtol=1e-3, atol=1e-3)
