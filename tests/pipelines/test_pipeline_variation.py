"""Variations of objects, what lies between two of them, and reconstructions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.models import OriginalGaussianVAE
from diffgs_diffusers.pipelines.variation import slerp
from tests.factories import random_splats, sphere_splats

OBJECT = sphere_splats(60)
OTHER = random_splats(40).transform(scale=0.5)
STEPS = 10


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unchanged(sample: torch.Tensor, *_: Any) -> SimpleNamespace:
    """A denoiser that returns what it is given, so that noise alone leads away from an object."""
    return SimpleNamespace(sample=sample)


def vary(pipe: DiffGSPipeline, **changes: Any) -> torch.Tensor:
    options = {"gaussians": OBJECT, "num_inference_steps": STEPS, "output_type": "latent", "generator": seeded()}
    return pipe(**options | changes).gaussians


def test_latents_of_objects_are_those_of_the_vae(pipe: DiffGSPipeline, tmp_path: Path) -> None:
    OBJECT.save(tmp_path / "object.ply")
    latents = pipe.encode_objects([OBJECT, OTHER, tmp_path / "object.ply"])
    for row, splats in zip(latents, (OBJECT, OTHER, OBJECT), strict=True):
        expected = pipe.vae.normalize_latents(pipe.vae.encode(splats).latent_dist.mode())[0]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


def test_only_the_last_share_of_the_steps_is_run(pipe: DiffGSPipeline) -> None:
    seen: list[int] = []
    pipe.unet.register_forward_pre_hook(lambda _, arguments: seen.append(int(arguments[1])))
    pipe.scheduler.set_timesteps(STEPS)
    for strength, count in ((0.3, 3), (1.0, STEPS), (0.01, 1)):
        seen.clear()
        vary(pipe, strength=strength)
        assert seen == pipe.scheduler.timesteps[-count:].tolist()
        assert pipe.num_timesteps == count


def test_the_less_strength_the_nearer_to_the_object(pipe: DiffGSPipeline) -> None:
    clean = pipe.encode_objects(OBJECT)
    pipe.unet.forward = unchanged
    apart = [float((vary(pipe, strength=strength) - clean).square().mean()) for strength in (0.1, 0.4, 0.8)]
    assert apart[0] < apart[1] < apart[2]


def test_a_perfect_denoiser_gives_the_object_back(pipe: DiffGSPipeline) -> None:
    clean = pipe.encode_objects([OBJECT, OTHER])
    for scheduler in (None, DPMSolverMultistepScheduler, EulerDiscreteScheduler):
        if scheduler is not None:
            pipe.scheduler = scheduler.from_config(pipe.scheduler.config, prediction_type="sample")
        pipe.unet.forward = lambda *_: SimpleNamespace(sample=clean)
        found = vary(pipe, gaussians=[OBJECT, OTHER], strength=0.5)
        torch.testing.assert_close(found, clean, atol=2e-3, rtol=1e-3)


def test_variations_of_an_object_are_neighbours(pipe: DiffGSPipeline) -> None:
    pipe.unet.forward = unchanged
    both = vary(pipe, gaussians=[OBJECT, OTHER], num_objects_per_prompt=2, strength=0.1)
    apart = torch.cdist(both.flatten(1), pipe.encode_objects([OBJECT, OTHER]).flatten(1))
    assert apart.argmin(dim=1).tolist() == [0, 0, 1, 1]


def test_a_condition_goes_with_it(pipe: DiffGSPipeline) -> None:
    assert (vary(pipe) - vary(pipe, prompt="a red chair")).abs().max() > 1e-3
    one_for_all = vary(pipe, prompt=["a red chair", "a blue table"])
    assert len(one_for_all) == 2


def test_noise_can_be_given(pipe: DiffGSPipeline) -> None:
    noise = torch.randn(1, 4, 48, generator=seeded(5))
    assert torch.equal(vary(pipe, latents=noise), vary(pipe, latents=noise, generator=seeded(9)))
    assert not torch.equal(vary(pipe, latents=noise), vary(pipe, latents=-noise))


def test_latents_may_be_what_it_begins_with(pipe: DiffGSPipeline) -> None:
    torch.testing.assert_close(vary(pipe, gaussians=pipe.encode_objects(OBJECT)), vary(pipe))


def test_a_reconstruction_has_as_many_gaussians_as_asked_for(pipe: DiffGSPipeline) -> None:
    first, second = pipe.reconstruct([OBJECT, OTHER], 70, generator=seeded(), refinement_steps=0)
    again, _ = pipe.reconstruct([OBJECT, OTHER], 70, generator=seeded(), refinement_steps=0)
    assert len(first.validate()) == len(second.validate()) == 70
    assert torch.equal(first.to_tensor(), again.to_tensor())


def test_refined_latents_say_more_of_an_object(pipe: DiffGSPipeline) -> None:
    first, second = pipe.encode_objects([OBJECT, OTHER], refinement_steps=3)
    torch.testing.assert_close(first, pipe.encode_objects(OBJECT, refinement_steps=3)[0])
    assert not torch.allclose(second, pipe.encode_objects(OTHER)[0], atol=0.02)
    (refined,) = pipe.reconstruct(OBJECT, 70, generator=seeded(), refinement_steps=3, picture_steps=0)
    (same,) = pipe.decode_latents(first[None], 70, seeded(), extraction="sharp")
    assert torch.equal(refined.to_tensor(), same.to_tensor())
    (even,) = pipe.reconstruct(OBJECT, 70, seeded(), extraction="even", refinement_steps=3, picture_steps=0)
    assert not torch.equal(refined.to_tensor(), even.to_tensor())


def test_pictures_make_latents_of_their_own(
    pipe: DiffGSPipeline, few_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_both = pipe.encode_objects(OBJECT, 2, picture_steps=6)
    (made,) = pipe.reconstruct(OBJECT, 70, seeded(), refinement_steps=2, picture_steps=6)
    (same,) = pipe.decode_latents(by_both, 70, seeded(), extraction="sharp")
    assert torch.equal(made.to_tensor(), same.to_tensor())
    monkeypatch.setattr("diffgs_diffusers.latent_refinement._PICTURE_WEIGHT", 0.0)
    by_functions = pipe.encode_objects(OBJECT, 2, picture_steps=6)
    assert not torch.allclose(by_functions, by_both, atol=3e-5), "a repetition is the same to 1e-6"


def test_a_reconstruction_is_refined_where_its_vae_can_be(pipe: DiffGSPipeline, few_pictures: None) -> None:
    (made,) = pipe.reconstruct(OBJECT, 70, seeded())
    (same,) = pipe.reconstruct(OBJECT, 70, seeded(), refinement_steps=50, picture_steps=40)
    assert torch.equal(made.to_tensor(), same.to_tensor())
    (made,) = pipe.reconstruct(OBJECT, 70, seeded(), refinement_steps=0)
    (same,) = pipe.decode_latents(pipe.encode_objects(OBJECT), 70, seeded())
    assert torch.equal(made.to_tensor(), same.to_tensor())
    pipe.vae = original_vae()
    (made,) = pipe.reconstruct(OBJECT, 70, seeded())
    (same,) = pipe.reconstruct(OBJECT, 70, seeded(), "even", refinement_steps=0)
    assert torch.equal(made.to_tensor(), same.to_tensor())


def test_generators_are_counted_before_anything_is_refined(pipe: DiffGSPipeline, monkeypatch) -> None:
    monkeypatch.setattr(type(pipe), "encode_objects", lambda *_: pytest.fail("encoded"))
    with pytest.raises(ValueError, match="generator"):
        pipe.reconstruct(OBJECT, 70, [seeded(), seeded()])


def original_vae() -> OriginalGaussianVAE:
    sizes = {"plane_channels": 4, "plane_resolution": 8, "point_channels": 4, "unet_channels": 2, "unet_depth": 2}
    return OriginalGaussianVAE(**sizes, latent_channels=6, block_channels=(6, 6), head_channels=16).eval()


def test_steps_of_refinement_are_checked_before_anything_is_read(pipe: DiffGSPipeline) -> None:
    for wrong, error in ((-1, ValueError), (0.5, TypeError), (True, TypeError)):
        for name in ("refinement_steps", "picture_steps"):
            with pytest.raises(error, match=f"`{name}` must be"):
                pipe.encode_objects("missing.ply", **{name: wrong})
    pipe.vae = original_vae()
    for name in ("refinement_steps", "picture_steps"):
        with pytest.raises(ValueError, match=f"`{name}` are for a GaussianVAE, this is an OriginalGaussianVAE"):
            pipe.reconstruct(OBJECT, **{name: 1})


def test_the_ends_of_what_lies_between_two_objects_are_their_variations(pipe: DiffGSPipeline) -> None:
    options: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "latent", "strength": 0.3}
    found = pipe.interpolate(OBJECT, OTHER, 5, generator=seeded(), **options).gaussians
    noise = torch.randn(1, 4, 48, generator=seeded())
    for row, end in ((0, OBJECT), (4, OTHER)):
        torch.testing.assert_close(found[row : row + 1], vary(pipe, gaussians=end, latents=noise, strength=0.3))
    pipe.unet.forward = unchanged
    between = pipe.interpolate(OBJECT, OTHER, 5, generator=seeded(), **options).gaussians
    shares = torch.cdist(between.flatten(1), pipe.encode_objects([OBJECT, OTHER]).flatten(1))
    assert (shares[:, 0].diff() > 0).all() and (shares[:, 1].diff() < 0).all()


def test_between_two_seeds_lie_noises_of_the_same_size(pipe: DiffGSPipeline) -> None:
    options: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "latent", "prompt": "a red chair"}
    found = pipe.interpolate(1, 2, 3, **options).gaussians
    for row, seed in ((0, 1), (2, 2)):
        noise = torch.randn(1, 4, 48, generator=seeded(seed))
        torch.testing.assert_close(found[row : row + 1], pipe(latents=noise, **options).gaussians)
    middle = slerp(torch.randn(4, 48, generator=seeded(1)), torch.randn(4, 48, generator=seeded(2)), 0.5)
    assert middle.std() == pytest.approx(1, abs=0.1)
    same = torch.randn(4, 48, generator=seeded(1))
    torch.testing.assert_close(slerp(same, same, 0.3), same)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"gaussians": 5}, TypeError, "`gaussians` must be GaussianSplats or the path"),
        ({"gaussians": [OBJECT, OBJECT[:0]]}, ValueError, r"`gaussians\[1\]` holds no Gaussian"),
        ({"gaussians": torch.zeros(4, 48)}, ValueError, r"must be \[P, 4, 48\], got \[4, 48\]"),
        ({"gaussians": torch.full((1, 4, 48), torch.nan)}, ValueError, "must be finite"),
        ({"gaussians": OBJECT.transform(scale=9.0)}, ValueError, "from the origin"),
        ({"gaussians": OBJECT, "strength": 0.0}, ValueError, "`strength` must be above 0 and at most 1, got 0.0"),
        ({"gaussians": OBJECT, "strength": 1.2}, ValueError, "`strength` must be above 0 and at most 1, got 1.2"),
        ({"gaussians": OBJECT, "strength": "much"}, TypeError, "`strength` must be a number"),
        ({"gaussians": [OBJECT] * 2, "prompt": ["a"] * 3}, ValueError, "2 of `gaussians` and 3 of `prompt`"),
    ],
)
def test_bad_variations(pipe: DiffGSPipeline, given: dict[str, Any], error: type[Exception], message: str) -> None:
    pipe.unet.forward = None
    with pytest.raises(error, match=message):
        pipe(**{"num_inference_steps": 2} | given)


def test_bad_interpolations(pipe: DiffGSPipeline) -> None:
    with pytest.raises(TypeError, match="two objects or two seeds"):
        pipe.interpolate(OBJECT, 3)
    with pytest.raises(ValueError, match="got lists of 2 and 1"):
        pipe.interpolate([OBJECT, OTHER], OTHER)
    with pytest.raises(ValueError, match="at least 2, the two ends, got 1"):
        pipe.interpolate(OBJECT, OTHER, 1)
