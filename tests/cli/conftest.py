"""A saved model of tiny components, and commands that must fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from diffgs_diffusers.cli import main
from tests.tiny_models import tiny_pipeline


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved pipeline of tiny components."""
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline(folder / "vocabulary").save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a command which must fail with one line on stderr and exit code 2; returns the line."""

    def run(*arguments: object) -> str:
        try:
            code = main([str(one) for one in arguments])
        except SystemExit as exit_:  # argparse leaves this way
            code = exit_.code
        captured = capsys.readouterr()
        assert code == 2
        assert captured.out == ""
        assert captured.err.startswith("diffgs: error: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return run
