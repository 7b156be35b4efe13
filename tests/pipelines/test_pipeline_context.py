"""Pictures, partial objects and point clouds as conditions of the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffgs_diffusers import DiffGSPipeline, GaussianSplats
from tests.factories import random_splats, sphere_splats

PART = sphere_splats(40)
CLOUD = PART.means
OTHER = random_splats(30).transform(scale=0.5)
CONDITIONS: dict[str, Any] = {
    "image": Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)),
    "partial": PART,
    "points": CLOUD,
}


def latents_of(pipe: DiffGSPipeline, **conditions: Any) -> torch.Tensor:
    """The result for one noise; its rows, if there are several, share it."""
    count = max((len(one) for one in conditions.values() if isinstance(one, list)), default=1)
    noise = torch.randn(1, 4, 48, generator=torch.Generator().manual_seed(0)).repeat(count, 1, 1)
    options = {"num_inference_steps": 2, "output_type": "latent", "guidance_scale": 3.0}
    return pipe(latents=noise, **options, **conditions).gaussians


def apart(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool((first - second).abs().max() > 1e-3)


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_matters(pipe: DiffGSPipeline, name: str) -> None:
    without, found = latents_of(pipe), latents_of(pipe, **{name: CONDITIONS[name]})
    assert apart(without, found)
    other = {"image": Image.new("RGB", (9, 9)), "partial": OTHER, "points": CLOUD[:5] * 0.5}[name]
    assert apart(found, latents_of(pipe, **{name: other}))
    assert apart(found, latents_of(pipe, **{name: CONDITIONS[name]}, prompt="a red chair"))


def test_one_condition_serves_all_and_lists_are_taken_row_by_row(pipe: DiffGSPipeline) -> None:
    parts = [PART, OTHER]
    both = latents_of(pipe, partial=parts, image=CONDITIONS["image"])
    for row, part in zip(both, parts, strict=True):
        alone = latents_of(pipe, partial=part, image=[CONDITIONS["image"]])
        torch.testing.assert_close(row[None], alone, atol=1e-4, rtol=0)
    texts = latents_of(pipe, prompt=["a red chair"], partial=parts)
    torch.testing.assert_close(
        texts[1:], latents_of(pipe, prompt="a red chair", partial=parts[1]), atol=1e-4, rtol=0
    )


def test_objects_per_condition_are_neighbours(pipe: DiffGSPipeline) -> None:
    noise = torch.randn(1, 4, 48).repeat(4, 1, 1)
    options: dict[str, Any] = {"num_inference_steps": 2, "output_type": "latent", "latents": noise}
    found = pipe(points=[CLOUD, CLOUD[:7]], num_objects_per_prompt=2, **options).gaussians
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
    assert apart(found[1], found[2])


def test_colors_of_points_are_told_apart_from_none(pipe: DiffGSPipeline) -> None:
    colored = torch.cat([CLOUD, torch.full_like(CLOUD, 0.5)], dim=1)
    assert apart(latents_of(pipe, points=CLOUD), latents_of(pipe, points=colored))
    as_array = latents_of(pipe, points=colored.double().numpy())
    torch.testing.assert_close(latents_of(pipe, points=colored), as_array)


def test_a_negative_prompt_goes_with_any_condition(pipe: DiffGSPipeline) -> None:
    plain = latents_of(pipe, points=CLOUD)
    assert apart(plain, latents_of(pipe, points=CLOUD, negative_prompt="a blue table"))


def test_a_completed_object_begins_with_its_part_bit_by_bit(
    pipe: DiffGSPipeline, arguments: dict[str, Any]
) -> None:
    parts = [PART, OTHER]
    whole = pipe(partial=parts, num_objects_per_prompt=2, **arguments | {"num_gaussians": 100}).gaussians
    assert [len(one) for one in whole] == [100] * 4
    for index, splats in enumerate(whole):
        part = parts[index // 2]
        assert torch.equal(splats[: len(part)].to_tensor(), part.to_tensor())
        splats.validate()


def test_without_its_part_a_completed_object_is_all_new(pipe: DiffGSPipeline, arguments: dict[str, Any]) -> None:
    (splats,) = pipe(partial=PART, keep_input=False, **arguments).gaussians
    assert len(splats) == arguments["num_gaussians"]
    assert not torch.equal(splats[:40].means, PART.means)


def test_a_part_may_be_a_file(pipe: DiffGSPipeline, tmp_path: Path) -> None:
    PART.save(tmp_path / "part.ply")
    torch.testing.assert_close(latents_of(pipe, partial=tmp_path / "part.ply"), latents_of(pipe, partial=PART))


def test_points_may_be_a_file(pipe: DiffGSPipeline, tmp_path: Path) -> None:
    colored = torch.cat([CLOUD, torch.full_like(CLOUD, 0.25)], dim=1)
    np.save(tmp_path / "points.npy", colored.numpy())
    torch.testing.assert_close(latents_of(pipe, points=tmp_path / "points.npy"), latents_of(pipe, points=colored))


def test_clouds_with_and_without_colors_go_together(pipe: DiffGSPipeline) -> None:
    colored = torch.cat([CLOUD, torch.rand(len(CLOUD), 3)], dim=1)
    both = latents_of(pipe, points=[CLOUD, colored])
    for row, cloud in zip(both, (CLOUD, colored), strict=True):
        torch.testing.assert_close(row[None], latents_of(pipe, points=cloud), atol=1e-4, rtol=0)


def test_pictures_with_palettes_and_large_ones_are_taken(pipe: DiffGSPipeline) -> None:
    picture = Image.new("RGB", (16, 16), (200, 30, 30))
    picture.paste((30, 30, 200), (4, 4, 12, 12))
    found = latents_of(pipe, image=picture)
    assert torch.equal(found, latents_of(pipe, image=picture.convert("P", palette=Image.Palette.ADAPTIVE)))
    large = picture.resize((6400, 6400), Image.Resampling.NEAREST)
    torch.testing.assert_close(found, latents_of(pipe, image=large), atol=0.2, rtol=0)


def with_nan() -> GaussianSplats:
    splats = random_splats(5)
    splats.means[2] = torch.nan
    return splats


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"image": 5}, TypeError, "`image` must be a PIL image"),
        ({"image": []}, ValueError, "`image` is an empty list"),
        (
            {"image": [CONDITIONS["image"], "nowhere.png"]},
            FileNotFoundError,
            r"`image\[1\]`: there is no file nowhere",
        ),
        ({"image": [CONDITIONS["image"], 5]}, TypeError, r"`image\[1\]` must be a PIL image, .* got int"),
        ({"image": Image.new("RGBA", (20, 20))}, ValueError, "transparent everywhere"),
        ({"image": Image.new("RGB", (1, 1))}, ValueError, "1×1 pixels; at least 8 a side"),
        ({"partial": CLOUD}, TypeError, "`partial` must be GaussianSplats or the path"),
        ({"partial": PART[:0]}, ValueError, "`partial` holds no Gaussian"),
        ({"partial": with_nan()}, ValueError, "`partial`: `means` must be finite: 1 of 5"),
        ({"partial": [PART, PART[:0]]}, ValueError, r"`partial\[1\]` holds no Gaussian"),
        ({"partial": [PART, CLOUD]}, TypeError, r"`partial\[1\]` must be GaussianSplats or the path"),
        ({"partial": PART.transform(scale=9.0)}, ValueError, "reaches 3.5. from the origin"),
        ({"partial": PART, "points": CLOUD}, ValueError, "`partial` or `points`, not both"),
        (
            {"points": [[0, 0, 0]]},
            TypeError,
            r"`points\[0\]` must be an array, a tensor or the path",
        ),
        ({"points": torch.zeros(5, 4)}, ValueError, r"\[N, 3\] or, with colours, \[N, 6\], got \[5, 4\]"),
        ({"points": torch.zeros(0, 3)}, ValueError, "`points` holds no point"),
        ({"points": torch.tensor([[0.0, 0, torch.nan]])}, ValueError, "NaN or infinite in 1 of 1 points"),
        ({"points": torch.full((3, 6), 200.0) * torch.tensor([0, 0, 0, 1, 1, 1])}, ValueError, "divide by 255"),
        ({"points": [CLOUD, torch.zeros(0, 3)]}, ValueError, r"`points\[1\]` holds no point"),
        ({"points": [CLOUD, PART]}, TypeError, r"`points\[1\]` must be an array"),
        ({"points": CLOUD, "num_objects": 2}, ValueError, "use `num_objects_per_prompt`"),
        ({"points": [CLOUD] * 2, "prompt": ["a"] * 3}, ValueError, "2 of `points` and 3 of `prompt`"),
        ({"partial": PART, "num_gaussians": 40}, ValueError, "has 40 Gaussians, so `num_gaussians`=40 leaves none"),
    ],
)
def test_bad_conditions(pipe: DiffGSPipeline, given: dict[str, Any], error: type[Exception], message: str) -> None:
    pipe.unet.forward = None
    with pytest.raises(error, match=message):
        pipe(**{"num_inference_steps": 2} | given)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_pipeline_without_the_models_says_so(pipe: DiffGSPipeline, name: str) -> None:
    pipe.register_modules(condition_encoder=None)
    with pytest.raises(ValueError, match=f"takes no `{name}`: it has no `condition_encoder`"):
        pipe(**{name: CONDITIONS[name]})


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_denoiser_that_does_not_know_a_type_is_named(pipe: DiffGSPipeline, name: str) -> None:
    pipe.unet.register_to_config(condition_types=("text",), has_aligned_condition=False)
    with pytest.raises(ValueError, match=f"takes no `{name}`: its denoiser knows none"):
        pipe(**{name: CONDITIONS[name]})


def test_pictures_need_an_image_encoder(pipe: DiffGSPipeline) -> None:
    pipe.register_modules(image_encoder=None)
    with pytest.raises(ValueError, match="it has no `image_encoder`"):
        pipe(image=CONDITIONS["image"])
