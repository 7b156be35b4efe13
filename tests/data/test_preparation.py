"""The whole road from files to a dataset: what is written, resuming, what is left out, the check, the script."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from diffgs_diffusers.data import runner
from diffgs_diffusers.data.dataset import GaussianObjectDataset, object_path, read_records
from diffgs_diffusers.data.preparation import PreparationSettings, prepare_mesh
from diffgs_diffusers.data.runner import prepare_dataset
from diffgs_diffusers.data.sources import find_sources
from diffgs_diffusers.data.validation import validate_dataset
from diffgs_diffusers.functional.spherical_harmonics import sh0_to_rgb

SCRIPT = Path(__file__).parents[2] / "training" / "prepare_data.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_data", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def prepared(cube_library: Path, tiny_settings: PreparationSettings, tmp_path: Path) -> Path:
    root = tmp_path / "data"
    prepare_dataset(find_sources([cube_library]), root, tiny_settings)
    return root


def test_the_dataset_holds_objects_captions_and_credits(prepared: Path) -> None:
    dataset = GaussianObjectDataset(prepared)
    red, table = dataset.records
    assert (red.id, red.noun, red.category, red.split) == ("tiny-redchair", "teak chair", "chair", "train")
    assert red.caption == "a red teak chair"
    assert (red.creator, red.licence, red.catalogue_category) == ("Ann", "CC-BY-3.0", "Living room")
    assert (table.caption, table.tags) == ("a blue table", ["Dining"])
    assert red.materials[0]["share"] == 1.0
    splats = dataset.splats(0).validate()
    assert len(splats) == red.num_gaussians == 200
    assert dataset.material_ids(0).tolist() == [red.materials[0]["index"]] * 200
    rgb = sh0_to_rgb(splats.sh0[:, 0]).median(dim=0).values
    assert rgb[0] > 0.4 > rgb[1:].max()
    assert red.psnr > 20
    assert red.psnr_256 > 20
    assert splats.means.abs().amax(dim=0).tolist() == pytest.approx([0.5, 0.25, 0.125], abs=0.05)


def test_what_is_left_out_has_its_reason(prepared: Path) -> None:
    records = {record.id: record for record in read_records(prepared)}
    lamp = records["tiny-nothing"]
    assert lamp.status == "left_out"
    assert "no faces" in lamp.reason
    assert not object_path(prepared, lamp.id).exists()
    assert len(GaussianObjectDataset(prepared, split=None)) == 2


def test_a_second_run_goes_on_where_the_first_stopped(
    prepared: Path, cube_library: Path, tiny_settings: PreparationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (prepared / "metadata.jsonl").read_text()
    first = object_path(prepared, "tiny-redchair").read_bytes()
    # as after an interrupt between an object and its record
    (prepared / "records" / "tiny-redchair.json").unlink()
    done: list[str] = []
    original = runner.prepare_object

    def counted(task: tuple) -> str:  # type: ignore[type-arg]
        done.append(task[0].id)
        return original(task)

    monkeypatch.setattr(runner, "prepare_object", counted)
    prepare_dataset(find_sources([cube_library]), prepared, tiny_settings)
    assert done == ["tiny-redchair"]
    assert (prepared / "metadata.jsonl").read_text() == before
    assert object_path(prepared, "tiny-redchair").read_bytes() == first, "one seed, one result"


def test_other_settings_need_a_new_beginning(
    prepared: Path, cube_library: Path, tiny_settings: PreparationSettings
) -> None:
    other = replace(tiny_settings, num_gaussians=150)
    with pytest.raises(ValueError, match="other settings"):
        prepare_dataset(find_sources([cube_library]), prepared, other)
    records = prepare_dataset(find_sources([cube_library]), prepared, other, overwrite=True)
    assert {record.num_gaussians for record in records if record.status == "ok"} == {150}


def test_processes_of_a_launcher_share_the_work(
    cube_library: Path, tiny_settings: PreparationSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = find_sources([cube_library])
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, expected in (("0", {"tiny-redchair", "tiny-nothing"}), ("1", {source.id for source in sources})):
        monkeypatch.setenv("RANK", rank)
        records = prepare_dataset(sources, tmp_path / "data", tiny_settings)
        assert {record.id for record in records} == expected


def test_a_launchers_processes_do_not_overwrite(
    prepared: Path, cube_library: Path, tiny_settings: PreparationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="without a launcher"):
        prepare_dataset(find_sources([cube_library]), prepared, tiny_settings, overwrite=True)
    assert validate_dataset(prepared).valid


def test_worker_processes_give_the_same_objects(
    prepared: Path, cube_library: Path, tiny_settings: PreparationSettings, tmp_path: Path
) -> None:
    prepare_dataset(find_sources([cube_library]), tmp_path / "parallel", tiny_settings, num_processes=2)
    for name in ("metadata.jsonl", "objects/tiny-redchair.safetensors", "objects/tiny-table.safetensors"):
        assert (tmp_path / "parallel" / name).read_bytes() == (prepared / name).read_bytes()


def test_a_missing_library_ends_the_run_instead_of_leaving_objects_out(
    cube_library: Path, tiny_settings: PreparationSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    with pytest.raises(ImportError, match=r"diffgs-diffusers\[data\]"):
        prepare_dataset(find_sources([cube_library]), tmp_path / "data", tiny_settings)
    assert not list((tmp_path / "data" / "records").iterdir())


def test_validation_finds_damage(prepared: Path) -> None:
    report = validate_dataset(prepared)
    assert report.valid
    assert "2 ok, 1 left out" in report.table()
    assert "no faces" in report.table()
    path = object_path(prepared, "tiny-table")
    path.write_bytes(path.read_bytes()[:-100])
    (prepared / "objects" / "stray.safetensors").write_bytes(b"")
    damaged = validate_dataset(prepared)
    assert [problem.split(":")[0] for problem in damaged.problems] == ["tiny-table", "stray"]
    assert damaged.checksum != report.checksum


def test_datasets_that_are_none_are_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not a dataset"):
        GaussianObjectDataset(tmp_path)
    with pytest.raises(ValueError, match="Unknown split 'dev'"):
        GaussianObjectDataset(prepared, split="dev")
    settings = json.loads((prepared / "dataset.json").read_text())
    (prepared / "dataset.json").write_text(json.dumps({**settings, "format_version": 99}))
    with pytest.raises(ValueError, match="format 99"):
        GaussianObjectDataset(prepared)


def test_ids_are_unique_and_fit_for_file_names(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "My Chair.obj").write_text("")
    sources = find_sources([tmp_path])
    assert [source.id for source in sources] == ["my-chair", "my-chair-copy-2"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_sources([tmp_path / "c"])
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match="holds no object"):
        find_sources([tmp_path / "c"])


def test_settings_are_checked() -> None:
    for wrong in ({"num_gaussians": 0}, {"resolution": 33}, {"num_views": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PreparationSettings(**wrong)


def test_two_names_give_two_draws(cube_library: Path, tiny_settings: PreparationSettings) -> None:
    mesh = find_sources([cube_library])[0].load()
    one, other = (prepare_mesh(mesh, name, tiny_settings) for name in ("one", "other"))
    assert not torch.equal(one.splats.means, other.splats.means)


def test_the_script_prepares_and_validates(
    script: ModuleType, cube_library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output_dir", str(tmp_path / "out")]
    sizes = ["--num_gaussians", "100", "--resolution", "32", "--num_views", "4", "--limit", "1"]
    assert script.main(["--source", str(cube_library), *arguments, *sizes]) == 0
    assert "1 ok, 0 left out" in capsys.readouterr().out
    assert script.main([*arguments, "--validate"]) == 0
    assert "the dataset is sound" in capsys.readouterr().out


def test_the_script_fails_where_nothing_can_be_used(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    assert script.main(["--source", str(tmp_path / "points.obj"), "--output_dir", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "no faces" in printed.out
    assert printed.err.splitlines()[-1].startswith("error: none of the objects can be used")
    assert not list((tmp_path / "out" / "objects").iterdir())


def test_the_script_refuses_in_one_line_before_any_work(
    script: ModuleType, write_library: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = write_library([{"id": "a", "name": "b", "model": "../../c.obj"}], {})
    assert script.main(["--source", str(evil), "--output_dir", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "outside of the archive" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
    for arguments in (["--output_dir", "x"], ["--source", "a", "--output_dir", "x", "--limit", "0"]):
        with pytest.raises(SystemExit) as caught:
            script.main(arguments)
        assert caught.value.code == 2
