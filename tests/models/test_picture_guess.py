from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.models.picture_guess import PictureGuess
from diffgs_diffusers.models.unet_1d_blocks import patchify


def guess(**changes: int) -> PictureGuess:
    torch.manual_seed(0)
    sizes = {"num_positions": 5, "channels": 8, "rank": 3, "width": 8, "cross_attention_dim": 7}
    return PictureGuess(**{**sizes, **changes}).eval()


def pictures(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_it_says_nothing_of_places_until_it_is_trained():
    model = guess()
    assert model(pictures()).shape == (2, 5, 7) and not model(pictures()).any()
    assert model.guess(pictures()).shape == (2, 5, 8)


def test_latents_are_the_patches_in_their_order():
    model = guess()
    found = model.guess(pictures())
    latents = model.latents(found, 4)
    assert latents.shape == (2, 2, 20)
    torch.testing.assert_close(patchify(latents, 4).transpose(1, 2), found)


@torch.no_grad()
def test_each_picture_is_looked_at_alone_and_as_a_whole():
    model, seen = guess(), pictures()
    torch.testing.assert_close(model.guess(seen[1:]), model.guess(seen)[1:], atol=1e-5, rtol=1e-4)
    for rows, columns in ((0, 0), (0, 48), (48, 0), (48, 48)):
        changed = seen.clone()
        changed[0, :, rows : rows + 16, columns : columns + 16] = 0
        apart = (model.guess(changed) - model.guess(seen)).abs().flatten(1).amax(dim=1)
        assert apart[0] > 1e-4 and apart[1] < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("size", [16, 128])
def test_pictures_of_another_size_are_seen_as_they_are(size):
    """A smooth picture is the same at any size."""
    model, ramp = guess(), torch.linspace(-1, 1, 3)[:, None, None] * torch.ones(1, 3, size, size)
    torch.testing.assert_close(model.guess(ramp), model.guess(ramp[..., :1, :1].expand(-1, -1, 64, 64)))


def test_a_frozen_guess_stays_as_it_is_and_how_it_is_told_is_learned():
    model = guess()
    with torch.no_grad():
        before = model.guess(pictures())
    model.freeze_guess()
    model.train()
    torch.testing.assert_close(model.guess(pictures()), before)  # nothing is dropped
    (model(pictures()) - 1).square().sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is not None] == ["proj_out.weight"]


def test_while_it_learns_features_are_dropped():
    model = guess().train()
    assert not torch.equal(model.guess(pictures()), model.guess(pictures()))


def test_it_starts_with_the_directions_in_which_latents_differ():
    model = guess()
    directions, offset = torch.randn(3, 40), torch.randn(40)
    patches = (torch.randn(50, 3) @ directions + offset).unflatten(1, (5, 8))
    model.span_(patches)
    apart = patches.flatten(1) - model.basis.bias
    basis = model.basis.weight
    torch.testing.assert_close(model.basis.bias, patches.flatten(1).mean(dim=0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(apart @ basis @ basis.T, apart, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="rank 3 needs as many latents, got 2"):
        model.span_(patches[:2])
