"""Models made to fit the latents and each other, or taken from where they were saved."""

from __future__ import annotations

import json

import pytest
import torch

from diffgs_diffusers.models import UNet1DConditionModel
from diffgs_diffusers.training.building import build_condition_encoder, build_unet, default_patch_size
from tests.tiny_models import tiny_condition_encoder, tiny_image_models, tiny_unet

SHAPE = (4, 48)


@pytest.mark.parametrize("told_of_places", [False, True])
def test_a_denoiser_to_start_from_is_told_of_places_where_there_are_any(tmp_path, told_of_places):
    unet = UNet1DConditionModel.from_config(tiny_unet(48, 4).config, has_aligned_condition=False)
    unet.save_pretrained(str(tmp_path))
    built = build_unet(str(tmp_path), None, SHAPE, None, None, told_of_places)
    assert built.config.has_aligned_condition == told_of_places
    assert all(torch.equal(built.state_dict()[key], value) for key, value in unet.state_dict().items())


@pytest.mark.parametrize(("length", "patch_size"), [(48, 1), (192, 1), (256, 1), (768, 4), (3072, 16), (1022, 1)])
def test_long_latents_are_worked_on_in_squares(length, patch_size):
    assert default_patch_size(length) == patch_size


def test_a_new_condition_encoder_fits_latents_and_pictures(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"point_resolution": 8, "guess_rank": 4, "guess_width": 8}))
    image_encoder = tiny_image_models()["image_encoder"]
    config = str(tmp_path / "config.json")
    built = build_condition_encoder(None, config, 32, (8, 192), 4, image_encoder).config
    assert (built.resolution, built.image_dim, built.guess_channels, built.guess_rank) == (4, 24, 32, 4)
    without = build_condition_encoder(None, None, 32, (8, 192), 4, None)
    assert without.config.image_dim is None and without.picture_guess is None


def test_a_condition_encoder_to_start_from_is_taken_as_it_is(tmp_path):
    tiny_condition_encoder().half().save_pretrained(str(tmp_path))
    image_encoder = tiny_image_models()["image_encoder"]
    built = build_condition_encoder(str(tmp_path), None, 32, SHAPE, 1, image_encoder)
    assert built.dtype == torch.float32 and built.config.guess_rank == 8
    with pytest.raises(ValueError, match="has `cross_attention_dim`=32, and the other models ask for 64"):
        build_condition_encoder(str(tmp_path), None, 64, SHAPE, 1, image_encoder)
    image_encoder.config.hidden_size = 48
    with pytest.raises(ValueError, match="has `image_dim`=24, and the other models ask for 48"):
        build_condition_encoder(str(tmp_path), None, 32, SHAPE, 1, image_encoder)
