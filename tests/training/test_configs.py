"""The configurations of the shipped checkpoint are arguments that their scripts take."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffgs_diffusers import GaussianVAE, default_checkpoint
from diffgs_diffusers.training.config import parse_training_arguments
from tests.training.conftest import load_script

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_configurations_parse_and_can_go_on(path):
    parser = load_script(f"train_{path.stem.removesuffix('_furniture')}").build_parser()
    args = parse_training_arguments(parser, ["--config", str(path), "--output_dir", "run"])
    assert args.resume_from_checkpoint == "latest"
    # near-identical objects must not crowd out the others where captions are learned
    assert args.weighted_sampling or path.stem.startswith(("vae", "sharing", "picture"))


def test_the_small_vae_has_the_shipped_ones_latents_and_a_quarter_of_its_weights():
    small = GaussianVAE.from_config(GaussianVAE._dict_from_json_file(CONFIGS[0].parent / "vae_small.json"))
    shipped = GaussianVAE.from_pretrained(default_checkpoint(), subfolder="vae")
    assert small.latent_length == shipped.latent_length
    assert small.config.latent_channels == shipped.config.latent_channels
    assert small.num_parameters() < shipped.num_parameters() / 4


def test_every_trained_part_has_one():
    names = [path.stem.removesuffix("_furniture") for path in CONFIGS]
    assert names == ["clip", "ldm", "picture_guess", "sharing", "vae"]
