"""Every way to load the pipeline, each in a process of its own that has only imported diffusers.

Run as ``python hub_routes.py FOLDER OUTPUT`` with ``HF_ENDPOINT`` set before: huggingface_hub reads it when it is
imported. Pushes the pipeline in FOLDER and writes one JSON file per route to OUTPUT.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import diffusers.pipelines.pipeline_utils
import torch
import transformers
from diffusers import AutoModel, DiffusionPipeline
from huggingface_hub import ModelCard, hf_hub_download, list_repo_files

REPO = "someone/objects"
ROOT = Path(__file__).parents[2]


def result(pipe: Any) -> dict[str, Any]:
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    latents = pipe("a red chair", num_inference_steps=2, generator=generator, output_type="latent")[0]
    digest = hashlib.sha256(latents.numpy().tobytes()).hexdigest()
    return {"class": f"{type(pipe).__module__}.{type(pipe).__name__}", "digest": digest}


def push(folder: Path) -> dict[str, Any]:
    from diffgs_diffusers import DiffGSPipeline

    DiffGSPipeline.from_pretrained(folder).push_to_hub(REPO)
    card = ModelCard.load(REPO)
    return {"files": sorted(list_repo_files(REPO)), "card": str(card), "tag": card.data.pipeline_tag}


def push_again(folder: Path) -> dict[str, Any]:
    """Through ``save_pretrained``; the card that is there stays."""
    from diffgs_diffusers import DiffGSPipeline

    ModelCard("---\nlicense: mit\n---\n# Mine\n").push_to_hub(REPO)
    DiffGSPipeline.from_pretrained(REPO).save_pretrained(folder.parent / "pushed", push_to_hub=True, repo_id=REPO)
    return {"card": Path(hf_hub_download(REPO, "README.md")).read_text()}


def push_card_of_the_folder(folder: Path) -> dict[str, Any]:
    from diffgs_diffusers import DiffGSPipeline

    (folder / "README.md").write_text("---\nlicense: mit\n---\n# From the folder\n")
    DiffGSPipeline.from_pretrained(folder).push_to_hub("someone/with-card")
    return {"card": Path(hf_hub_download("someone/with-card", "README.md")).read_text()}


def own_class_folder(folder: Path) -> dict[str, Any]:
    from diffgs_diffusers import DiffGSPipeline

    return result(DiffGSPipeline.from_pretrained(folder))


def own_class_hub(folder: Path) -> dict[str, Any]:
    from diffgs_diffusers import DiffGSPipeline

    return result(DiffGSPipeline.from_pretrained(REPO))


def plain_class_folder(folder: Path) -> dict[str, Any]:
    return result(DiffusionPipeline.from_pretrained(folder, trust_remote_code=True))


def plain_class_hub(folder: Path) -> dict[str, Any]:
    return result(DiffusionPipeline.from_pretrained(REPO, trust_remote_code=True))


def plain_class_hub_after_import(folder: Path) -> dict[str, Any]:
    import diffgs_diffusers.hub  # noqa: F401

    return result(DiffusionPipeline.from_pretrained(REPO, trust_remote_code=True))


def custom_pipeline_folder(folder: Path) -> dict[str, Any]:
    custom = str(ROOT / "pipelines" / "diffgs")
    return result(DiffusionPipeline.from_pretrained(folder, custom_pipeline=custom, trust_remote_code=True))


def custom_pipeline_hub(folder: Path) -> dict[str, Any]:
    return result(DiffusionPipeline.from_pretrained(REPO, custom_pipeline=REPO, trust_remote_code=True))


def resaved_by_plain_class(folder: Path) -> dict[str, Any]:
    from diffgs_diffusers import DiffGSPipeline

    again = folder.parent / "resaved"
    DiffusionPipeline.from_pretrained(REPO, trust_remote_code=True).save_pretrained(again)
    loaded = DiffusionPipeline.from_pretrained(again, trust_remote_code=True)
    assert result(DiffGSPipeline.from_pretrained(again)) == result(loaded)
    return result(loaded)


def auto_model_folder(folder: Path) -> dict[str, Any]:
    return auto_models(str(folder))


def auto_model_hub(folder: Path) -> dict[str, Any]:
    return auto_models(REPO)


def auto_models(source: str) -> dict[str, Any]:
    import diffgs_diffusers
    from diffgs_diffusers import DiffGSPipeline

    pipe = DiffGSPipeline.from_pretrained(source)
    pipe.vae = AutoModel.from_pretrained(source, subfolder="vae")
    pipe.unet = AutoModel.from_pretrained(source, subfolder="unet")
    assert isinstance(pipe.vae, diffgs_diffusers.GaussianVAE)
    assert isinstance(pipe.unet, diffgs_diffusers.UNet1DConditionModel)
    return result(pipe)


def offline_after_download(folder: Path) -> dict[str, Any]:
    from diffgs_diffusers import DiffGSPipeline

    return result(DiffGSPipeline.from_pretrained(REPO, local_files_only=True))


def untrusted_plain_class(folder: Path) -> dict[str, Any]:
    try:
        DiffusionPipeline.from_pretrained(REPO)
    except ValueError as error:
        return {"error": str(error)}
    return {"error": None}


ROUTES = (
    push,
    own_class_folder,
    own_class_hub,
    plain_class_folder,
    plain_class_hub,
    plain_class_hub_after_import,
    custom_pipeline_folder,
    custom_pipeline_hub,
    resaved_by_plain_class,
    auto_model_folder,
    auto_model_hub,
    offline_after_download,
    untrusted_plain_class,
    push_again,
    push_card_of_the_folder,
)


def run_route(route: Any, folder: Path, output: Path) -> None:
    """In a child process, so that no route profits from what another imported or registered."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    content: dict[str, Any]
    try:
        content = route(folder)
    except BaseException:  # noqa: BLE001  # whatever went wrong is the test's to show
        content = {"failure": traceback.format_exc()}
    with contextlib.suppress(OSError):
        (output / f"{route.__name__}.json").write_text(json.dumps(content))
    os._exit(0)


if __name__ == "__main__":
    assert "diffgs_diffusers" not in sys.modules
    assert transformers.CLIPTextModel and diffusers.pipelines.pipeline_utils  # imported once for all children
    for one in ROUTES:
        run_route(one, Path(sys.argv[1]), Path(sys.argv[2]))
