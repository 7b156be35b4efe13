from __future__ import annotations

import pytest
import torch

from diffgs_diffusers.functional.spherical_harmonics import sh0_to_rgb
from diffgs_diffusers.models.condition_encoder import (
    NUM_FEATURES,
    ConditionEncoder,
    points_features,
    splats_features,
)
from tests.factories import random_splats, sphere_splats

SIZES = {
    "cross_attention_dim": 24,
    "point_channels": 8,
    "point_resolution": 8,
    "depth_bins": 4,
    "resolution": 4,
    "channels": 16,
    "num_points": 64,
}
KIND = torch.zeros(1, dtype=torch.long)


def encoder(**changes) -> ConditionEncoder:
    torch.manual_seed(0)
    return ConditionEncoder(**{**SIZES, **changes}).eval()


def test_points_are_gaussians_of_which_less_is_known():
    splats = random_splats(10)
    splats = splats.select(((splats.sh0 * 0.282 + 0.5) >= 0).all(dim=-1)[:, 0])
    known, bare = splats_features(splats), points_features(splats.means)
    colored = points_features(splats.means, sh0_to_rgb(splats.sh0[:, 0]))
    assert known.shape[1] == bare.shape[1] == NUM_FEATURES
    torch.testing.assert_close(known[:, :3], bare[:, :3])
    torch.testing.assert_close(known[:, 10:13], colored[:, 10:13])
    assert [one[:, -2:].unique(dim=0).tolist() for one in (known, colored, bare)] == [[[1, 1]], [[0, 1]], [[0, 0]]]


def test_states_are_one_per_place_and_do_not_depend_on_order_or_batch():
    model = encoder()
    objects = [splats_features(sphere_splats(64)), splats_features(random_splats(64))]
    features = model.prepare_features(objects)
    assert features.shape == (2, 64, NUM_FEATURES)
    with torch.no_grad():
        kinds = torch.tensor([0, 1])
        tokens = model(features, kinds)
        turned = model(features.flip(1), kinds)
        alone = model(features[1:], kinds[1:])
    assert tokens.shape == (2, 3 * 16, 24)
    torch.testing.assert_close(tokens, turned, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens[1:], alone, atol=1e-5, rtol=1e-4)
    assert (tokens[0] - tokens[1]).abs().max() > 1e-2


@pytest.mark.parametrize("count", [1, 5, 64, 1000])
def test_any_number_of_points_is_read(count):
    model = encoder()
    with torch.no_grad():
        assert model(model.prepare_features([points_features(torch.rand(count, 3) - 0.5)]), KIND).isfinite().all()


def test_no_point_is_refused():
    with pytest.raises(ValueError, match="at least one point"):
        encoder().prepare_features([torch.zeros(0, NUM_FEATURES)])


def test_resolutions_must_divide():
    with pytest.raises(ValueError, match="multiple of `resolution`"):
        encoder(point_resolution=10)


def test_saved_and_loaded_it_says_the_same(tmp_path):
    model = encoder()
    model.save_pretrained(tmp_path)
    features = model.prepare_features([splats_features(sphere_splats(100))])
    with torch.no_grad():
        loaded = ConditionEncoder.from_pretrained(tmp_path)
        torch.testing.assert_close(loaded(features, KIND), model(features, KIND))


def test_every_parameter_learns():
    model = encoder().train()
    model(model.prepare_features([splats_features(random_splats(64))]), KIND).square().sum().backward()
    for layer in model.modules():  # those start at zero and learn first, what lies behind them from then on
        if isinstance(layer, torch.nn.Linear) and not layer.weight.any():
            assert layer.weight.grad.any()
    assert all(value.grad is not None for value in model.parameters())


def test_pictures_need_an_encoder_made_for_them():
    states = torch.randn(2, 5, 12)
    assert encoder(image_dim=12).project_images(states).shape == (2, 5, 24)
    with pytest.raises(ValueError, match="takes no pictures"):
        encoder().project_images(states)
    with pytest.raises(ValueError, match="must have 8 channels, got 12"):
        encoder(image_dim=8).project_images(states)
