"""A tiny pipeline whose components are real, and a toy dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import DDIMScheduler
from transformers import CLIPTokenizer

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.training.clip_tokenizer import train_clip_tokenizer
from tests.evaluation.primitives import toy_objects, write_dataset
from tests.pipelines.conftest import CAPTIONS, MAX_LENGTH, tiny_text_encoder, tiny_unet, tiny_vae


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> DiffGSPipeline:
    """Random weights: its objects have a surface and no meaning."""
    folder = tmp_path_factory.mktemp("evaluation_tokenizer")
    train_clip_tokenizer(CAPTIONS, folder, vocab_size=600, max_length=MAX_LENGTH)
    tokenizer, vae = CLIPTokenizer.from_pretrained(str(folder)), tiny_vae()
    pipe = DiffGSPipeline(
        vae=vae,
        unet=tiny_unet(vae.latent_length, vae.config.latent_channels),
        scheduler=DDIMScheduler(num_train_timesteps=100, clip_sample=False, prediction_type="sample"),
        tokenizer=tokenizer,
        text_encoder=tiny_text_encoder(tokenizer),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("toy") / "data", toy_objects(["train", "validation", "test"]))
