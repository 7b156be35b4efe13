"""``diffgs generate`` from a picture, a part and points: what reaches the pipeline, what is refused before it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffgs_diffusers import GaussianSplats
from diffgs_diffusers.cli import generate, main
from diffgs_diffusers.extraction import EmptySurfaceError
from diffgs_diffusers.io import load_splats, save_splats
from tests.factories import random_splats, sphere_splats

PART = sphere_splats(40)
QUICK = ["--steps", "2", "--num-gaussians", "64", "--no-sheet"]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with files of every kind."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    Image.fromarray(255 - pixels).save("other photo.webp")
    save_splats(PART, "half.ply")
    save_splats(random_splats(30, sh_degree=1).transform(scale=0.3), "part.spz")
    np.save("cloud.npy", PART.means.numpy())
    np.savetxt("colored.xyz", np.concatenate([PART.means.numpy(), np.full((40, 3), 200)], axis=1))
    return tmp_path


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model may be loaded."""

    def load(*_: object) -> None:
        pytest.fail("the model was loaded")

    monkeypatch.setattr(generate, "load_pipeline", load)


def test_every_condition_reaches_the_pipeline(model: Path, inputs: Path) -> None:
    """Each option, each file and each combination of them makes an object of its own from the same seed."""
    conditions = [
        ["a red chair"],
        ["--image", "photo.png"],
        ["--image", "other photo.webp"],
        ["--points", "cloud.npy"],
        ["--points", "colored.xyz"],
        ["--partial", "half.ply", "--discard-input"],
        ["--partial", "part.spz", "--discard-input"],
        ["a red chair", "--image", "photo.png"],
        ["--points", "cloud.npy", "a red chair"],
        ["--image", "photo.png", "--partial", "half.ply", "a red chair", "--discard-input"],
        ["--image", "photo.png", "--negative-prompt", "a red chair"],
        ["--image", "photo.png", "--candidates", "2"],
        ["--gaussians", "half.ply"],
        ["--gaussians", "half.ply", "--strength", "1"],
        ["a red chair", "--gaussians", "half.ply", "--candidates", "2"],
        ["--gaussians", "part.spz", "a red chair"],
    ]
    for index, words in enumerate(conditions):
        assert main(["generate", *words, "--model", str(model), "-o", f"{index}.ply", *QUICK]) == 0
    objects = [load_splats(f"{index}.ply") for index in range(len(conditions))]
    assert [len(one) for one in objects] == [64] * len(conditions)
    assert len({one.means.numpy().tobytes() for one in objects}) == len(conditions)


@pytest.mark.parametrize(("file", "count"), [("half.ply", 40), ("part.spz", 30)])
def test_a_completed_object_begins_with_its_part(
    model: Path, inputs: Path, capsys: pytest.CaptureFixture[str], file: str, count: int
) -> None:
    command = ["generate", "a red chair", "--partial", file, "--model", str(model), "-o", "a.ply", *QUICK]
    assert main(command) == 0
    assert capsys.readouterr().out == f"a.ply: 64 Gaussians, 'a red chair', partial {file}, seed 0\n"
    part, whole = load_splats(file), load_splats("a.ply")
    assert len(part) == count
    assert torch.equal(whole.means[:count], part.means)
    for name in ("quats", "scales", "opacities", "sh0", "shN"):
        torch.testing.assert_close(getattr(whole, name)[:count], getattr(part, name), rtol=1e-5, atol=1e-6)
    assert main([*command, "--discard-input"]) == 0
    new = load_splats("a.ply").means
    assert (torch.cdist(new, part.means) > 0).all()


