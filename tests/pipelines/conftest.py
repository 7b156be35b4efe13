"""A pipeline of tiny real components, with random weights that give every object a surface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffgs_diffusers import DiffGSPipeline, GaussianVAE, UNet1DConditionModel
from diffgs_diffusers.training.clip_tokenizer import train_clip_tokenizer

CAPTIONS = ["a red chair", "a blue table", "a green lamp", "a white sofa"]
MAX_LENGTH = 12


def tiny_vae() -> GaussianVAE:
    torch.manual_seed(0)
    vae = GaussianVAE(
        plane_resolution=16,
        plane_channels=8,
        patch_size=2,
        point_resolution=8,
        point_channels=8,
        num_point_blocks=1,
        block_channels=(16, 16),
        num_attention_blocks=0,
        latent_channels=4,
        head_channels=16,
        head_layers=2,
        latents_mean=[0.1, -0.2, 0.0, 0.3],
        latents_std=[1.5, 0.5, 1.0, 2.0],
    ).eval()
    # Without training GauPF is flat: steepen it, and lift it so that a tenth of the box is surface.
    with torch.no_grad():
        head = vae.heads.gaupf.proj_out
        head.weight.mul_(20.0)
        planes = vae.decode(vae.denormalize_latents(torch.randn(8, 4, vae.latent_length))).planes
        values = vae.heads.probability(planes, torch.rand(8, 4096, 3) - 0.5)
        head.bias.add_(0.9 - values.quantile(0.9))
    return vae


def tiny_unet(sample_size: int, channels: int) -> UNet1DConditionModel:
    torch.manual_seed(1)
    unet = UNet1DConditionModel(
        sample_size=sample_size,
        in_channels=channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_levels=(False, True),
        attention_head_dim=8,
        cross_attention_dim=32,
        norm_num_groups=8,
    ).eval()
    torch.nn.init.normal_(unet.conv_out.weight, std=0.2)  # it starts at zero, where no input would matter
    return unet


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_clip_tokenizer(CAPTIONS, folder, vocab_size=600, max_length=MAX_LENGTH)
    return folder


def tiny_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    torch.manual_seed(2)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


@pytest.fixture(scope="session")
def make_components(tokenizer_folder: Path) -> Callable[[], dict[str, Any]]:
    """A function that makes the pipeline's arguments."""

    def make() -> dict[str, Any]:
        tokenizer = CLIPTokenizer.from_pretrained(str(tokenizer_folder))
        vae = tiny_vae()
        return {
            "vae": vae,
            "unet": tiny_unet(vae.latent_length, vae.config.latent_channels),
            "scheduler": DDIMScheduler(num_train_timesteps=100, clip_sample=False, prediction_type="sample"),
            "tokenizer": tokenizer,
            "text_encoder": tiny_text_encoder(tokenizer),
        }

    return make


@pytest.fixture
def pipe(make_components: Callable[[], dict[str, Any]]) -> DiffGSPipeline:
    pipe = DiffGSPipeline(**make_components())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def arguments() -> dict[str, Any]:
    """A short call, freshly seeded."""
    return {"num_inference_steps": 3, "num_gaussians": 64, "generator": torch.Generator().manual_seed(0)}
