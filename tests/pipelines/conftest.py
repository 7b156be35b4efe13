"""A pipeline of tiny real components, with random weights that give every object a surface."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from diffgs_diffusers import DiffGSPipeline
from tests.tiny_models import tiny_components, tiny_pipeline


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizer")


@pytest.fixture(scope="session")
def make_components(tokenizer_folder: Path) -> Callable[[], dict[str, Any]]:
    """A function that makes the pipeline's arguments."""
    return partial(tiny_components, tokenizer_folder)


@pytest.fixture
def pipe(tokenizer_folder: Path) -> DiffGSPipeline:
    return tiny_pipeline(tokenizer_folder)


@pytest.fixture
def arguments() -> dict[str, Any]:
    """A short call, freshly seeded."""
    return {"num_inference_steps": 3, "num_gaussians": 64, "generator": torch.Generator().manual_seed(0)}
