from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.models.picture_guess import PictureGuess
from diffgs_diffusers.models.unet_1d_blocks import patchify


def guess(**changes: int) -> PictureGuess:
    torch.manual_seed(0)
    sizes = {"image_dim": 6, "num_positions": 5, "channels": 8, "rank": 3, "cross_attention_dim": 7}
    return PictureGuess(**{**sizes, **changes})


def test_it_says_nothing_of_places_until_it_is_trained():
    model, states = guess(), torch.randn(2, 4, 6)
    assert model(states).shape == (2, 5, 7) and not model(states).any()
    assert model.guess(states).shape == (2, 5, 8)


def test_latents_are_the_patches_in_their_order():
    model, states = guess(), torch.randn(2, 4, 6)
    latents = model.latents(model.guess(states), 4)
    assert latents.shape == (2, 2, 20)
    torch.testing.assert_close(patchify(latents, 4).transpose(1, 2), model.guess(states))


def test_the_whole_picture_counts_and_the_order_of_its_patches_does_not():
    model, states = guess(), torch.randn(1, 4, 6)
    turned = states[:, [0, 2, 3, 1]]
    torch.testing.assert_close(model.guess(turned), model.guess(states))
    assert (model.guess(states[:, [1, 0, 2, 3]]) - model.guess(states)).abs().max() > 1e-3


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
