"""The matrix of ways to load, save and push a pipeline, against a local double of the Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diffgs_diffusers import DiffGSPipeline

HERE = Path(__file__).parent
LOADING_ROUTES = [
    "own_class_folder",
    "own_class_hub",
    "plain_class_folder",
    "plain_class_hub",
    "plain_class_hub_after_import",
    "custom_pipeline_folder",
    "custom_pipeline_hub",
    "resaved_by_plain_class",
    "auto_model_folder",
    "auto_model_hub",
    "offline_after_download",
]


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    command = [sys.executable, str(HERE / "hub_double.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def routes(
    hub: str, make_components: Callable[[], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What every route gave."""
    folder = tmp_path_factory.mktemp("routes")
    DiffGSPipeline(**make_components()).save_pretrained(folder / "saved")
    (folder / "output").mkdir()
    environment = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_HUB_OFFLINE": "0",  # CI forbids the real Hub; the double is on this machine
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": "hf_token",
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
    command = [sys.executable, str(HERE / "hub_routes.py"), str(folder / "saved"), str(folder / "output")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return {path.stem: json.loads(path.read_text()) for path in (folder / "output").glob("*.json")}


@pytest.mark.parametrize("route", LOADING_ROUTES)
def test_loading(routes: dict[str, dict[str, Any]], route: str) -> None:
    assert "failure" not in routes[route], routes[route]["failure"]
    assert routes[route]["class"] == "diffgs_diffusers.pipelines.pipeline_diffgs.DiffGSPipeline"
    assert routes[route]["digest"] == routes["own_class_folder"]["digest"]


def test_push(routes: dict[str, dict[str, Any]]) -> None:
    assert "failure" not in routes["push"], routes["push"]["failure"]
    files = routes["push"]["files"]
    for name in ("README.md", "model_index.json", "pipeline.py", "vae/diffgs_diffusers.py", "vae/config.json"):
        assert name in files
    assert routes["push"]["tag"] == "text-to-3d"
    assert 'DiffGSPipeline.from_pretrained("someone/objects")' in routes["push"]["card"]


@pytest.mark.parametrize(("route", "title"), [("push_again", "# Mine"), ("push_card_of_the_folder", "# From the")])
def test_a_card_is_kept(routes: dict[str, dict[str, Any]], route: str, title: str) -> None:
    assert "failure" not in routes[route], routes[route]["failure"]
    assert title in routes[route]["card"]


def test_plain_diffusers_asks_for_trust(routes: dict[str, dict[str, Any]]) -> None:
    assert "trust_remote_code=True" in routes["untrusted_plain_class"]["error"]
