"""Checks a pipeline's folder before anything is loaded from it, and finds the one that ships."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

INDEX_NAME = "model_index.json"
CONFIG_NAME = "config.json"
SHARD_INDEX_PATTERN = "*.safetensors.index*.json"
DEFAULT_CHECKPOINT = "furniture"


def default_checkpoint() -> Path:
    """Folder of the checkpoint that ships with the package.

    Raises:
        FileNotFoundError: if this installation has none.
    """
    folder = Path(__file__).parent / "checkpoints" / DEFAULT_CHECKPOINT
    if not (folder / INDEX_NAME).is_file():
        raise FileNotFoundError(
            f"This installation of diffgs-diffusers has no checkpoint in {folder}: reinstall it from a wheel, or "
            "name a model folder or Hub id."
        )
    return folder


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a model's Hub id, ``owner/name``; any other can only mean a local folder."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None


def check_model_folder(
    folder: str | Path, *, passed: Collection[str] = (), require_safetensors: bool = True
) -> None:
    """Raises on the first thing that would stop a pipeline from loading; reads file headers only.

    Args:
        folder: what ``save_pretrained`` wrote.
        passed: components that the caller brings, whose folders are not needed.
        require_safetensors: False accepts models whose weights have another format, and does not look into them.

    Raises:
        OSError: naming the file that is missing or broken, and what to do.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no model folder {folder}. Check the path, or use a Hub id (owner/name).")
    index_path = folder / INDEX_NAME
    if not index_path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a model folder: it has no {INDEX_NAME}. Name the folder that `save_pretrained` wrote."
        )
    index = _read_json(index_path)
    if "_class_name" not in index:
        raise OSError(f"{index_path} is not a pipeline's index: `_class_name` is missing. Save the pipeline again.")
    for name, entry in index.items():
        is_component = isinstance(entry, list) and not name.startswith("_") and entry and entry[0] is not None
        if is_component and name not in passed:
            _check_component(folder / name, require_safetensors)


def _check_component(folder: Path, require_safetensors: bool) -> None:
    """A component has a readable configuration and, if it is a model, whole weights."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The component folder {folder} is missing, though {INDEX_NAME} lists it. Copy or download the model "
            f"again, or pass `{folder.name}=` yourself."
        )
    configs = sorted(folder.glob("*config.json"))
    weights = sorted(folder.glob("*.safetensors"))
    if not configs or (weights and not (folder / CONFIG_NAME).is_file()):
        wanted = CONFIG_NAME if weights else "configuration (*config.json)"
        raise FileNotFoundError(f"{folder} has no {wanted}. Copy or download the model again.")
    for path in configs:
        _read_json(path)
    if (folder / CONFIG_NAME).is_file() and require_safetensors:
        _check_weights(folder, weights)


def _check_weights(folder: Path, weights: list[Path]) -> None:
    if not weights:
        raise FileNotFoundError(
            f"{folder} has no weights (*.safetensors). Copy or download the model again; weights in other formats "
            "are loaded only with `use_safetensors=False`."
        )
    for index_path in folder.glob(SHARD_INDEX_PATTERN):
        shards = set(_read_json(index_path).get("weight_map", {}).values())
        missing = sorted(shards - {path.name for path in weights})
        if missing:
            raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}, listed in {index_path.name}.")
    for path in weights:
        _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
    """The header is read and held against the file's size, which finds truncated and foreign files at once."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise OSError(
            f"{path} is not a whole safetensors file ({error}; {path.stat().st_size} bytes). Copy or download it "
            "again; a file of about 130 bytes is a Git LFS pointer: run `git lfs pull`."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise OSError(f"{path} is not valid JSON ({error}). Copy or download the model again.") from error
    if not isinstance(content, dict):
        raise OSError(f"{path} must hold a JSON object, not a {type(content).__name__}.")
    return content
