"""The VAE table's scores for objects and reconstructions that are known."""

from __future__ import annotations

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.evaluation.reconstruction import (
    TRUE_CENTERS,
    ImageScores,
    compare,
    reconstruction_scores,
    summarize,
)
from diffgs_diffusers.evaluation.views import evaluation_cameras, render_on_white
from diffgs_diffusers.models import OriginalGaussianVAE
from tests.factories import sphere_splats


def test_an_object_compared_with_itself_and_with_nothing() -> None:
    splats, cameras = sphere_splats(500), evaluation_cameras(32, 2)
    target = render_on_white(splats, cameras)
    same, empty = compare(splats, target, cameras), compare(None, target, cameras)
    assert (same.psnr, same.ssim) == (60.0, pytest.approx(1.0))
    assert empty.psnr == pytest.approx(float(-10 * (1 - target).pow(2).flatten(1).mean(dim=1).log10().mean()))
    assert same.lpips is None
    with_lpips = compare(splats, target, cameras, lambda a, b: (a - b).abs().flatten(1).amax(dim=1))
    assert with_lpips.lpips == 0.0


def test_every_count_has_a_row(tiny_pipeline: DiffGSPipeline) -> None:
    vae, splats = tiny_pipeline.vae, sphere_splats(300)
    scores = reconstruction_scores(vae, splats, (50, 200), size=32)
    assert list(scores) == [TRUE_CENTERS, "50", "200"]
    assert scores == reconstruction_scores(vae, splats, (50, 200), size=32)


def test_an_object_without_surface_counts_as_an_empty_image(tiny_pipeline: DiffGSPipeline) -> None:
    vae, splats = tiny_pipeline.vae, sphere_splats(300)
    cameras = evaluation_cameras(32)
    nothing = compare(None, render_on_white(splats, cameras), cameras)
    bias = vae.heads.gaupf.proj_out.bias
    kept = bias.detach().clone()
    with torch.no_grad():
        bias.sub_(100.0)
    try:
        assert reconstruction_scores(vae, splats, (50,), size=32)["50"] == nothing
    finally:
        with torch.no_grad():
            bias.copy_(kept)


def test_summary_is_mean_and_worst_tenth() -> None:
    scores = [{"50": ImageScores(float(20 + i), 0.9, 0.01 * i)} for i in range(11)]
    row = summarize(scores)["50"]
    assert (row["num_objects"], row["psnr"], row["psnr_p10"]) == (11, 25.0, 21.0)
    assert row["lpips_p90"] == pytest.approx(0.09)  # larger is worse
    assert "lpips" not in summarize([{"50": ImageScores(20.0, 0.9)}])["50"]
    assert summarize([]) == {}


def test_the_original_vae_is_measured_without_refinement() -> None:
    torch.manual_seed(0)
    sizes = {"plane_channels": 4, "plane_resolution": 8, "point_channels": 4, "unet_channels": 2, "unet_depth": 2}
    vae = OriginalGaussianVAE(**sizes, latent_channels=6, block_channels=(6, 6), head_channels=16).eval()
    assert set(reconstruction_scores(vae, sphere_splats(100), (20,), size=32)) == {TRUE_CENTERS, "20"}
