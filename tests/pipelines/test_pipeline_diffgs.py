"""What a call returns, and what it may and may not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
)

from diffgs_diffusers import DiffGSPipeline, GaussianSplats
from diffgs_diffusers.extraction import EmptySurfaceError

PROMPTS = ["a red chair", "a blue table"]


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def latents_of(pipe: DiffGSPipeline, **arguments: Any) -> torch.Tensor:
    return pipe(**{"num_inference_steps": 3, "output_type": "latent"} | arguments).gaussians


class TestOutput:
    def test_gaussians_are_valid_objects_of_the_exact_size(
        self, pipe: DiffGSPipeline, arguments: dict[str, Any]
    ) -> None:
        (splats,) = pipe("a red chair", **arguments).gaussians
        assert isinstance(splats, GaussianSplats)
        assert len(splats) == 64
        assert splats.dtype == torch.float32
        splats.validate()
        assert splats.means.abs().max() < 0.6

    def test_arrays_and_tensors_hold_the_same_numbers_as_objects(
        self, pipe: DiffGSPipeline, arguments: dict[str, Any]
    ) -> None:
        def run(output_type: str) -> Any:
            return pipe(PROMPTS, **arguments | {"generator": generators(1, 2)}, output_type=output_type).gaussians

        objects, array, tensor = run("gaussians"), run("np"), run("pt")
        assert isinstance(array, np.ndarray)
        assert array.shape == (2, 64, 14)
        np.testing.assert_array_equal(array, tensor.numpy())
        np.testing.assert_array_equal(array[1], objects[1].to_tensor().numpy())

    def test_latents_decode_to_the_objects(self, pipe: DiffGSPipeline, arguments: dict[str, Any]) -> None:
        latents = latents_of(pipe, prompt=PROMPTS, generator=generators(1, 2))
        assert latents.shape == (2, 4, 48)
        assert latents.dtype == torch.float32
        # The objects' own draws come after those of the latents, from the same generators.
        after = generators(1, 2)
        for generator in after:
            torch.randn(1, 4, 48, generator=generator)
        decoded = pipe.decode_latents(latents, 64, after, mending_steps=1)
        whole = pipe(PROMPTS, **arguments | {"generator": generators(1, 2)}).gaussians
        assert all(torch.equal(a.to_tensor(), b.to_tensor()) for a, b in zip(decoded, whole, strict=True))

    def test_tuple(self, pipe: DiffGSPipeline) -> None:
        output = pipe(num_inference_steps=1, output_type="latent", return_dict=False)
        assert isinstance(output, tuple)
        assert len(output) == 1
        assert output[0].shape == (1, 4, 48)

    @pytest.mark.parametrize(
        ("arguments", "batch_size"),
        [
            ({}, 1),
            ({"num_objects": 3}, 3),
            ({"prompt": "a red chair", "num_objects_per_prompt": 2}, 2),
            ({"prompt": PROMPTS}, 2),
            ({"prompt": PROMPTS, "num_objects_per_prompt": 2}, 4),
        ],
    )
    def test_batch_size(self, pipe: DiffGSPipeline, arguments: dict[str, Any], batch_size: int) -> None:
        assert len(latents_of(pipe, num_inference_steps=1, **arguments)) == batch_size

    def test_an_object_without_a_surface_is_named(self, pipe: DiffGSPipeline, arguments: dict[str, Any]) -> None:
        torch.nn.init.zeros_(pipe.vae.heads.gaupf.proj_out.weight)
        torch.nn.init.zeros_(pipe.vae.heads.gaupf.proj_out.bias)
        with pytest.raises(EmptySurfaceError, match=r"Object 1 of 2 came out empty.*another seed"):
            pipe(num_objects=2, **arguments)

    def test_numpy_counts_are_counts(self, pipe: DiffGSPipeline) -> None:
        assert len(latents_of(pipe, num_objects=np.int64(2), guidance_scale=np.float32(2.0))) == 2

    def test_inference_mode(self, pipe: DiffGSPipeline, arguments: dict[str, Any]) -> None:
        expected = pipe("a red chair", **arguments, output_type="np").gaussians
        arguments["generator"].manual_seed(0)
        with torch.inference_mode():
            found = pipe("a red chair", **arguments, output_type="np").gaussians
        np.testing.assert_array_equal(found, expected)

    def test_offloaded_models_are_brought_to_the_device_when_they_run(
        self, pipe: DiffGSPipeline, arguments: dict[str, Any]
    ) -> None:
        """With accelerate's own hooks, and the CPU as the device that models are brought to."""
        from accelerate import cpu_offload_with_hook

        ran = []
        _, hook = cpu_offload_with_hook(pipe.vae, torch.device("cpu"))
        before = hook.hook.pre_forward
        hook.hook.pre_forward = lambda *a, **k: (ran.append("vae"), before(*a, **k))[1]
        splats = pipe("a red chair", mending_steps=0, **arguments).gaussians[0]
        pipe.vae.encode(splats)
        assert ran == ["vae", "vae"]


