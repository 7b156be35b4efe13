"""Registration with diffusers, the index as stored and as read, and the files beside the weights."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest
from diffusers import ModelMixin, SchedulerMixin
from diffusers.pipelines.pipeline_loading_utils import ALL_IMPORTABLE_CLASSES, LOADABLE_CLASSES
from huggingface_hub import ModelCard

import diffgs_diffusers
from diffgs_diffusers import DiffGSPipeline, hub, models

REPOSITORY = Path(__file__).parents[1]


def test_every_component_is_registered() -> None:
    exported = [getattr(models, name) for name in models.__all__]
    names = {
        one.__name__ for one in exported if isinstance(one, type) and issubclass(one, ModelMixin | SchedulerMixin)
    }
    assert set(hub.COMPONENT_CLASSES) == names
    for library in ("diffgs_diffusers", "diffgs_diffusers.models"):
        assert set(LOADABLE_CLASSES[library]) == names
    assert names <= set(ALL_IMPORTABLE_CLASSES)


def test_registering_again_changes_nothing() -> None:
    before = {library: dict(classes) for library, classes in LOADABLE_CLASSES.items()}
    hub.register_components()
    assert before == LOADABLE_CLASSES


def test_no_folder_of_ours_is_taken_for_one_of_diffusers() -> None:
    """diffusers takes a module whose folder has a name of its own pipelines for that pipeline's."""
    import diffusers.pipelines

    folders = {path.parent.name for path in (REPOSITORY / "diffgs_diffusers").rglob("*.py")}
    assert [name for name in folders if hasattr(diffusers.pipelines, name)] == []


def test_the_reexport_in_the_repository_is_the_one_that_is_saved() -> None:
    path = REPOSITORY / "pipelines" / "diffgs" / "pipeline.py"
    assert path.read_text(encoding="utf-8") == hub.REEXPORT_SOURCE
    assert runpy.run_path(str(path))["DiffGSPipeline"] is DiffGSPipeline


def test_the_reexport_names_every_component_and_one_pipeline() -> None:
    (imported,) = [node for node in ast.parse(hub.REEXPORT_SOURCE).body if isinstance(node, ast.ImportFrom)]
    assert imported.level == 0
    assert {alias.name for alias in imported.names} == {*hub.COMPONENT_CLASSES, "DiffGSPipeline"}


def test_reexports_are_identical(tmp_path: Path) -> None:
    hub.write_reexports(tmp_path, ["vae", "unet"])
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.py"))
    assert files == ["pipeline.py", "unet/diffgs_diffusers.py", "vae/diffgs_diffusers.py"]
    assert {path.read_text() for path in tmp_path.rglob("*.py")} == {hub.REEXPORT_SOURCE}


def test_the_stored_index_is_read_back_as_our_own() -> None:
    index = {
        "_class_name": "DiffGSPipeline",
        "_diffusers_version": "0",
        "_name_or_path": "/somewhere",
        "vae": ["diffgs_diffusers", "GaussianVAE"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "tokenizer": [None, None],
    }
    stored = hub.to_saved_index(index)
    assert stored["_class_name"] == ["pipeline", "DiffGSPipeline"]
    assert stored["vae"] == index["vae"], "plain diffusers finds the library under its own name"
    assert "_name_or_path" not in stored
    read = hub.to_loaded_index(stored)
    assert read["_class_name"] == "DiffGSPipeline"
    assert read["vae"] == ["diffgs_diffusers.models", "GaussianVAE"]
    assert read["scheduler"] == index["scheduler"]
    assert read["tokenizer"] == [None, None]


def test_a_model_card_says_what_it_is_and_how_to_use_it() -> None:
    card = hub.default_model_card("someone/chairs")
    assert card.data.library_name == "diffusers"
    assert card.data.pipeline_tag == "text-to-3d"
    assert {"gaussian-splatting", "3dgs", "diffgs"} <= set(card.data.tags)
    snippet = card.content.split("```python\n")[1].split("```")[0]
    ast.parse(snippet)
    assert 'from_pretrained("someone/chairs")' in snippet


class TestModelCard:
    """The card of the checkpoint that ships."""

    @pytest.fixture
    def card(self) -> ModelCard:
        return ModelCard.load(REPOSITORY / "model_card.md")

    def test_metadata(self, card: ModelCard) -> None:
        assert card.data.library_name == "diffusers"
        assert card.data.pipeline_tag == "text-to-3d"
        assert card.data.license == "apache-2.0"
        assert {"gaussian-splatting", "3dgs", "diffgs", "text-to-3d"} <= set(card.data.tags)

    def test_every_library_is_credited(self, card: ModelCard) -> None:
        for library in ("Scopia", "BlendSwap CC-0", "BlendSwap CC-BY", "Kator Legaz", "Reallusion"):
            (row,) = [line for line in card.text.splitlines() if line.startswith(f"| {library} |")]
            assert "creativecommons.org" in row

    def test_the_snippet_uses_what_exists(self, card: ModelCard) -> None:
        snippet = card.content.split("```python\n")[1].split("```")[0]
        imports = [node for node in ast.parse(snippet).body if isinstance(node, ast.ImportFrom)]
        for node in imports:
            assert all(hasattr(diffgs_diffusers, alias.name) for alias in node.names)
