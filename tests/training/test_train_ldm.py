"""train_ldm.py on a tiny latents folder: a whole pipeline comes out, and the denoiser listens to text."""

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
from transformers import CLIPTextModel

from diffgs_diffusers import DiffGSPipeline, DiffGSPriorTransformer
from diffgs_diffusers.data.latents import LatentDataset, LatentRecord, read_latents, write_index, write_latents
from diffgs_diffusers.models import GaussianVAE, UNet1DConditionModel
from diffgs_diffusers.training.building import version_source
from diffgs_diffusers.training.conditioned_denoiser import CaptionTokens, ConditionedDenoiser
from diffgs_diffusers.training.encoding import write_latent_statistics
from diffgs_diffusers.training.setup import explicit_attention_on_cpu
from diffgs_diffusers.training.validation_ldm import held_out_error, validation_set
from tests.factories import sphere_splats
from tests.tiny_models import tiny_image_models, tiny_text_encoder, tiny_tokenizer, tiny_unet

LENGTH, CHANNELS = 48, 4
AUGMENTATIONS = 2
SMALL_UNET = {
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "attention_levels": [False, True],
    "attention_head_dim": 16,
    "norm_num_groups": 8,
}
SMALL_CONDITION_ENCODER = {
    "point_channels": 8,
    "point_resolution": 8,
    "depth_bins": 4,
    "channels": 16,
    "num_points": 64,
    "guess_rank": 8,
    "guess_width": 8,
}


def lift_surface(vae_folder: Path) -> None:
    """GauPF of an untrained VAE is flat; lifted, everything is surface."""
    vae = GaussianVAE.from_pretrained(vae_folder)
    with torch.no_grad():
        vae.heads.gaupf.proj_out.bias.fill_(0.95)
    vae.save_pretrained(str(vae_folder))


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


def short_run(latents: Path, folder: Path) -> list[str]:
    (folder / "unet.json").write_text(json.dumps(SMALL_UNET))
    return [
        f"--train_data_dir={latents}",
        f"--output_dir={folder / 'run'}",
        f"--unet_config={folder / 'unet.json'}",
        "--train_batch_size=4",
        "--max_train_steps=2",
        "--lr_warmup_steps=0",
        "--validation_steps=0",
        "--checkpointing_steps=0",
    ]


@pytest.fixture
def words(latents_folder, tmp_path) -> list[str]:
    return short_run(latents_folder, tmp_path)


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
    words = [word for word in words_of_everything if not word.startswith("--condition_encoder_config")]
    train_ldm.main(
        [
            *words,
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
    words = [*words_of_everything, "--image_share=1", "--logging_steps=1"]
    train_ldm.main(words)
    assert all(line["loss"] > line["mse"] for line in statistics(run) if "mse" in line)
    words = [word for word in words if not word.startswith("--condition_encoder_config")]
    taught = f"--pretrained_condition_encoder={run / 'condition_encoder'}"
    for name, extra in (("kept", []), ("further", ["--guess_weight=0.1"])):
        train_ldm.main([*words, taught, f"--output_dir={tmp_path / name}", *extra])
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


def test_latents_without_pictures_are_refused_where_pictures_are_told(train_ldm, words, image_folder):
    with pytest.raises(ValueError, match=r"has no pictures: run encode_latents\.py with --view_size"):
        train_ldm.main([*words, f"--image_encoder={image_folder}", "--image_share=1"])


def test_training_without_text_writes_denoiser_and_scheduler(train_ldm, words, tmp_path):
    train_ldm.main([*words, "--prediction_type=epsilon", "--validation_steps=2"])
    run = tmp_path / "run"
    unet = UNet1DConditionModel.from_pretrained(run / "unet")
    assert (unet.config.sample_size, unet.config.in_channels) == (LENGTH, CHANNELS)
    assert DDPMScheduler.from_pretrained(run / "scheduler").config.prediction_type == "epsilon"
    assert not (run / "model_index.json").exists()
    assert "validation/unconditional_mse" not in statistics(run)[-1]


def test_the_prior_transformer_is_trained_and_goes_on(train_ldm, latents_folder, vae_folder, tmp_path):
    sizes = {"inner_dim": 16, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8}
    words = short_run(latents_folder, tmp_path)
    (tmp_path / "unet.json").write_text(json.dumps(sizes))
    words += [f"--pretrained_vae_model_name_or_path={vae_folder}", "--denoiser=prior_transformer"]
    words += ["--prediction_type=sample", "--beta_schedule=squaredcos_cap_v2", "--validation_steps=2"]
    words += ["--lr_scheduler=constant", "--learning_rate=1e-2", "--mixed_precision=bf16"]
    train_ldm.main([*words, "--checkpointing_steps=1"])
    pipe = DiffGSPipeline.from_pretrained(tmp_path / "run")
    assert isinstance(pipe.unet, DiffGSPriorTransformer)
    assert pipe.unet.config.dropout == 0.3 and pipe.unet.config.sample_size == LENGTH
    assert pipe.scheduler.config.prediction_type == "sample"
    before = (
        pipe.unet.proj_out.weight.detach().clone()
    )  # loaded weights may lie in the file, which is written again
    pipe.set_progress_bar_config(disable=True)
    assert pipe(num_inference_steps=2, output_type="latent").gaussians.shape == (1, CHANNELS, LENGTH)
    train_ldm.main([*words, "--max_train_steps=3", "--resume_from_checkpoint=latest"])
    longer = DiffGSPipeline.from_pretrained(tmp_path / "run").unet
    assert not torch.equal(longer.proj_out.weight, before)
    words.append(f"--pretrained_unet_model_name_or_path={tmp_path / 'run' / 'unet'}")
    train_ldm.main([*words, f"--output_dir={tmp_path / 'second'}", "--seed=1"])


def test_validation_prompts_are_drawn(train_ldm, words, clip_folder, vae_folder, tmp_path):
    lift_surface(vae_folder)
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
def test_bad_use_is_refused(train_ldm, words, capsys, extra, message):
    with pytest.raises(SystemExit if message else FileNotFoundError) as stopped:
        train_ldm.main([*words, *extra])
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
