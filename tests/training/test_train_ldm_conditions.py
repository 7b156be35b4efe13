"""train_ldm.py with pictures, parts and points: what is told reaches the denoiser, what does not fit is refused."""

import json
import math
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from safetensors.torch import load_file

from diffgs_diffusers import DiffGSPipeline
from diffgs_diffusers.data.latents import LatentDataset, read_latents
from diffgs_diffusers.models import GaussianVAE
from diffgs_diffusers.training.building import version_source
from diffgs_diffusers.training.conditioned_denoiser import CaptionTokens, ConditionedDenoiser
from tests.factories import sphere_splats
from tests.tiny_models import tiny_image_models, tiny_text_encoder, tiny_tokenizer, tiny_unet
from tests.training.ldm_runs import CHANNELS, LENGTH, lift_surface, short_run, statistics

AUGMENTATIONS = 2
SMALL_CONDITION_ENCODER = {
    "point_channels": 8,
    "point_resolution": 8,
    "depth_bins": 4,
    "channels": 16,
    "num_points": 64,
    "guess_rank": 8,
    "guess_width": 8,
}


@pytest.fixture
def image_folder(tmp_path) -> Path:
    """A vision model and its processor, as CLIP is stored."""
    folder = tmp_path / "image_clip"
    for part in tiny_image_models().values():
        part.save_pretrained(str(folder))
    return folder


@pytest.fixture
def encoded_folder(encode_latents, dataset_folder, vae_folder, tmp_path) -> Path:
    """The dataset's latents, with pictures, of a VAE whose objects have a surface."""
    lift_surface(vae_folder)
    encode_latents.main(
        [
            f"--pretrained_model_name_or_path={vae_folder}",
            f"--train_data_dir={dataset_folder}",
            f"--output_dir={tmp_path / 'encoded'}",
            f"--num_augmentations={AUGMENTATIONS}",
            "--view_size=20",
        ]
    )
    return tmp_path / "encoded"


@pytest.fixture
def words_of_everything(
    encoded_folder, clip_folder, image_folder, vae_folder, dataset_folder, tmp_path
) -> list[str]:
    """Arguments of a run that tells of everything and trains all encoders."""
    (tmp_path / "condition_encoder.json").write_text(json.dumps(SMALL_CONDITION_ENCODER))
    return [
        *short_run(encoded_folder, tmp_path),
        f"--pretrained_vae_model_name_or_path={vae_folder}",
        f"--text_encoder={clip_folder}",
        "--train_text_encoder",
        f"--image_encoder={image_folder}",
        "--train_image_encoder",
        f"--object_data_dir={dataset_folder}",
        f"--condition_encoder_config={tmp_path / 'condition_encoder.json'}",
        "--text_share=0.6",
        "--image_share=0.5",
        "--partial_share=0.4",
        "--points_share=0.4",
        "--lr_scheduler=constant",
        "--learning_rate=1e-2",
        "--mixed_precision=bf16",
        "--use_ema",
    ]


def latents_of(pipeline: DiffGSPipeline, **conditions) -> torch.Tensor:
    noise = torch.randn(1, CHANNELS, LENGTH, generator=torch.Generator().manual_seed(0))
    return pipeline(latents=noise, num_inference_steps=2, output_type="latent", **conditions).gaussians


def weights(run: Path) -> dict[str, torch.Tensor]:
    """All that is trained, by folder and name."""
    found = {}
    for name in ("unet", "text_encoder", "image_encoder", "condition_encoder"):
        for path in (run / name).glob("*.safetensors"):
            found |= {f"{name}.{key}": value for key, value in load_file(path).items()}
    return found


def test_pictures_parts_and_points_are_conditions_of_the_pipeline(
    train_ldm, words_of_everything, image_folder, tmp_path
):
    run, steps = tmp_path / "run", ["--max_train_steps=6", "--validation_steps=6"]
    train_ldm.main([*words_of_everything, *steps, "--checkpointing_steps=3"])
    assert all(math.isfinite(line["loss"]) for line in statistics(run) if "loss" in line)
    assert any("validation/mse" in line for line in statistics(run))

    pipeline = DiffGSPipeline.from_pretrained(run)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet.config.has_aligned_condition
    assert pipeline.condition_encoder.config.num_points == 64
    assert pipeline.image_processor.crop_size["height"] == 16
    halfway, trained = weights(run / "checkpoint-3"), weights(run)
    assert halfway.keys() == trained.keys()
    for name in ("unet.", "text_encoder.", "image_encoder.", "condition_encoder."):
        moved = [key for key in trained if key.startswith(name) and not torch.equal(halfway[key], trained[key])]
        assert moved, name
    before = load_file(image_folder / "model.safetensors")
    still = [key for key, value in before.items() if torch.equal(trained[f"image_encoder.{key}"], value)]
    assert set(before) - set(still) and all("post_layernorm" in key for key in still if key.endswith("weight"))

    part = sphere_splats(30, rgb=(0.2, 0.3, 0.8))
    conditions = {"image": Image.new("RGB", (30, 20), (200, 10, 10)), "partial": part, "points": part.means}
    plain = latents_of(pipeline)
    found = [latents_of(pipeline, **{name: value}) for name, value in conditions.items()]
    for index, one in enumerate(found):
        assert all((one - other).abs().max() > 1e-4 for other in (plain, *found[:index]))
    for name, value in conditions.items():
        given = {name: value, "num_inference_steps": 2, "generator": torch.Generator().manual_seed(0)}
        (made,) = pipeline(num_gaussians=50, **given).gaussians
        assert len(made.validate()) == 50
        assert torch.equal(made[:30].means, part.means) == (name == "partial")

    # Neither pictures nor parts are drawn from anything but the position in the run.
    again = tmp_path / "again"
    resumed = [f"--output_dir={again}", f"--resume_from_checkpoint={run / 'checkpoint-3'}"]
    train_ldm.main([*words_of_everything, *steps, *resumed])
    for key, value in weights(again).items():
        assert torch.equal(value, trained[key]), key


