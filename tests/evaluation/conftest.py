"""A tiny pipeline whose components are real, and a toy dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffgs_diffusers import DiffGSPipeline
from tests import tiny_models
from tests.evaluation.primitives import toy_objects, write_dataset


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> DiffGSPipeline:
    """Random weights: its objects have a surface and no meaning."""
    return tiny_models.tiny_pipeline(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("toy") / "data", toy_objects(["train", "validation", "test"]))
