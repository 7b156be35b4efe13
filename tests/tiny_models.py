"""Real models of the smallest sizes, with random weights, and a pipeline of them whose objects have a surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from diffgs_diffusers import ConditionEncoder, DiffGSPipeline, GaussianVAE, UNet1DConditionModel
from diffgs_diffusers.training.clip_tokenizer import train_clip_tokenizer

CAPTIONS = ["a red chair", "a blue table", "a green lamp", "a white sofa"]
MAX_LENGTH = 12
VAE_SIZES = {
    "plane_resolution": 16,
    "plane_channels": 8,
    "patch_size": 2,
    "point_resolution": 16,
    "point_channels": 8,
    "depth_bins": 4,
    "encoder_blocks_per_level": None,
    "block_channels": (16, 32),
    "latent_channels": 4,
    "head_channels": 16,
    "encoder_num_gaussians": 256,
}
# No attention and no pooling between points: the quickest that has every kind of output.
QUICK_VAE_SIZES = VAE_SIZES | {
    "point_resolution": 8,
    "num_point_blocks": 1,
    "depth_bins": 0,
    "block_channels": (16, 16),
    "num_attention_blocks": 0,
}


def tiny_vae(**changes: Any) -> GaussianVAE:
    """A VAE with latents [B, 4, 48]; ``changes`` override its configuration."""
    torch.manual_seed(0)
    return GaussianVAE(**{**VAE_SIZES, **changes}).eval()


def vae_with_surface() -> GaussianVAE:
    """A VAE whose random latents describe objects: untrained GauPF is flat, so it is steepened and lifted."""
    vae = tiny_vae(**QUICK_VAE_SIZES, latents_mean=[0.1, -0.2, 0.0, 0.3], latents_std=[1.5, 0.5, 1.0, 2.0])
    with torch.no_grad():
        head = vae.heads.gaupf.proj_out
        head.weight.mul_(20.0)
        planes = vae.decode(vae.denormalize_latents(torch.randn(8, 4, vae.latent_length))).planes
        values = vae.heads.probability(planes, torch.rand(8, 4096, 3) - 0.5)
        head.bias.add_(0.9 - values.quantile(0.9))  # a tenth of the box is surface
    return vae


def tiny_unet(sample_size: int, channels: int) -> UNet1DConditionModel:
    """A denoiser of latents [B, channels, sample_size] with text states of 32 channels."""
    torch.manual_seed(1)
    unet = UNet1DConditionModel(
        sample_size=sample_size,
        in_channels=channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_levels=(False, True),
        attention_head_dim=8,
        cross_attention_dim=32,
        condition_types=("text", "image"),
        has_aligned_condition=True,
        norm_num_groups=8,
    ).eval()
    for layer in (unet.conv_out, unet.aligned_projection):  # they start at zero, where no input would matter
        torch.nn.init.normal_(layer.weight, std=0.2)
    return unet


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    """A tokenizer learned from ``CAPTIONS``; its files are kept in ``folder``."""
    if not folder.is_dir() or not any(folder.iterdir()):
        train_clip_tokenizer(CAPTIONS, folder, vocab_size=600, max_length=MAX_LENGTH)
    return CLIPTokenizer.from_pretrained(str(folder))


def tiny_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A text model with states of 32 channels."""
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


def tiny_image_models() -> dict[str, Any]:
    """A vision model with states of 24 channels, and what prepares its pictures of 16² pixels."""
    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=16,
        patch_size=8,
    )
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return {"image_encoder": CLIPVisionModel(config).eval(), "image_processor": processor}


def tiny_condition_encoder() -> ConditionEncoder:
    """States of 32 channels, of pictures with 24 and of points, and a guess of latents with 4."""
    torch.manual_seed(4)
    encoder = ConditionEncoder(
        cross_attention_dim=32,
        image_dim=24,
        guess_channels=4,
        guess_rank=8,
        guess_width=8,
        point_channels=8,
        point_resolution=8,
        depth_bins=4,
        resolution=4,
        channels=16,
        num_points=64,
    ).eval()
    torch.nn.init.normal_(encoder.picture_guess.proj_out.weight, std=0.5)  # it starts at zero
    return encoder


def tiny_components(tokenizer_folder: Path) -> dict[str, Any]:
    """The arguments of a pipeline."""
    tokenizer, vae = tiny_tokenizer(tokenizer_folder), vae_with_surface()
    return {
        "vae": vae,
        "unet": tiny_unet(vae.latent_length, vae.config.latent_channels),
        "scheduler": DDIMScheduler(num_train_timesteps=100, clip_sample=False, prediction_type="sample"),
        "tokenizer": tokenizer,
        "text_encoder": tiny_text_encoder(tokenizer),
        "condition_encoder": tiny_condition_encoder(),
        **tiny_image_models(),
    }


def tiny_pipeline(tokenizer_folder: Path) -> DiffGSPipeline:
    """A silent pipeline: its objects have a surface and no meaning."""
    pipe = DiffGSPipeline(**tiny_components(tokenizer_folder))
    pipe.set_progress_bar_config(disable=True)
    return pipe
