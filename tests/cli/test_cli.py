"""The command ``diffgs``: what it writes, what it refuses, and how soon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from PIL import Image

from diffgs_diffusers import DiffGSPipeline, GaussianSplats, __version__
from diffgs_diffusers.cli import main
from diffgs_diffusers.cli.paths import output_paths
from diffgs_diffusers.extraction import EmptySurfaceError
from diffgs_diffusers.extraction_settings import EXTRACTIONS, OriginalExtractionConfig
from diffgs_diffusers.io import load_splats, read_rasterize_mode, save_splats
from tests.factories import random_splats

QUICK = ["--steps", "2", "--num-gaussians", "32"]


@pytest.fixture
def splats_file(tmp_path: Path) -> Path:
    path = tmp_path / "splats.ply"
    save_splats(random_splats(200, 1), path)
    return path


def test_generate_writes_exactly_what_was_asked_for(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chair.ply"
    assert main(["generate", "a red chair", "-o", str(path), "--model", str(model), "--seed", "3", *QUICK]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{path}: 32 Gaussians, 'a red chair', seed 3\n"
    assert captured.err == ""
    rows = plyfile.PlyData.read(str(path))["vertex"].data
    assert len(rows) == 32
    assert all(np.isfinite(rows[name]).all() for name in rows.dtype.names)
    with Image.open(tmp_path / "chair.png") as sheet:
        assert sheet.size == (1024, 512)
        assert len(sheet.getcolors(1 << 20)) > 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["chair.ply", "chair.png"]
    assert read_rasterize_mode(path) == "antialiased"


def test_generate_gives_the_same_bytes_again_and_others_for_another_seed(model: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        command = ["generate", "a red chair", "-o", str(tmp_path / f"{name}.ply"), "--model", str(model)]
        assert main([*command, "--seed", seed, "--no-sheet", *QUICK]) == 0
    a, b, c = ((tmp_path / f"{name}.ply").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_an_object_of_a_batch_equals_the_object_alone(model: Path, tmp_path: Path) -> None:
    shared = ["--model", str(model), "--no-sheet", *QUICK]
    both = ["generate", "a red chair", "a blue table", "--count", "2", "--seed", "5"]
    assert main([*both, "-o", str(tmp_path / "all.ply"), *shared]) == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == [f"all-{i}.ply" for i in (1, 2, 3, 4)]
    assert main(["generate", "a blue table", "--seed", "7", "-o", str(tmp_path / "one.ply"), *shared]) == 0
    batch, alone = load_splats(tmp_path / "all-3.ply"), load_splats(tmp_path / "one.ply")
    torch.testing.assert_close(batch.to_tensor(), alone.to_tensor(), rtol=1e-4, atol=1e-4)


def test_an_empty_object_loses_no_other(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = DiffGSPipeline.decode_latents
    calls = []

    def second_is_empty(*arguments: object) -> list[GaussianSplats]:
        calls.append(arguments)
        if len(calls) == 2:
            raise EmptySurfaceError("Nothing there.")
        return decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(DiffGSPipeline, "decode_latents", second_is_empty)
    command = ["generate", "a red chair", "--count", "3", "--seed", "4", "--model", str(model), *QUICK]
    assert main([*command, "-o", str(tmp_path / "a.ply"), "--no-sheet"]) == 2
    assert "'a red chair', seed 5: Nothing there." in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["a-1.ply"]


def test_the_options_reach_the_pipeline(model: Path, tmp_path: Path) -> None:
    """Each option alone changes the object."""
    shared = ["generate", "a red chair", "--model", str(model), "--no-sheet", "--num-gaussians", "32"]
    options = {
        "plain": ["--steps", "2"],
        "steps": ["--steps", "3"],
        "guidance": ["--steps", "2", "--guidance", "9"],
        "negative": ["--steps", "2", "--negative-prompt", "a blue table"],
        "text": ["--steps", "2"],
    }
    for name, extra in options.items():
        prompt = ["a green lamp"] if name == "text" else ["a red chair"]
        command = [*shared[:1], *prompt, *shared[2:], *extra, "-o", str(tmp_path / f"{name}.ply")]
        assert main(command) == 0
    contents = [(tmp_path / f"{name}.ply").read_bytes() for name in options]
    assert len(set(contents)) == len(options)


def test_gaussians_are_found_the_way_that_was_asked_for(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "original" in EXTRACTIONS
    quick = OriginalExtractionConfig(splits=(8, 2), opacity=0.75)  # the released numbers take minutes
    monkeypatch.setitem(EXTRACTIONS, "original", quick)
    shared = ["generate", "a red chair", "--model", str(model), "--no-sheet", *QUICK]
    assert main([*shared, "-o", str(tmp_path / "default.ply")]) == 0
    for name in EXTRACTIONS:
        assert main([*shared, "--extraction", name, "-o", str(tmp_path / f"{name}.ply")]) == 0
    assert (tmp_path / "even.ply").read_bytes() == (tmp_path / "default.ply").read_bytes()
    original = load_splats(tmp_path / "original.ply")
    torch.testing.assert_close(original.opacities, torch.full((32,), quick.opacity))
    cells = original.means[:16] / (2 * quick.half_side / 16)  # their middles, before the copies
    torch.testing.assert_close(cells - cells.floor(), torch.full((16, 3), 0.5), atol=1e-4, rtol=0)


def test_without_o_objects_are_named_after_their_prompts(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "A red chair!", "--model", str(model), "--no-sheet", *QUICK]) == 0
    assert [one.name for one in tmp_path.iterdir()] == ["a-red-chair.ply"]


@pytest.mark.parametrize(
    ("output", "prompts", "count", "names"),
    [
        ("x/a.ply", ["p"], 1, ["x/a.ply"]),
        ("x/a.ply", ["p", "q"], 2, ["x/a-1.ply", "x/a-2.ply", "x/a-3.ply", "x/a-4.ply"]),
        (None, ["A  red/chair", "ein grüner Stuhl"], 1, ["a-red-chair.ply", "ein-grüner-stuhl.ply"]),
        (None, ["a chair"], 2, ["a-chair-1.ply", "a-chair-2.ply"]),
        (None, ["a", "a 1", "a"], 1, ["a-1.ply", "a-1-2.ply", "a-2.ply"]),
        (None, ["", "../.."], 1, ["object-1.ply", "object-2.ply"]),
        (None, ["long " * 40], 1, [("long-" * 12)[:-1] + ".ply"]),
    ],
)
def test_names_of_outputs(output: str | None, prompts: list[str], count: int, names: list[str]) -> None:
    assert [path.as_posix() for path in output_paths(output, prompts, count)] == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["generate"], "PROMPT"),
        (["generate", "a", "--num-gaussians", "0"], "--num-gaussians: must be at least 1, got 0"),
        (["generate", "a", "--num-gaussians", "many"], "--num-gaussians: must be an integer, got 'many'"),
        (["generate", "a", "--count", "-1"], "--count: must be at least 1, got -1"),
        (["generate", "a", "--steps", "0"], "--steps: must be at least 1, got 0"),
        (["generate", "a", "--guidance", "nan"], "--guidance: must be between"),
        (["generate", "a", "--extraction", "odd"], "--extraction: invalid choice: 'odd'"),
        (["generate", "a", "--extraction", "original", "--num-gaussians", "17196673"], "at most 17196672"),
        (["generate", "a", "--seed", "-1"], "--seed: must be at least 0"),
        (["generate", "a", "b", "--seed", str(2**63 - 1)], "too large for 2 objects"),
        (["generate", "a", "-o", "a.obj"], "the suffix must be one of .ply"),
        (["generate", "a", "-o", "nowhere/a.ply"], "folder nowhere does not exist"),
        (["generate", "a", "--model", "./nowhere"], "no model folder nowhere"),
        (["render", "nowhere.ply"], "there is no such file"),
        (["render", "a.ply", "--views", "0"], "--views: must be at least 1"),
        (["render", "a.ply", "--size", "100000"], "--size: must be at most 8192"),
        (["render", "a.ply", "--elevation", "90"], "--elevation: must be between -89 and 89"),
        (["render", "a.ply", "--background", "infrared"], "--background: must be a colour name"),
        (["info", "nowhere.ply"], "there is no such file"),
        (["convert", "nowhere.ply", "b.ply"], "there is no such file"),
    ],
)
def test_bad_use_is_one_line_and_exit_code_2(
    fails: Callable[..., str],
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be_written_are_refused(
    fails: Callable[..., str], splats_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert "suffix must be one of .png, .gif" in fails("render", splats_file, "-o", tmp_path / "a.jpg")
    assert "is a folder" in fails("render", splats_file, "-o", folder)
    assert "is a folder" in fails("generate", "a", "-o", tmp_path / "folder.ply")
    assert "suffix must be one of .ply" in fails("convert", splats_file, tmp_path / "a.obj")
    assert "needs a .png" in fails("render", splats_file, "-o", tmp_path / "a.gif", "--background", "transparent")
    assert "pixels" in fails("render", splats_file, "--size", 8192, "--views", 900)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder.png", "splats.ply"]


def test_a_bad_file_is_refused_by_every_command(
    fails: Callable[..., str], splats_file: Path, tmp_path: Path
) -> None:
    splats_file.write_bytes(splats_file.read_bytes()[:-1])
    commands = [["render", splats_file], ["info", splats_file], ["convert", splats_file, tmp_path / "b.ply"]]
    for command in commands:
        assert "splats.ply: the header claims 200 rows" in fails(*command)
    (tmp_path / "a.txt").write_bytes(b"")
    assert "suffix must be one of .ply" in fails("info", tmp_path / "a.txt")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.txt", "splats.ply"]


def test_a_corrupt_model_and_a_missing_device_leave_nothing_behind(
    fails: Callable[..., str], model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a.ply"
    assert "--device nonsense" in fails("generate", "a", "-o", output, "--model", model, "--device", "nonsense")
    (tmp_path / "model").mkdir()
    assert "model_index.json" in fails("generate", "a", "-o", output, "--model", tmp_path / "model")
    (tmp_path / "model" / "model_index.json").write_text("{")
    assert "not valid JSON" in fails("generate", "a", "-o", output, "--model", tmp_path / "model")
    assert "must be at most 100" in fails("generate", "a", "-o", output, "--model", model, "--steps", "101")
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_traceback_shows_where_an_error_arose(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(b"")
    with pytest.raises(ValueError, match="not a PLY file"):
        main(["--traceback", "info", str(tmp_path / "a.ply")])


def test_render_writes_a_sheet_or_an_animation(splats_file: Path, tmp_path: Path) -> None:
    assert main(["render", str(splats_file), "--views", "3", "--columns", "2", "--size", "24"]) == 0
    with Image.open(tmp_path / "splats.png") as sheet:
        assert (sheet.mode, sheet.size) == ("RGB", (48, 48))
        assert sheet.getpixel((40, 40)) == (255, 255, 255)  # no fourth view
    command = ["render", str(splats_file), "-o", str(tmp_path / "a.gif"), "--views", "5", "--size", "24"]
    assert main([*command, "--background", "#000000"]) == 0
    with Image.open(tmp_path / "a.gif") as animation:
        assert (animation.n_frames, animation.size) == (5, (24, 24))
        assert animation.convert("RGB").getpixel((0, 0)) == (0, 0, 0)
    command = ["render", str(splats_file), "-o", str(tmp_path / "b.png"), "--views", "1", "--size", "24"]
    assert main([*command, "--background", "transparent"]) == 0
    with Image.open(tmp_path / "b.png") as view:
        assert view.mode == "RGBA"
        assert view.getpixel((0, 0))[3] == 0


def test_render_follows_the_mode_that_the_file_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splats = random_splats(50)
    foreign = tmp_path / "foreign.ply"
    save_splats(splats, foreign)
    foreign.write_bytes(foreign.read_bytes().replace(b"rasterize_mode antialiased", b"from another program"))
    save_splats(splats, tmp_path / "ours.ply")
    for name, extra, mode in (
        ("foreign", [], "classic"),
        ("ours", [], "antialiased"),
        ("ours", ["--rasterize-mode", "classic"], "classic"),
    ):
        assert main(["render", str(tmp_path / f"{name}.ply"), "--views", "1", "--size", "16", *extra]) == 0
        assert capsys.readouterr().out.endswith(f"{mode}\n")


def test_convert_keeps_the_splats_and_their_mode(tmp_path: Path) -> None:
    splats = random_splats(30, 2)
    for mode in ("classic", "antialiased"):
        save_splats(splats, tmp_path / "a.ply", rasterize_mode=mode)
        assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / "b.ply")]) == 0
        assert read_rasterize_mode(tmp_path / "b.ply") == mode
        torch.testing.assert_close(load_splats(tmp_path / "b.ply").to_tensor(), splats.to_tensor())


def test_info_describes_a_file(splats_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", str(splats_file)]) == 0
    facts = json.loads(capsys.readouterr().out)
    rows = plyfile.PlyData.read(str(splats_file))["vertex"].data
    assert facts["file"] == str(splats_file)
    assert facts["bytes"] == splats_file.stat().st_size
    assert (facts["num_gaussians"], facts["sh_degree"]) == (200, 1)
    assert facts["rasterize_mode"] == "antialiased"
    np.testing.assert_allclose(facts["bounds_min"], [rows[axis].min() for axis in "xyz"], rtol=1e-6)
    np.testing.assert_allclose(facts["bounds_max"], [rows[axis].max() for axis in "xyz"], rtol=1e-6)
    np.testing.assert_allclose(facts["opacity"]["max"], 1 / (1 + np.exp(-rows["opacity"].max())), rtol=1e-5)
    smallest = min(rows[f"scale_{axis}"].min() for axis in range(3))
    np.testing.assert_allclose(facts["scale"]["min"], np.exp(smallest), rtol=1e-5)
    assert main(["info", str(splats_file)]) == 0
    assert "num gaussians   200\n" in capsys.readouterr().out


def test_info_describes_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_splats(random_splats(0), tmp_path / "a.ply")
    assert main(["info", str(tmp_path / "a.ply")]) == 0
    assert "opacity         unknown" in capsys.readouterr().out


def test_an_interrupt_is_no_error_message(
    splats_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffgs_diffusers.contact_sheet.turntable_sheet", interrupt)
    assert main(["render", str(splats_file)]) == 130
    assert capsys.readouterr().err == ""
    assert [one.name for one in splats_file.parent.iterdir()] == ["splats.ply"]


def test_the_package_runs_as_a_module() -> None:
    version = [sys.executable, "-m", "diffgs_diffusers", "--version"]
    assert subprocess.run(version, capture_output=True, text=True, check=True).stdout == f"diffgs {__version__}\n"
    mistake = [sys.executable, "-m", "diffgs_diffusers", "info", "nowhere.ply"]
    assert subprocess.run(mistake, capture_output=True, text=True, check=False).returncode == 2


def test_the_process_is_spared_collections_and_a_caller_of_main_is_not(splats_file: Path) -> None:
    code = (
        "import gc, sys\nfrom diffgs_diffusers.cli import main, run\n"
        "before = gc.get_threshold()\n"
        "assert main(sys.argv[1:]) == 0 and gc.get_threshold() == before and gc.get_freeze_count() == 0\n"
        "assert run(sys.argv[1:]) == 0 and gc.get_threshold() > before and gc.get_freeze_count() > 0\n"
        "assert gc.isenabled()"
    )
    subprocess.run([sys.executable, "-c", code, "info", str(splats_file)], check=True, capture_output=True)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["generate", "--help"], ["generate", "a", "-o", "b"]]
)
def test_help_and_mistakes_are_answered_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom diffgs_diffusers.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit as error:\n    code = error.code\n"
        "loaded = {'torch', 'numpy', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "sys.exit(99 if loaded else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "b" in arguments else 0), done.stderr
    if "--version" in arguments:
        assert done.stdout == f"diffgs {__version__}\n"
