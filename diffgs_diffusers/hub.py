"""What makes our components and pipelines load and save through diffusers, from folders and from the Hub.

diffusers resolves a component's class from the library that ``model_index.json`` names. Ours is made known to it in
two ways: by registration when this module is imported, and by small re-export files beside the weights, which let a
plain ``DiffusionPipeline.from_pretrained(repo, trust_remote_code=True)`` find this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.pipelines import pipeline_loading_utils
from huggingface_hub import ModelCard, ModelCardData, file_exists
from packaging.version import Version

from .model_folder import check_model_folder, default_checkpoint, is_hub_id

__all__ = [
    "COMPONENT_CLASSES",
    "REEXPORT_SOURCE",
    "HubPipelineMixin",
    "check_model_folder",
    "default_checkpoint",
    "default_model_card",
    "register_components",
]

LIBRARY = "diffgs_diffusers"
MODELS_LIBRARY = "diffgs_diffusers.models"
PIPELINE_CLASS = "DiffGSPipeline"
PIPELINE_MODULE = "pipeline"
COMPONENT_CLASSES = (
    "ConditionEncoder",
    "DiffGSPriorTransformer",
    "GaussianVAE",
    "OriginalDDPMScheduler",
    "OriginalGaussianVAE",
    "UNet1DConditionModel",
)

# One text for the pipeline and for all components: diffusers copies local component files of one name to one place,
# so files that differed would overwrite one another.
REEXPORT_SOURCE = '''"""Finds the classes in the installed package: `pip install diffgs-diffusers`."""

from diffgs_diffusers import (
    ConditionEncoder,
    DiffGSPipeline,
    DiffGSPriorTransformer,
    GaussianVAE,
    OriginalDDPMScheduler,
    OriginalGaussianVAE,
    UNet1DConditionModel,
)

__all__ = [
    "ConditionEncoder",
    "DiffGSPipeline",
    "DiffGSPriorTransformer",
    "GaussianVAE",
    "OriginalDDPMScheduler",
    "OriginalGaussianVAE",
    "UNet1DConditionModel",
]
'''

# diffusers renamed `torch_dtype` and warns about the old name.
DTYPE_ARGUMENT = "dtype" if Version(diffusers.__version__) >= Version("0.40.0") else "torch_dtype"


def register_components() -> None:
    """Tells diffusers that our component classes save and load like its own; may be called again."""
    methods = {name: ["save_pretrained", "from_pretrained"] for name in COMPONENT_CLASSES}
    for library in (LIBRARY, MODELS_LIBRARY):
        pipeline_loading_utils.LOADABLE_CLASSES[library] = dict(methods)
    pipeline_loading_utils.ALL_IMPORTABLE_CLASSES.update(methods)


def write_reexports(folder: str | Path, components: Iterable[str]) -> None:
    """Writes ``pipeline.py`` and ``<component>/diffgs_diffusers.py`` into a pipeline's folder."""
    folder = Path(folder)
    files = [folder / f"{PIPELINE_MODULE}.py", *(folder / name / f"{LIBRARY}.py" for name in components)]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(REEXPORT_SOURCE, encoding="utf-8")


def to_saved_index(index: dict[str, Any]) -> dict[str, Any]:
    """The index as stored: names the re-export file, and not the machine it was loaded on."""
    stored = {key: value for key, value in index.items() if key != "_name_or_path"}
    return {**stored, "_class_name": [PIPELINE_MODULE, PIPELINE_CLASS]}


def to_loaded_index(index: dict[str, Any]) -> dict[str, Any]:
    """The index as our own class reads it: no re-export file is needed, so no trust in remote code either."""
    loaded = {
        key: [MODELS_LIBRARY, value[1]] if isinstance(value, list) and value[:1] == [LIBRARY] else value
        for key, value in index.items()
    }
    class_name = loaded.get("_class_name")
    return {**loaded, "_class_name": class_name[-1]} if isinstance(class_name, list) else loaded


