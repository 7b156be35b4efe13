"""train_ldm.py on a tiny latents folder: a whole pipeline comes out, and the denoiser listens to text."""

import json
import math

import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from transformers import CLIPTextModel

from diffgs_diffusers import DiffGSPipeline, DiffGSPriorTransformer
from diffgs_diffusers.data.latents import LatentDataset
from diffgs_diffusers.models import UNet1DConditionModel
from diffgs_diffusers.training.encoding import write_latent_statistics
from diffgs_diffusers.training.setup import explicit_attention_on_cpu
from diffgs_diffusers.training.validation_ldm import held_out_error, validation_set
from tests.training.ldm_runs import CHANNELS, LENGTH, SMALL_UNET, lift_surface, short_run, statistics


def test_text_training_writes_a_pipeline_that_listens(train_ldm, ldm_words, clip_folder, vae_folder, tmp_path):
    train_ldm.main(
        [
            *ldm_words,
            f"--text_encoder={clip_folder}",
            f"--pretrained_vae_model_name_or_path={vae_folder}",
            "--max_train_steps=120",
            "--learning_rate=8e-3",
            "--train_batch_size=16",
            "--plain_caption_probability=0",
            "--validation_steps=120",
            "--logging_steps=10",
            "--use_ema",
        ]
    )
    lines = statistics(tmp_path / "run")
    validation = next(line for line in lines if "validation/mse" in line)
    assert lines[-2]["mse"] < 0.5 * lines[0]["mse"]
    # The held-out object has a caption of the training set: with it, the denoiser knows what to make.
    assert validation["validation/mse_t937"] < 0.5 * validation["validation/unconditional_mse_t937"]
    pipeline = DiffGSPipeline.from_pretrained(tmp_path / "run")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert not pipeline.scheduler.config.clip_sample
    red = torch.randn(CHANNELS, LENGTH, generator=torch.Generator().manual_seed(0))
    made = pipeline(
        ["a red chair", "a blue chair"],
        num_inference_steps=20,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).gaussians
    target = pipeline.vae.normalize_latents(red[None])
    assert torch.cosine_similarity(made[:1].flatten(), target.flatten(), 0) > 0.7
    assert torch.cosine_similarity(made[1:].flatten(), target.flatten(), 0) < 0.3


def test_the_text_encoder_can_be_trained_along(train_ldm, ldm_words, clip_folder, vae_folder, tmp_path):
    run, text = tmp_path / "run", [f"--text_encoder={clip_folder}", "--train_text_encoder"]
    ldm_words = [
        *ldm_words,
        *text,
        f"--pretrained_vae_model_name_or_path={vae_folder}",
        "--mixed_precision=bf16",
        "--use_ema",
    ]
    train_ldm.main([*ldm_words, "--checkpointing_steps=2"])
    before = CLIPTextModel.from_pretrained(clip_folder).state_dict()
    halfway = CLIPTextModel.from_pretrained(run / "checkpoint-2" / "text_encoder").state_dict()
    assert any(not torch.equal(halfway[name], value) for name, value in before.items())
    train_ldm.main([*ldm_words, "--max_train_steps=4", "--validation_steps=4", "--resume_from_checkpoint=latest"])
    pipeline = DiffGSPipeline.from_pretrained(run)
    trained = pipeline.text_encoder.state_dict()
    assert any(not torch.equal(trained[name], value) for name, value in halfway.items())
    assert any("validation/mse" in line for line in statistics(run))


def test_training_without_text_writes_denoiser_and_scheduler(train_ldm, ldm_words, tmp_path):
    train_ldm.main([*ldm_words, "--prediction_type=epsilon", "--validation_steps=2"])
    run = tmp_path / "run"
    unet = UNet1DConditionModel.from_pretrained(run / "unet")
    assert (unet.config.sample_size, unet.config.in_channels) == (LENGTH, CHANNELS)
    assert DDPMScheduler.from_pretrained(run / "scheduler").config.prediction_type == "epsilon"
    assert not (run / "model_index.json").exists()
    assert "validation/unconditional_mse" not in statistics(run)[-1]


def test_the_prior_transformer_is_trained_and_goes_on(train_ldm, latents_folder, vae_folder, tmp_path):
    sizes = {"inner_dim": 16, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8}
    ldm_words = short_run(latents_folder, tmp_path)
    (tmp_path / "unet.json").write_text(json.dumps(sizes))
    ldm_words += [f"--pretrained_vae_model_name_or_path={vae_folder}", "--denoiser=prior_transformer"]
    ldm_words += ["--prediction_type=sample", "--beta_schedule=squaredcos_cap_v2", "--validation_steps=2"]
    ldm_words += ["--lr_scheduler=constant", "--learning_rate=1e-2", "--mixed_precision=bf16"]
    train_ldm.main([*ldm_words, "--checkpointing_steps=1"])
    pipe = DiffGSPipeline.from_pretrained(tmp_path / "run")
    assert isinstance(pipe.unet, DiffGSPriorTransformer)
    assert pipe.unet.config.dropout == 0.3 and pipe.unet.config.sample_size == LENGTH
    assert pipe.scheduler.config.prediction_type == "sample"
    before = (
        pipe.unet.proj_out.weight.detach().clone()
    )  # loaded weights may lie in the file, which is written again
    pipe.set_progress_bar_config(disable=True)
    assert pipe(num_inference_steps=2, output_type="latent").gaussians.shape == (1, CHANNELS, LENGTH)
    train_ldm.main([*ldm_words, "--max_train_steps=3", "--resume_from_checkpoint=latest"])
    longer = DiffGSPipeline.from_pretrained(tmp_path / "run").unet
    assert not torch.equal(longer.proj_out.weight, before)
    ldm_words.append(f"--pretrained_unet_model_name_or_path={tmp_path / 'run' / 'unet'}")
    train_ldm.main([*ldm_words, f"--output_dir={tmp_path / 'second'}", "--seed=1"])