class TestReproducibility:
    def test_the_same_seed_gives_the_same_bytes(self, pipe: DiffGSPipeline, arguments: dict[str, Any]) -> None:
        first, second = (
            pipe("a red chair", **arguments | {"generator": generator}, output_type="np").gaussians
            for generator in generators(5, 5)
        )
        assert first.tobytes() == second.tobytes()

    def test_seeds_matter(self, pipe: DiffGSPipeline) -> None:
        first, second = (latents_of(pipe, generator=generator) for generator in generators(1, 2))
        assert not torch.allclose(first, second, atol=1e-2)

    @pytest.mark.parametrize("scheduler", [DDIMScheduler, DDPMScheduler])
    def test_a_sample_in_a_batch_equals_the_sample_alone(
        self, pipe: DiffGSPipeline, scheduler: type, arguments: dict[str, Any]
    ) -> None:
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
        arguments = arguments | {"output_type": "pt"}
        batch = pipe(PROMPTS, **arguments | {"generator": generators(1, 2)}).gaussians
        alone = pipe(PROMPTS[1], **arguments | {"generator": generators(2)}).gaussians
        torch.testing.assert_close(batch[1], alone[0], atol=1e-4, rtol=0)

    def test_given_latents_are_what_the_generator_would_draw(self, pipe: DiffGSPipeline) -> None:
        noise = torch.randn(1, 4, 48, generator=torch.Generator().manual_seed(3))
        drawn = latents_of(pipe, prompt="a red chair", generator=torch.Generator().manual_seed(3))
        given = latents_of(pipe, prompt="a red chair", latents=noise)
        assert torch.equal(drawn, given)

    def test_given_latents_are_not_changed(self, pipe: DiffGSPipeline) -> None:
        noise = torch.randn(1, 4, 48)
        before = noise.clone()
        latents_of(pipe, latents=noise)
        assert torch.equal(noise, before)


@pytest.mark.parametrize(
    ("scheduler", "prediction_types"),
    [
        (DDIMScheduler, ["epsilon", "sample", "v_prediction"]),
        (DDPMScheduler, ["epsilon", "sample", "v_prediction"]),
        (DPMSolverMultistepScheduler, ["epsilon", "sample", "v_prediction"]),
        (EulerDiscreteScheduler, ["epsilon", "sample", "v_prediction"]),
        (PNDMScheduler, ["epsilon", "v_prediction"]),
    ],
)
def test_schedulers(pipe: DiffGSPipeline, scheduler: type, prediction_types: list[str]) -> None:
    for prediction_type in prediction_types:
        pipe.scheduler = scheduler(num_train_timesteps=100, prediction_type=prediction_type)
        latents = latents_of(pipe, prompt="a red chair", num_inference_steps=5)
        assert latents.isfinite().all(), prediction_type
        assert pipe.num_timesteps == len(pipe.scheduler.timesteps)


def test_ddim_recovers_what_a_perfect_denoiser_knows(pipe: DiffGSPipeline) -> None:
    """With x0-prediction, a denoiser that always answers the same x0 must end there."""
    target = torch.randn(1, 4, 48, generator=torch.Generator().manual_seed(0))
    pipe.unet.forward = lambda sample, *_, **__: type("Output", (), {"sample": target.expand_as(sample)})
    torch.testing.assert_close(latents_of(pipe, prompt="a red chair", num_inference_steps=10), target)


