"""A training step of the VAE and of the denoiser, by their scripts, and the share spent on waiting for data."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from diffgs_diffusers import GaussianVAE
from diffgs_diffusers.model_folder import default_checkpoint
from tests.tiny_models import QUICK_VAE_SIZES

from ..datasets import write_objects, write_random_latents
from ..processes import run_python
from ..settings import Settings
from ..statistics import summarize
from ..table import Row, make_row
from ..timing import Sample, alternate

SKIPPED_STEPS = 3  # compile, allocate and fill queues
VAE_WORDS = ("--num_queries=8192", "--num_centers=1024", "--encoder_gaussians=4096", "--use_ema")
LDM_WORDS = ("--condition_dropout=0.1", "--use_ema")
PRECISIONS = {"float32": "no", "bfloat16": "bf16"}


def run(settings: Settings) -> Iterator[Row]:
    """Rows of both scripts in both precisions, with data made in the process and in a worker."""
    objects, latents = settings.pick((8, 64), (2, 2))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model, config in _vae_configs(folder, settings).items():
            words = [*_vae_words(folder, settings), f"--vae_config={config}"]
            yield from _script(model, "objects", objects, words, folder, settings)
        yield from _script("denoiser", "latents", latents, _ldm_words(folder, settings), folder, settings)


def _vae_configs(folder: Path, settings: Settings) -> dict[str, Path]:
    """Configurations by what they are called: the shipped model's and the small one, or a tiny one."""
    if settings.quick:
        GaussianVAE(**QUICK_VAE_SIZES).save_config(str(folder / "vae"))
        return {"VAE": folder / "vae" / "config.json"}
    shipped = Path(default_checkpoint()) / "vae" / "config.json"
    return {"VAE": shipped, "small VAE": Path("training/configs/vae_small.json")}


def _vae_words(folder: Path, settings: Settings) -> list[str]:
    """The script and its arguments."""
    if not (folder / "objects").exists():
        write_objects(folder / "objects", *settings.pick((32, 8192), (2, 60)))
    words = ["--num_queries=64", "--num_centers=32", "--encoder_gaussians=40"] if settings.quick else VAE_WORDS
    return ["training/train_vae.py", f"--train_data_dir={folder / 'objects'}", *words]


def _ldm_words(folder: Path, settings: Settings) -> list[str]:
    shape = (4, 48) if settings.quick else shipped_latent_shape()
    write_random_latents(folder / "latents", settings.pick((256,), (2,))[0], shape)
    words = ["training/train_ldm.py", f"--train_data_dir={folder / 'latents'}", *LDM_WORDS]
    return words if settings.quick else [*words, f"--pretrained_model_name_or_path={default_checkpoint()}"]


def shipped_latent_shape() -> tuple[int, int]:
    """(C, L) of the shipped model's latents."""
    config = json.loads((Path(default_checkpoint()) / "unet" / "config.json").read_text(encoding="utf-8"))
    return config["in_channels"], config["sample_size"]


def _script(
    model: str, things: str, batch: int, words: list[str], folder: Path, settings: Settings
) -> Iterator[Row]:
    """Rows of one script, for batches of so many things."""
    competitors = {
        f"{precision}, {count} data workers": partial(
            _train,
            [*words, f"--mixed_precision={PRECISIONS[precision]}", f"--dataloader_num_workers={count}"],
            batch,
            folder,
            settings,
        )
        for precision in settings.pick(list(PRECISIONS), ["float32"])
        for count in settings.pick((0, 1), (0,))
    }
    rounds = min(settings.rounds, 3)
    samples = alternate(competitors, rounds=rounds, budget=settings.budget, warm_up=False)
    for who, own in samples.items():
        waited = summarize([sample.result for sample in own]).median
        figures: dict[str, float | str] = {"waiting for data": f"{waited:.1%}"}
        figures["samples/s"] = batch / summarize([sample.seconds for sample in own]).median
        case = f"{model}, a step of {batch} {things}"
        yield make_row("training", case, who, own, figures=figures, note="median of the steps of a run")


def _train(words: list[str], batch: int, folder: Path, settings: Settings) -> Sample:
    """Median time of a step in a run of the script, and the median share that it waited for data."""
    steps = SKIPPED_STEPS + settings.pick((12,), (1,))[0]
    with tempfile.TemporaryDirectory(dir=folder) as output:
        run_python(
            [
                *words,
                f"--output_dir={output}",
                f"--train_batch_size={batch}",
                f"--max_train_steps={steps}",
                "--logging_steps=1",
                "--lr_warmup_steps=0",
                "--checkpointing_steps=0",
                "--validation_steps=0",
            ],
            {"OMP_NUM_THREADS": str(settings.threads), "HF_HUB_OFFLINE": "1"},
        )
        lines = (Path(output) / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    statistics = [json.loads(line) for line in lines][SKIPPED_STEPS:]
    seconds = summarize([batch / line["samples_per_second"] for line in statistics]).median
    return Sample(seconds, result=summarize([line["data_wait_fraction"] for line in statistics]).median)