def test_validation_prompts_are_drawn(train_ldm, ldm_words, clip_folder, vae_folder, tmp_path):
    lift_surface(vae_folder)
    train_ldm.main(
        [
            *ldm_words,
            f"--pretrained_model_name_or_path={clip_folder}",
            f"--pretrained_vae_model_name_or_path={vae_folder}",
            "--validation_steps=2",
            "--validation_num_gaussians=100",
            "--validation_prompts",
            "a red chair",
            "a blue chair",
        ]
    )
    with Image.open(tmp_path / "run" / "validation" / "prompts-000002.png") as picture:
        assert picture.size[0] == 2 * picture.size[1]
        low, high = picture.convert("L").getextrema()
        assert low < high


def test_a_vae_with_other_statistics_is_refused(train_ldm, ldm_words, vae_folder):
    write_latent_statistics(vae_folder, [0.0] * CHANNELS, [1.0] * CHANNELS)
    with pytest.raises(ValueError, match="latents_mean"):
        train_ldm.main([*ldm_words, f"--pretrained_vae_model_name_or_path={vae_folder}"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--condition_dropout=1.5"], "--condition_dropout must be in [0, 1]"),
        (["--train_text_encoder"], "--train_text_encoder needs"),
        (["--snr_gamma=0"], "--snr_gamma must be above 0"),
        (["--guess_weight=-1"], "--guess_weight must be at least 0"),
        (["--image_share=0.5"], "--image_share and --train_image_encoder need --image_encoder"),
        (["--train_image_encoder"], "--image_share and --train_image_encoder need --image_encoder"),
        (["--train_image_encoder", "--image_encoder=clip"], "needs an --image_share above 0"),
        (["--partial_share=0.5"], "need --object_data_dir"),
        (["--points_share=0.5"], "need --object_data_dir"),
        (["--text_share=1.5"], "--text_share must be in [0, 1], got 1.5"),
        (["--image_share=2", "--image_encoder=clip"], "--image_share must be in [0, 1]"),
        (["--points_share=-0.1", "--object_data_dir=data"], "--points_share must be in [0, 1]"),
        (["--partial_share=0.6", "--points_share=0.5", "--object_data_dir=data"], "they exclude each other"),
        (["--validation_prompts", "a chair"], "--validation_prompts needs"),
        (["--denoiser=prior_transformer", "--text_encoder=clip"], "takes no conditions and no patches"),
        (
            ["--denoiser=prior_transformer", "--patch_size=4", "--points_share=0.1"],
            "drop --points_share, --patch_size",
        ),
        (["--train_data_dir=/nonexistent"], None),
    ],
)
def test_bad_use_is_refused(train_ldm, ldm_words, capsys, extra, message):
    with pytest.raises(SystemExit if message else FileNotFoundError) as stopped:
        train_ldm.main([*ldm_words, *extra])
    if message:
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_held_out_error_of_a_model_that_predicts_nothing_is_the_variance_of_the_target(latents_folder):
    """v has variance ᾱ·1 + (1 − ᾱ)·var(x₀); a fresh denoiser predicts 0."""
    latents, texts = validation_set(LatentDataset(latents_folder, "validation"), limit=5)
    assert texts == ["a red chair"]
    unet = UNet1DConditionModel(sample_size=LENGTH, in_channels=CHANNELS, **SMALL_UNET)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    values = held_out_error(unet, scheduler, latents, None)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    for t in (62, 937):
        a = math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
        expected = (a**0.5 * noise - (1 - a) ** 0.5 * latents).square().mean().item()
        assert values[f"mse_t{t}"] == pytest.approx(expected, rel=0.02)
    assert values == held_out_error(unet, scheduler, latents, None)


@torch.no_grad()
def test_explicit_attention_changes_the_method_but_not_the_result():
    torch.manual_seed(0)
    unet = UNet1DConditionModel(
        sample_size=LENGTH, in_channels=CHANNELS, cross_attention_dim=16, **SMALL_UNET
    ).eval()
    torch.nn.init.normal_(unet.conv_out.weight)
    arguments = (torch.randn(2, CHANNELS, LENGTH), 7, torch.randn(2, 3, 16), torch.tensor([[1, 1, 0], [1, 0, 0]]))
    before = unet(*arguments).sample
    explicit_attention_on_cpu(unet)
    kinds = {
        type(processor).__name__ for processor in (m.processor for m in unet.modules() if hasattr(m, "processor"))
    }
    assert kinds == {"AttnProcessor"}
    torch.testing.assert_close(unet(*arguments).sample, before, rtol=1e-4, atol=1e-4)
