"""``diffgs generate``: text, pictures, parts, points and objects to files of splats, each with a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extraction_settings import check_count, find_extraction
from .arguments import MAX_SEED
from .conditions import condition_files, origin, read_conditions
from .paths import check_outputs, output_paths

if TYPE_CHECKING:
    from ..gaussians import GaussianSplats

# Objects that are denoised together: bounds the memory of a long list.
BATCH_SIZE = 8


def run_generate(options: argparse.Namespace) -> None:
    """Checks everything that can be checked, loads the model, then writes each object as its batch is done.

    Raises:
        ValueError, OSError: saying what is wrong; before any file is written if the arguments are.
    """
    files = condition_files(options)
    check_count(options.num_gaussians, find_extraction(options.extraction))
    # Not the input's own name: a picture's would be that of the sheet, a part's that of the splats.
    names = options.prompts or [f"{path.stem} object" for path in files.values()][:1]
    paths = output_paths(options.output, names, options.count)
    check_outputs(paths, list(files.values()), with_sheets=not options.no_sheet)
    if options.seed + len(paths) - 1 > MAX_SEED:
        raise ValueError(f"--seed {options.seed}: too large for {len(paths)} objects")
    model = find_model(options.model)
    conditions = read_conditions(files, options)
    pipe = load_pipeline(model, options.device)
    prompts = [prompt for prompt in options.prompts or [None] for _ in range(options.count)]
    for index, splats in enumerate(generate(pipe, prompts, conditions, options)):
        write_object(splats, paths[index], with_sheet=not options.no_sheet)
        made_of = origin(prompts[index], options)
        print(f"{paths[index]}: {len(splats)} Gaussians, {made_of}, seed {options.seed + index}", flush=True)


def find_model(name: str | None) -> Path | str:
    """The folder of a model, checked, or the Hub id that the name must be.

    Raises:
        OSError: if the folder is not there, incomplete or corrupt.
    """
    from ..model_folder import check_model_folder, default_checkpoint, is_hub_id

    if name is None:
        return default_checkpoint()
    folder = Path(name).expanduser()
    if folder.exists() or not is_hub_id(name):
        check_model_folder(folder)
        return folder
    return name


def load_pipeline(model: Path | str, device: str | None) -> Any:
    """A ``DiffGSPipeline`` on its device, silent except for warnings and, on a terminal, the denoising progress.

    Raises:
        ValueError: if the device is not there.
        OSError: if the model cannot be loaded.
    """
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {device}: cannot be used here ({reason})") from error

    from ..pipelines import DiffGSPipeline

    pipe = DiffGSPipeline.from_pretrained(model).to(device)
    pipe.set_progress_bar_config(disable=not sys.stderr.isatty())
    return pipe


def generate(
    pipe: Any, prompts: Sequence[str | None], conditions: dict[str, Any], options: argparse.Namespace
) -> Iterator[GaussianSplats]:
    """One object for each prompt, made from a seed of its own, so that none depends on its batch.

    Each is decoded when the one before has been written: an object that comes out empty loses no other's work.

    Args:
        pipe: a ``DiffGSPipeline``.
        prompts: one text for each object, or None for each.
        conditions: the pipeline's arguments that serve all objects.
        options: those of the command.

    Raises:
        EmptySurfaceError: naming the origin and seed of an object that has no surface.
        ValueError: before any object, if the pipeline cannot take a condition.
    """
    import torch

    from ..extraction import EmptySurfaceError
    from ..pipelines.mending import default_mending_steps

    settings = {
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance,
        "negative_prompt": options.negative_prompt,
        "strength": options.strength,
        "num_candidates": options.candidates,
    }
    settings = {name: value for name, value in settings.items() if value is not None} | conditions
    mending_steps = options.mending
    if mending_steps is None:
        mending_steps = default_mending_steps(pipe.vae, conditions)
    kept = [] if options.discard_input or "partial" not in conditions else [conditions["partial"]]
    for start in range(0, len(prompts), BATCH_SIZE):
        batch = prompts[start : start + BATCH_SIZE]
        seeds = range(options.seed + start, options.seed + start + len(batch))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        objects: dict[str, Any] = {"prompt": batch} if options.prompts else {"num_objects_per_prompt": len(batch)}
        # Latents hold no Gaussians: the part's are kept when they are decoded.
        made = pipe(generator=generators, output_type="latent", keep_input=False, **objects, **settings)
        for latent, prompt, seed, generator in zip(made.gaussians, batch, seeds, generators):
            try:
                yield from pipe.decode_latents(
                    latent[None], options.num_gaussians, [generator], kept, options.extraction, mending_steps
                )
            except EmptySurfaceError as error:
                raise EmptySurfaceError(f"{origin(prompt, options)}, seed {seed}: {error}") from error


def write_object(splats: GaussianSplats, path: Path, *, with_sheet: bool) -> None:
    """Writes the splats, and a PNG of the same name with views from all sides."""
    from ..contact_sheet import turntable_sheet
    from ..io import atomic_write, save_splats

    # A few small views are drawn at once on the CPU; on CUDA they would need gsplat and its compilation.
    splats = splats.to("cpu")
    save_splats(splats, path)
    if with_sheet:
        with atomic_write(path.with_suffix(".png")) as stream:
            turntable_sheet(splats).save(stream, format="PNG")