class TestGuidance:
    def test_one_runs_the_denoiser_on_half_the_batch(self, pipe: DiffGSPipeline) -> None:
        sizes = []
        pipe.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        latents_of(pipe, prompt=PROMPTS, guidance_scale=1.0)
        assert sizes == [2, 2, 2]
        sizes.clear()
        latents_of(pipe, prompt=PROMPTS, guidance_scale=1.5)
        assert sizes == [4, 4, 4]
        sizes.clear()
        latents_of(pipe, num_objects=2, guidance_scale=5.0)
        assert sizes == [2, 2, 2], "without a prompt there is nothing to guide towards"

    def test_scales_and_prompts_matter(self, pipe: DiffGSPipeline) -> None:
        noise = torch.randn(1, 4, 48, generator=torch.Generator().manual_seed(0))
        variants = [
            {},
            {"prompt": "a red chair", "guidance_scale": 1.0},
            {"prompt": "a red chair", "guidance_scale": 4.0},
            {"prompt": "a blue table", "guidance_scale": 4.0},
            {"prompt": "a red chair", "guidance_scale": 4.0, "negative_prompt": "a blue table"},
        ]
        results = [latents_of(pipe, latents=noise, **variant) for variant in variants]
        for index, first in enumerate(results):
            for second in results[index + 1 :]:
                assert (first - second).abs().max() > 1e-4

    def test_a_negative_prompt_equal_to_the_prompt_cancels_guidance(self, pipe: DiffGSPipeline) -> None:
        noise = torch.randn(1, 4, 48, generator=torch.Generator().manual_seed(0))
        arguments = {"prompt": "a red chair", "latents": noise}
        cancelled = latents_of(pipe, **arguments, negative_prompt="a red chair", guidance_scale=7.0)
        torch.testing.assert_close(cancelled, latents_of(pipe, **arguments, guidance_scale=1.0))

    def test_property(self, pipe: DiffGSPipeline) -> None:
        latents_of(pipe, prompt="a red chair", guidance_scale=2.5)
        assert pipe.guidance_scale == 2.5
        assert pipe.do_classifier_free_guidance


class TestCallbacks:
    def test_it_is_told_every_step_and_given_what_it_asks_for(self, pipe: DiffGSPipeline) -> None:
        seen = []

        def callback(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            seen.append((step, int(timestep), sorted(tensors)))
            return {}

        names = ["latents", "negative_prompt_embeds", "prompt_embeds"]
        latents_of(pipe, prompt="x", callback_on_step_end=callback, callback_on_step_end_tensor_inputs=names)
        assert seen == [(i, int(t), names) for i, t in enumerate(pipe.scheduler.timesteps)]

    def test_what_it_returns_is_taken_back(self, pipe: DiffGSPipeline) -> None:
        def callback(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else {}

        assert latents_of(pipe, prompt="x", callback_on_step_end=callback).abs().max() == 0

    def test_the_guidance_scale_can_change_on_the_way(self, pipe: DiffGSPipeline) -> None:
        sizes = []
        pipe.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))

        def callback(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            pipeline._guidance_scale = 0.0
            return {}

        latents_of(pipe, prompt="x", callback_on_step_end=callback, guidance_scale=3.0)
        assert sizes == [2, 1, 1]

    def test_interrupt_keeps_the_latents_of_that_step(self, pipe: DiffGSPipeline) -> None:
        kept = []

        def callback(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            kept.append(tensors["latents"])
            pipeline._interrupt = step == 1
            return {}

        latents = latents_of(pipe, prompt="x", callback_on_step_end=callback)
        assert len(kept) == 2
        assert torch.equal(latents, kept[-1])
        assert pipe.interrupt


def test_progress_bar(pipe: DiffGSPipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipe.set_progress_bar_config(disable=False)
    latents_of(pipe)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models_place_gaussians_in_float32(
    pipe: DiffGSPipeline, arguments: dict[str, Any], dtype: torch.dtype
) -> None:
    expected = latents_of(pipe, prompt="a red chair", latents=torch.zeros(1, 4, 48) + 0.5)
    pipe.to(dtype)
    latents = latents_of(pipe, prompt="a red chair", latents=torch.zeros(1, 4, 48) + 0.5)
    assert latents.dtype == torch.float32
    torch.testing.assert_close(latents, expected, atol=0.2, rtol=0.1)
    (splats,) = pipe("a red chair", **arguments).gaussians
    assert splats.dtype == torch.float32
    assert splats.means.unique().numel() > 64
    assert pipe.vae.dtype == dtype, "the precision that the user chose is kept"
