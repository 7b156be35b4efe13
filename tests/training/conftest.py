"""What the training tests share: a clean accelerate, arguments, and a small denoising run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import save_file

from diffgs_diffusers.data.latents import LatentRecord, write_index, write_latents
from diffgs_diffusers.functional.spherical_harmonics import rgb_to_sh0
from diffgs_diffusers.models import UNet1DConditionModel
from diffgs_diffusers.training.config import add_training_arguments, parse_training_arguments
from diffgs_diffusers.training.encoding import write_latent_statistics
from diffgs_diffusers.training.loop import Trainer
from diffgs_diffusers.training.sampling import SampleKey, build_dataloader
from tests.tiny_models import QUICK_VAE_SIZES, tiny_text_encoder, tiny_tokenizer, tiny_vae
from tests.training.ldm_runs import CHANNELS, LENGTH, short_run


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps the settings of a process's first Accelerator; each test gets a first one."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class NoisySines:
    """Five waves; noise depends on the key alone."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, key: SampleKey) -> dict[str, torch.Tensor]:
        wave = torch.sin(torch.arange(8.0) * (key.index + 1)).expand(2, 8)
        noise = torch.randn(2, 8, generator=torch.Generator().manual_seed(key.seed))
        return {"wave": wave, "noisy": wave + noise}


def compute_denoising_loss(model, batch, step, generator):
    """Uses both sources of randomness a loss may have: the generator, and dropout's global one."""
    extra = 0.1 * torch.randn(batch["noisy"].shape, generator=generator, device=generator.device)
    mse = (model(batch["noisy"] + extra, 10).sample.float() - batch["wave"]).square().mean()
    return {"loss": mse, "half": mse / 2}


@pytest.fixture
def denoising_loss() -> Callable[..., dict[str, torch.Tensor]]:
    """The loss of the small run, for tests that wrap it."""
    return compute_denoising_loss


def make_model() -> UNet1DConditionModel:
    torch.manual_seed(0)
    return UNet1DConditionModel(
        sample_size=8,
        in_channels=2,
        block_out_channels=(8,),
        layers_per_block=1,
        attention_levels=(False,),
        cross_attention_dim=4,
        norm_num_groups=4,
        dropout=0.1,
    )


def small_run(output_dir: Path, *words: str, dataset=None, loss_fn=compute_denoising_loss, **options) -> Trainer:
    """A Trainer of a small denoiser; `words` are added to the command line."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    parser = argparse.ArgumentParser()
    defaults = {"train_batch_size": 2, "max_train_steps": 6, "lr_warmup_steps": 1, "learning_rate": 1e-2}
    add_training_arguments(parser, {**defaults, "logging_steps": 2, "checkpointing_steps": 2})
    args = parse_training_arguments(parser, [f"--output_dir={output_dir}", *words])
    loader = build_dataloader(
        dataset or NoisySines(), args.train_batch_size, args.seed, num_workers=args.dataloader_num_workers
    )
    # The denoiser runs without a condition here, so the condition's parameters get no gradient.
    return Trainer(args, make_model(), loader, loss_fn, name="unet", find_unused_parameters=True, **options)


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """A function of extra command-line words -> Trainer of a small denoiser that writes to ``tmp_path/<name>``."""

    def make(*words: str, name: str = "run", **options) -> Trainer:
        return small_run(tmp_path / name, *words, **options)

    return make


def load_script(name: str) -> ModuleType:
    """A script of the ``training/`` folder as a module."""
    path = Path(__file__).parents[2] / "training" / f"{name}.py"
    spec = spec_from_file_location(f"{name}_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def encode_latents() -> ModuleType:
    return load_script("encode_latents")


@pytest.fixture
def train_vae() -> ModuleType:
    return load_script("train_vae")


@pytest.fixture
def train_sharing() -> ModuleType:
    return load_script("train_sharing")


@pytest.fixture
def train_ldm() -> ModuleType:
    return load_script("train_ldm")


@pytest.fixture
def train_picture_guess() -> ModuleType:
    return load_script("train_picture_guess")


COLORS = {"red": (0.8, 0.1, 0.1), "blue": (0.2, 0.3, 0.8), "green": (0.2, 0.6, 0.2)}


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six objects of 60 Gaussians in the layout of prepare_data.py, one each for validation and test."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "objects").mkdir()
    (folder / "dataset.json").write_text('{"format_version": 1}')
    lines = []
    for index, (split, color) in enumerate(zip(["train"] * 4 + ["validation", "test"], [*COLORS, *COLORS])):
        generator = torch.Generator().manual_seed(index)
        tensors = {
            "means": torch.rand(60, 3, generator=generator) - 0.5,
            "quats": torch.nn.functional.normalize(torch.randn(60, 4, generator=generator), dim=-1),
            "scales": 0.02 + 0.02 * torch.rand(60, 3, generator=generator),
            "opacities": torch.full((60,), 0.9),
            "sh0": rgb_to_sh0(torch.tensor(COLORS[color])).expand(60, 1, 3).contiguous(),
            "material_ids": torch.zeros(60, dtype=torch.int16),
        }
        save_file(tensors, str(folder / "objects" / f"chair_{index}.safetensors"))
        material = {"index": 0, "rgb": COLORS[color], "color": color, "share": 1.0}
        record = {"id": f"chair_{index}", "name": "Armchair", "noun": "armchair", "caption": f"a {color} armchair"}
        record |= {"names": ["armchair", "chair"], "category": "chair", "split": split, "materials": [material]}
        lines.append(json.dumps({**record, "num_gaussians": 60, "weight": 0.5 + index}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def vae_folder(tmp_path: Path) -> Path:
    """A small GaussianVAE with random weights."""
    tiny_vae(**QUICK_VAE_SIZES).save_pretrained(str(tmp_path / "vae"))
    return tmp_path / "vae"


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
    """A text encoder and its tokenizer, as CLIP is stored."""
    folder = tmp_path / "clip"
    tiny_text_encoder(tiny_tokenizer(folder)).save_pretrained(str(folder))
    return folder


@pytest.fixture
def ldm_words(latents_folder, tmp_path) -> list[str]:
    """Arguments of a short run of train_ldm.py on these latents."""
    return short_run(latents_folder, tmp_path)