@pytest.mark.parametrize(
    ("prompts", "condition", "index", "last"),
    [([], ["--image", "photo.png"], 2, []), (["a", "b"], ["--points", "cloud.npy"], 3, ["b"])],
    ids=["image", "prompts and points"],
)
def test_an_object_of_a_batch_equals_the_object_alone(
    model: Path, inputs: Path, prompts: list[str], condition: list[str], index: int, last: list[str]
) -> None:
    shared = [*condition, "--model", str(model), *QUICK]
    assert main(["generate", *prompts, *shared, "--count", "2", "--seed", "5", "-o", "all.ply"]) == 0
    assert main(["generate", *last, *shared, "--seed", str(4 + index), "-o", "one.ply"]) == 0
    batch, alone = load_splats(f"all-{index}.ply"), load_splats("one.ply")
    assert not torch.equal(load_splats("all-1.ply").means, batch.means)
    torch.testing.assert_close(batch.to_tensor(), alone.to_tensor(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("condition", "written", "origin"),
    [
        (["--image", "photo.png"], ["photo-object.ply", "photo-object.png"], "image photo.png"),
        (
            ["--image", "other photo.webp", "--partial", "half.ply"],
            ["other-photo-object.ply", "other-photo-object.png"],
            "image other photo.webp, partial half.ply",
        ),
        (["--partial", "./half.ply"], ["half-object.ply", "half-object.png"], "partial ./half.ply"),
        (["--points", "cloud.npy"], ["cloud-object.ply", "cloud-object.png"], "points cloud.npy"),
        (["--gaussians", "part.spz"], ["part-object.ply", "part-object.png"], "gaussians part.spz"),
        (["--points", "cloud.npy", "A lamp"], ["a-lamp.ply", "a-lamp.png"], "'A lamp', points cloud.npy"),
    ],
)
def test_without_o_and_prompt_objects_are_named_after_their_input(
    model: Path,
    inputs: Path,
    capsys: pytest.CaptureFixture[str],
    condition: list[str],
    written: list[str],
    origin: str,
) -> None:
    before = {path.name: path.read_bytes() for path in inputs.iterdir()}
    assert main(["generate", *condition, "--model", str(model), *QUICK[:-1], "--seed", "3"]) == 0
    assert capsys.readouterr().out == f"{written[0]}: 64 Gaussians, {origin}, seed 3\n"
    after = {path.name: path.read_bytes() for path in inputs.iterdir()}
    assert sorted(after.keys() - before.keys()) == written
    assert {name: after[name] for name in before} == before


def test_several_objects_of_an_input_are_numbered(model: Path, inputs: Path) -> None:
    command = ["generate", "--points", "cloud.npy", "--count", "9", "--model", str(model), *QUICK]
    assert main(command) == 0  # more than one batch
    names = sorted(path.name for path in inputs.glob("*-object-*.ply"))
    assert names == [f"cloud-object-{index}.ply" for index in range(1, 10)]
    assert len({Path(name).read_bytes() for name in names}) == 9


def make_bad_inputs() -> None:
    """Files that are wrong, in the working folder."""
    Path("notes.txt").write_text("one two three\n")
    Path("cut.npy").write_bytes(Path("cloud.npy").read_bytes()[:-1])
    Path("cut.ply").write_bytes(Path("half.ply").read_bytes()[:-1])
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:-200])
    save_splats(random_splats(0), "empty.ply")
    Image.new("RGBA", (20, 20)).save("clear.png")
    Image.new("RGB", (20, 3)).save("flat.png")
    Path("folder.npy").mkdir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "PROMPT: say what to make, or pass --image, --partial, --points or --gaussians"),
        (["a", "--strength", "0.5"], "--strength: there is no --gaussians"),
        (["a", "--candidates", "0"], "--candidates"),
        (["--gaussians", "half.ply", "--strength", "0"], "--strength 0: leaves nothing to change"),
        (["--gaussians", "half.ply", "--strength", "1.5"], "--strength"),
        (["--gaussians", "cloud.npy"], "input cloud.npy: the suffix must be one of .ply, .spz"),
        (
            ["--gaussians", "half.ply", "-o", "half.spz", "--partial", "half.spz"],
            "input half.spz: there is no such",
        ),
        (["--gaussians", "half.ply", "-o", "half.ply"], "output half.ply: is an input too"),
        (["--gaussians", "empty.ply"], "empty.ply: holds no Gaussians"),
        (["--count", "2"], "PROMPT"),
        (["--partial", "half.ply", "--extraction", "original"], "--extraction original: cannot begin with"),
        (["--partial", "half.ply", "--points", "cloud.npy"], "--points: not allowed with argument --partial"),
        (["a", "--discard-input"], "--discard-input: there is no --partial"),
        (["--points", "cloud.npy", "--discard-input"], "--discard-input: there is no --partial"),
        (["--image", "nowhere.png"], "input nowhere.png: there is no such file"),
        (["--partial", "nowhere.ply"], "input nowhere.ply: there is no such file"),
        (["--points", "nowhere.npy"], "input nowhere.npy: there is no such file"),
        (["--points", "folder.npy"], "input folder.npy: there is no such file"),
        (["--partial", "cloud.npy"], "input cloud.npy: the suffix must be one of .ply, .spz"),
        (["--points", "photo.png"], "input photo.png: the suffix must be one of .ply, .npy, .xyz, .txt"),
        (["--image", "notes.txt"], "notes.txt is no picture that can be read"),
        (["--image", "cut.png"], "cut.png is no picture that can be read"),
        (["--image", "flat.png"], "`--image` has 20×3 pixels"),
        (["--image", "clear.png"], "transparent everywhere"),
        (["--partial", "cut.ply"], "cut.ply: the header claims 40 rows"),
        (["--partial", "empty.ply"], "empty.ply: holds no Gaussians"),
        (["--points", "cut.npy"], "cut.npy: is no whole .npy file"),
        (["--points", "notes.txt"], "notes.txt: line 1 has 'one', which is not a number"),
        (["--points", "empty.ply"], "empty.ply: holds no points"),
        (["--partial", "half.ply", "--num-gaussians", "40"], "--num-gaussians 40: half.ply has 40 already"),
        (["--image", "photo.png", "-o", "photo.ply"], "output photo.png: is an input too"),
        (["--partial", "half.ply", "-o", "./half.ply"], "output half.ply: is an input too"),
        (["half", "--partial", "half.ply"], "output half.ply: is an input too"),
        (["--image", "photo.png", "-o", "nowhere/a.ply"], "folder nowhere does not exist"),
    ],
)
def test_bad_conditions_are_refused_before_a_model_is_loaded(
    fails: Callable[..., str], model: Path, inputs: Path, unloaded: None, arguments: list[str], message: str
) -> None:
    make_bad_inputs()
    before = {path: path.stat().st_mtime_ns for path in inputs.iterdir()}
    assert message in fails("generate", *arguments, "--model", model)
    assert {path: path.stat().st_mtime_ns for path in inputs.iterdir()} == before