class HubPipelineMixin:
    """How our pipelines load, save and upload; stands before ``DiffusionPipeline`` among the base classes."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """Loads a pipeline from a folder or the Hub; arguments as in ``DiffusionPipeline.from_pretrained``.

        Weights are read from safetensors only, unless ``use_safetensors=False``. Without ``dtype`` (or
        ``torch_dtype``, its older name) they become float32, in whatever precision they are stored: half precision
        is slow and coarse on CPUs.

        A name that is no folder must have the form of a Hub id, ``owner/name``.

        Raises:
            OSError: if the folder does not exist, or is incomplete or corrupt.
            ValueError: if both names of the dtype are used.
        """
        name = str(pretrained_model_name_or_path)
        kwargs.setdefault("use_safetensors", True)
        given = [kwargs.pop(key, None) for key in ("dtype", "torch_dtype")]
        dtypes = [dtype for dtype in given if dtype is not None]
        if len(dtypes) > 1:
            raise ValueError("`dtype` and `torch_dtype` are two names of one argument: pass one of them.")
        kwargs[DTYPE_ARGUMENT] = dtypes[0] if dtypes else torch.float32
        if Path(name).is_dir() or not is_hub_id(name):
            check_model_folder(name, passed=kwargs, require_safetensors=bool(kwargs["use_safetensors"]))
        return super().from_pretrained(name, **kwargs)  # type: ignore[misc]

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str | Path:
        """Downloads a pipeline from the Hub and checks it; see ``DiffusionPipeline.download``."""
        folder = super().download(pretrained_model_name, **kwargs)  # type: ignore[misc]
        check_model_folder(folder, passed=kwargs, require_safetensors=bool(kwargs.get("use_safetensors", True)))
        return folder

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Saves every component and the files that let plain diffusers load them.

        Arguments as in ``DiffusionPipeline.save_pretrained``.
        """
        save_directory = str(save_directory)
        if kwargs.get("push_to_hub"):
            repo_id = kwargs.setdefault("repo_id", Path(save_directory).name)
            self._push_model_card(repo_id, kwargs.get("token"), kwargs.get("private"), kwargs.get("create_pr"))
        components = self.components  # type: ignore[attr-defined]
        ours = {name: component for name, component in components.items() if _is_ours(component)}
        write_reexports(save_directory, ours)
        with _without_origin(ours.values()):
            super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Uploads the pipeline; a repository without a model card gets one first, an existing card stays.

        The card is the ``README.md`` of the folder that the pipeline was loaded from, else a short one made here.
        Arguments as in ``DiffusionPipeline.push_to_hub``.
        """
        self._push_model_card(repo_id, kwargs.get("token"), kwargs.get("private"), kwargs.get("create_pr"))
        return super().push_to_hub(repo_id, **kwargs)  # type: ignore[misc]

    def _push_model_card(
        self, repo_id: str, token: str | None, private: bool | None, create_pr: bool | None
    ) -> None:
        """diffusers overwrites README.md with a card of its own unless the repository already has one."""
        repo_id = diffusers.utils.hub_utils.create_repo(
            repo_id, private=private, token=token, exist_ok=True
        ).repo_id
        if create_pr or file_exists(repo_id, "README.md", token=token):
            return
        source = Path(getattr(self.config, "_name_or_path", None) or "") / "README.md"  # type: ignore[attr-defined]
        card = ModelCard.load(source) if source.is_file() else default_model_card(repo_id)
        card.push_to_hub(repo_id, token=token, commit_message="Model card")

    def to_json_file(self, json_file_path: str | Path) -> None:
        """Writes the index."""
        index = to_saved_index(json.loads(self.to_json_string()))  # type: ignore[attr-defined]
        Path(json_file_path).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def _dict_from_json_file(cls, json_file: str | Path, **kwargs: Any) -> dict[str, Any]:
        # Older versions of diffusers pass more arguments.
        return to_loaded_index(super()._dict_from_json_file(json_file, **kwargs))  # type: ignore[misc]


def default_model_card(repo_id: str) -> ModelCard:
    """A card that makes a repository findable and says how to use it."""
    data = ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-to-3d",
        tags=["diffusers", "gaussian-splatting", "3dgs", "diffgs", "text-to-3d"],
    )
    snippet = (
        "```python\n"
        "# pip install diffgs-diffusers\n"
        "from diffgs_diffusers import DiffGSPipeline\n\n"
        f'pipe = DiffGSPipeline.from_pretrained("{repo_id}")\n'
        'pipe("a red armchair").gaussians[0].save("armchair.ply")\n'
        "```\n"
    )
    title = f"# {repo_id.split('/')[-1]}\n\nGenerates 3D Gaussian Splatting objects with "
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{title}diffgs-diffusers.\n\n{snippet}")


@contextmanager
def _without_origin(models: Iterable[Any]) -> Iterator[None]:
    """Saved configurations do not name the folder on this machine that a model was loaded from."""
    configs = {model: model.config for model in models}
    for model, config in configs.items():
        model._internal_dict = FrozenDict({key: value for key, value in config.items() if key != "_name_or_path"})
    try:
        yield
    finally:
        for model, config in configs.items():
            model._internal_dict = config


def _is_ours(component: Any) -> bool:
    return type(component).__module__.split(".")[0] == LIBRARY


register_components()
