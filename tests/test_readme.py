"""What the documents promise: commands that parse, code that runs, links that lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffgs_diffusers import DiffGSPipeline, GaussianSplats
from diffgs_diffusers.cli.arguments import build_parser
from tests.factories import sphere_splats
from tests.tiny_models import tiny_pipeline

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def shell_commands() -> list[list[str]]:
    """The words of every command in the README, without comments."""
    lines = "\n".join(code_blocks("bash")).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split(" && ")]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def script_command(words: list[str]) -> tuple[Path, list[str]] | None:
    """The script and arguments of ``python training/x.py …`` or ``accelerate launch training/x.py …``."""
    for index, word in enumerate(words[:3]):
        if word.startswith("training/"):
            return ROOT / word, words[index + 1 :]
    return None


def test_the_first_screen_has_the_picture_and_two_commands() -> None:
    screen = README.splitlines()[:25]
    commands = [line for line in screen if re.match(r"pip install .* && ", line)]
    assert len(commands) == 2
    assert commands[0].endswith(".ply")
    assert commands[1].endswith("&& pytest")
    picture = next(index for index, line in enumerate(screen) if line.startswith("!["))
    assert picture < screen.index(commands[0])


@pytest.mark.parametrize("words", [words for words in shell_commands() if words[0] == "diffgs"], ids=" ".join)
def test_diffgs_commands_parse(words: list[str]) -> None:
    build_parser().parse_args(words[1:])


@pytest.mark.parametrize("words", [words for words in shell_commands() if script_command(words)], ids=" ".join)
def test_training_commands_parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    script, arguments = script_command(words) or (ROOT, [])
    spec = importlib.util.spec_from_file_location(f"script_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    if hasattr(module, "build_parser"):
        module.build_parser().parse_args(arguments)
    else:
        module.parse_args(arguments)


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, _ = code_blocks("python")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["splats"]) == 20_000  # type: ignore[arg-type]
    assert (tmp_path / "armchair.ply").stat().st_size > 1_000_000
    assert tuple(names["images"].shape) == (8, 256, 256, 4)  # type: ignore[attr-defined]


def test_the_python_example_of_conditions_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tiny pipeline, and what the example before it left behind."""
    _, code, _ = code_blocks("python")
    half = sphere_splats(40)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 24), "red").save("chair.jpg")
    half.save("half.ply")
    np.save("scan.npy", half.means.numpy())
    quick = partial(tiny_pipeline(tmp_path / "vocabulary"), num_inference_steps=2, num_gaussians=64)
    names: dict[str, Any] = {"pipe": quick, "half": half}
    exec(compile(code, "README.md", "exec"), names)
    assert [len(names[name]) for name in ("seen", "whole", "surface", "red")] == [64] * 4
    assert torch.equal(names["whole"][:40].to_tensor(), GaussianSplats.load("half.ply").to_tensor())
    assert torch.equal(names["red"][:40].to_tensor(), half.to_tensor())


def test_the_python_example_of_variations_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, code = code_blocks("python")
    quick = partialmethod(DiffGSPipeline.__call__, num_inference_steps=2, num_gaussians=64)
    monkeypatch.setattr(DiffGSPipeline, "__call__", quick)
    monkeypatch.chdir(tmp_path)
    sphere_splats(30).save("sofa.ply")
    names: dict[str, Any] = {"pipe": tiny_pipeline(tmp_path / "vocabulary"), "splats": sphere_splats(40)}
    exec(compile(code, "README.md", "exec"), names)
    assert [len(one) for one in names["between"]] == [64] * 5
    assert (len(names["blue"]), len(names["dense"])) == (64, 100_000)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith(("http://", "https://"))]
    missing = [target for target in local if not (document.parent / target).exists()]
    assert missing == []


def test_make_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    declared = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert declared is not None
    described = re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE)
    assert sorted(declared[1].split()) == sorted(described)