def test_what_the_model_cannot_take_is_refused_before_it_works(
    fails: Callable[..., str], model: Path, inputs: Path
) -> None:
    save_splats(PART.transform(scale=9.0), "far.ply")
    np.save("far.npy", 9 * PART.means.numpy())
    before = sorted(inputs.iterdir())
    for option in ("--partial=far.ply", "--points=far.npy", "--gaussians=far.ply"):
        assert "reaches 3.51 from the origin" in fails("generate", option, "-o", "a.ply", "--model", model, *QUICK)
    assert sorted(inputs.iterdir()) == before

    shutil.copytree(model, "text only")
    index = Path("text only/model_index.json")
    index.write_text(json.dumps(json.loads(index.read_text()) | {"condition_encoder": [None, None]}))
    for name, file in {"image": "photo.png", "partial": "half.ply", "points": "cloud.npy"}.items():
        line = fails("generate", f"--{name}", file, "-o", "a.ply", "--model", "text only", *QUICK)
        assert f"takes no `{name}`: it has no `condition_encoder`" in line
    assert not Path("a.ply").exists()


def test_an_empty_object_is_named_by_its_input(
    model: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    def empty(*_: object) -> list[GaussianSplats]:
        raise EmptySurfaceError("Nothing there.")

    monkeypatch.setattr("diffgs_diffusers.DiffGSPipeline.decode_latents", empty)
    line = fails("generate", "--image", "photo.png", "--seed", "4", "--model", model, *QUICK)
    assert "image photo.png, seed 4: Nothing there." in line
    assert not list(inputs.glob("photo-object*"))


@pytest.mark.parametrize(
    "arguments", [[], ["--image", "nowhere.png"], ["--points", "photo.png"], ["a", "--discard-input"]]
)
def test_mistakes_are_answered_without_torch(inputs: Path, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom diffgs_diffusers.cli import main\ncode = main(sys.argv[1:])\n"
        "sys.exit(99 if {'torch', 'numpy', 'PIL'} & set(sys.modules) else code)"
    )
    command = [sys.executable, "-c", code, "generate", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
