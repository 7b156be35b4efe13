"""train_ldm.py on a tiny latents folder: a whole pipeline comes out, and the denoiser listens to text."""

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from transformers import CLIPTextModel

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.data.latents import LatentDataset, LatentRecord, write_index, write_latents
from diffgs_diffusers.models import GaussianVAE, UNet1DConditionModel
from diffgs_diffusers.training.encoding import write_latent_statistics
from diffgs_diffusers.training.setup import explicit_attention_on_cpu
from diffgs_diffusers.training.validation_ldm import held_out_error, validation_set
from tests.tiny_models import tiny_text_encoder, tiny_tokenizer

LENGTH, CHANNELS = 48, 4
SMALL_UNET = {
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "attention_levels": [False, True],
    "attention_head_dim": 16,
    "norm_num_groups": 8,
}


@pytest.fixture
def latents_folder(tmp_path, vae_folder) -> Path:
    """A red and a blue object whose latents differ in every channel."""
    folder = tmp_path / "latents"
    for index, (color, split) in enumerate([("red", "train"), ("blue", "train"), ("red", "validation")]):
        generator = torch.Generator().manual_seed(["red", "blue"].index(color))
        mean = torch.randn(1, CHANNELS, LENGTH, generator=generator)
        record = LatentRecord(f"chair_{index}", split, "chair", 1.0, [[f"a {color} chair"]], ["a chair"])
        write_latents(folder, record, mean)
    index = write_index(folder, ["chair_0", "chair_1", "chair_2"], {})
    write_latent_statistics(vae_folder, index["latents_mean"], index["latents_std"])
    return folder


@pytest.fixture
def clip_folder(tmp_path) -> Path:
    folder = tmp_path / "clip"
    tiny_text_encoder(tiny_tokenizer(folder)).save_pretrained(str(folder))
    return folder


@pytest.fixture
def words(latents_folder, tmp_path) -> list[str]:
    (tmp_path / "unet.json").write_text(json.dumps(SMALL_UNET))
    return [
        f"--train_data_dir={latents_folder}",
        f"--output_dir={tmp_path / 'run'}",
        f"--unet_config={tmp_path / 'unet.json'}",
        "--train_batch_size=4",
        "--max_train_steps=2",
        "--lr_warmup_steps=0",
        "--validation_steps=0",
        "--checkpointing_steps=0",
    ]


def statistics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]


def test_text_training_writes_a_pipeline_that_listens(train_ldm, words, clip_folder, vae_folder, tmp_path):
    train_ldm.main(
        [
            *words,
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


def test_the_text_encoder_can_be_trained_along(train_ldm, words, clip_folder, vae_folder, tmp_path):
    run, text = tmp_path / "run", [f"--text_encoder={clip_folder}", "--train_text_encoder"]
    words = [
        *words,
        *text,
        f"--pretrained_vae_model_name_or_path={vae_folder}",
        "--mixed_precision=bf16",
        "--use_ema",
    ]
    train_ldm.main([*words, "--checkpointing_steps=2"])
    before = CLIPTextModel.from_pretrained(clip_folder).state_dict()
    halfway = CLIPTextModel.from_pretrained(run / "checkpoint-2" / "text_encoder").state_dict()
    assert any(not torch.equal(halfway[name], value) for name, value in before.items())
    train_ldm.main([*words, "--max_train_steps=4", "--validation_steps=4", "--resume_from_checkpoint=latest"])
    pipeline = DiffGSPipeline.from_pretrained(run)
    trained = pipeline.text_encoder.state_dict()
    assert any(not torch.equal(trained[name], value) for name, value in halfway.items())
    assert any("validation/mse" in line for line in statistics(run))


def test_training_without_text_writes_denoiser_and_scheduler(train_ldm, words, tmp_path):
    train_ldm.main([*words, "--prediction_type=epsilon", "--validation_steps=2"])
    run = tmp_path / "run"
    unet = UNet1DConditionModel.from_pretrained(run / "unet")
    assert (unet.config.sample_size, unet.config.in_channels) == (LENGTH, CHANNELS)
    assert DDPMScheduler.from_pretrained(run / "scheduler").config.prediction_type == "epsilon"
    assert not (run / "model_index.json").exists()
    assert "validation/unconditional_mse" not in statistics(run)[-1]


def test_validation_prompts_are_drawn(train_ldm, words, clip_folder, vae_folder, tmp_path):
    from PIL import Image

    # GauPF of an untrained VAE is flat; lifted, everything is surface.
    vae = GaussianVAE.from_pretrained(vae_folder)
    with torch.no_grad():
        vae.heads.gaupf.proj_out.bias.fill_(0.95)
    vae.save_pretrained(str(vae_folder))
    train_ldm.main(
        [
            *words,
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


@pytest.mark.parametrize(("length", "patch_size"), [(48, 1), (192, 1), (256, 1), (768, 4), (3072, 16), (1022, 1)])
def test_long_latents_are_worked_on_in_squares(train_ldm, length, patch_size):
    assert train_ldm.default_patch_size(length) == patch_size


def test_a_vae_with_other_statistics_is_refused(train_ldm, words, vae_folder):
    write_latent_statistics(vae_folder, [0.0] * CHANNELS, [1.0] * CHANNELS)
    with pytest.raises(ValueError, match="latents_mean"):
        train_ldm.main([*words, f"--pretrained_vae_model_name_or_path={vae_folder}"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--condition_dropout=1.5"], "--condition_dropout must be in [0, 1]"),
        (["--train_text_encoder"], "--train_text_encoder needs"),
        (["--snr_gamma=0"], "--snr_gamma must be above 0"),
        (["--validation_prompts", "a chair"], "--validation_prompts needs"),
        (["--train_data_dir=/nonexistent"], None),
    ],
)
def test_bad_use_is_refused(train_ldm, words, capsys, extra, message):
    with pytest.raises(SystemExit if message else FileNotFoundError):
        train_ldm.main([*words, *extra])
    if message:
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