def test_training_goes_on_from_a_pipeline(train_ldm, words_of_everything, tmp_path):
    run = tmp_path / "run"
    train_ldm.main(words_of_everything)
    ldm_words = [word for word in words_of_everything if not word.startswith("--condition_encoder_config")]
    train_ldm.main(
        [
            *ldm_words,
            f"--text_encoder={run}",
            f"--image_encoder={run}",
            f"--pretrained_unet_model_name_or_path={run / 'unet'}",
            f"--pretrained_condition_encoder={run / 'condition_encoder'}",
            f"--output_dir={tmp_path / 'run2'}",
            "--max_train_steps=1",
            "--learning_rate=1e-9",
        ]
    )
    before, after = weights(run), weights(tmp_path / "run2")
    assert before.keys() == after.keys()
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, atol=1e-6, rtol=0)


@torch.no_grad()
def test_rows_without_text_are_told_none(train_ldm, tmp_path):
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    model = ConditionedDenoiser(tiny_unet(LENGTH, CHANNELS), tiny_text_encoder(tokenizer))
    captions = CaptionTokens(["a red chair", "a blue table"], tokenizer, torch.device("cpu"))
    args = train_ldm.build_parser().parse_args(["--output_dir=run", "--condition_dropout=0"])
    components = train_ldm.Components(DDPMScheduler(prediction_type="v_prediction"))

    def loss(has_text: bool, captions: CaptionTokens | None) -> float:
        batch = {
            "latents": torch.ones(2, CHANNELS, LENGTH),
            "caption": torch.tensor([0, 1]),
            "has_text": torch.tensor([has_text, has_text]),
        }
        loss_fn = train_ldm.build_loss(args, components, captions)
        return loss_fn(model, batch, 0, torch.Generator().manual_seed(0))["loss"].item()

    unconditional = loss(True, None)
    assert loss(False, captions) == pytest.approx(unconditional, rel=1e-5)
    assert abs(loss(True, captions) - unconditional) > 1e-3


@torch.no_grad()
def test_parts_are_cut_from_the_version_that_was_encoded(train_ldm, encoded_folder, dataset_folder, vae_folder):
    latents, vae = LatentDataset(encoded_folder), GaussianVAE.from_pretrained(vae_folder)
    # Where workers are spawned, they get it pickled.
    splats_of = pickle.loads(pickle.dumps(version_source(dataset_folder, latents)))
    for index, record in enumerate(latents.records):
        means = read_latents(encoded_folder, record.id)[1]["mean"].float()
        assert len(means) == 1 + AUGMENTATIONS
        for version in range(len(means)):
            found = vae.encode(splats_of(index, version)).latent_dist.mean[0]
            torch.testing.assert_close(found, means[version], rtol=2e-3, atol=2e-3)
            others = torch.cat([means[:version], means[version + 1 :]])
            assert (others - found).abs().amax(dim=(1, 2)).min() > 1e-2


def test_a_new_guess_learns_and_one_that_was_taught_stays(train_ldm, words_of_everything, tmp_path):
    run, guess = tmp_path / "run", "condition_encoder.picture_guess."
    ldm_words = [*words_of_everything, "--image_share=1", "--logging_steps=1"]
    train_ldm.main(ldm_words)
    assert all(line["loss"] > line["mse"] for line in statistics(run) if "mse" in line)
    ldm_words = [word for word in ldm_words if not word.startswith("--condition_encoder_config")]
    taught = f"--pretrained_condition_encoder={run / 'condition_encoder'}"
    for name, extra in (("kept", []), ("further", ["--guess_weight=0.1"])):
        train_ldm.main([*ldm_words, taught, f"--output_dir={tmp_path / name}", *extra])
    before, kept, further = (weights(tmp_path / name) for name in ("run", "kept", "further"))
    names = [key for key in before if key.startswith(guess) and not key.endswith("proj_out.weight")]
    assert all(torch.equal(kept[key], before[key]) for key in names)
    assert not any(torch.equal(further[key], before[key]) for key in names if key.endswith("weight"))


def test_another_dataset_than_the_encoded_one_is_refused(train_ldm, words_of_everything, dataset_folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(dataset_folder, other)
    text = (other / "metadata.jsonl").read_text()
    (other / "metadata.jsonl").write_text(text.replace("a red armchair", "a red chair", 1))
    with pytest.raises(ValueError, match=r"is not the dataset of .*encoded"):
        train_ldm.main([*words_of_everything, f"--object_data_dir={other}"])


def test_latents_without_pictures_are_refused_where_pictures_are_told(train_ldm, ldm_words, image_folder):
    with pytest.raises(ValueError, match=r"has no pictures: run encode_latents\.py with --view_size"):
        train_ldm.main([*ldm_words, f"--image_encoder={image_folder}", "--image_share=1"])
