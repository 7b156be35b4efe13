"""``training/evaluate.py`` from a saved pipeline and a dataset folder to tables, JSON and pictures."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from PIL import Image

from diffgs_diffusers import DiffGSPipeline

script = runpy.run_path(str(Path(__file__).parents[2] / "training" / "evaluate.py"))
main, parse_args, build_run = (script[name] for name in ("main", "parse_args", "build_run"))
SCHEDULERS: dict[str, type] = script["SCHEDULERS"]


@pytest.fixture
def arguments(tiny_pipeline: DiffGSPipeline, toy_dataset: Path, tmp_path: Path) -> list[str]:
    tiny_pipeline.save_pretrained(str(tmp_path / "model"))
    small = (
        "--counts 40 80 --num_objects 1 --num_samples 4 --num_gaussians 200 --image_size 24 --num_inference_steps 2"
    )
    places = {"model": "model", "output": "out/results.json", "cache_dir": "cache", "pictures": "pictures"}
    words = ["--data", str(toy_dataset), *small.split()]
    return words + [word for name, place in places.items() for word in (f"--{name}", str(tmp_path / place))]


def test_vae_and_novelty_tables(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*arguments, "--tables", "vae,refined,training", "--refinement_steps", "2", "--picture_steps", "0"])
    main([*arguments, "--tables", "novelty"])
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert set(results["vae"]) == {"train", "validation", "test", "all"}
    rows = [results["vae"][split]["true centres"] for split in ("train", "validation", "test")]
    total = sum(row["num_objects"] * row["psnr"] for row in rows)
    every = results["vae"]["all"]["true centres"]
    assert every["num_objects"] == sum(row["num_objects"] for row in rows)
    assert every["psnr"] == pytest.approx(total / every["num_objects"])
    assert set(results["vae"]["test"]) == set(results["refined"]["test"]) == {"true centres", "40", "80"}
    assert results["vae"]["test"]["true centres"] != results["refined"]["test"]["true centres"]
    assert set(results["training"]) == {"as encoded", "refined"}
    assert results["training"]["as encoded"] == results["vae"]["train"]
    assert results["training"]["refined"] == results["refined"]["train"] != results["vae"]["train"]
    assert len(results["novelty"]["samples"]) + results["novelty"]["num_empty"] == 4
    assert set(results["novelty"]["distances"]) == {"a sample", "a training object"}
    shapes = results["novelty"]["shapes"]
    assert set(shapes) == {
        "samples, training objects",
        "samples, held-out objects",
        "training objects, held-out objects",
    }
    assert all(0 <= row["one_nna"] <= 1 and row["count"] == 4 for row in shapes.values())
    assert results["novelty"]["images"] == {}  # of four objects there are too few
    assert str(tmp_path) not in json.dumps(results)
    printed = capsys.readouterr().out
    assert "| test, 80 | 1 |" in printed
    assert "| a training object |" in printed
    with Image.open(tmp_path / "pictures" / "novelty.png") as sheet:
        assert sheet.size == (8 * 96, 96)


def test_condition_tables(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], few_pictures: None
) -> None:
    steps = ["--refinement_steps", "2", "--picture_steps", "1"]
    main([*arguments, "--tables", "conditions", "--num_candidates", "2", *steps])
    table = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["conditions"]
    assert list(table) == ["image", "partial", "points"]
    assert [len(rows) for rows in table.values()] == [5, 4, 6]
    assert {"generated, the most like it of 2", "nearest picture of a training object"} < set(table["image"])
    encoded, refined = "flat Gaussians, reconstructed", "flat Gaussians, reconstructed with refined latents"
    assert table["points"][encoded]["psnr"] != table["points"][refined]["psnr"]
    for rows in table.values():
        for row in rows.values():
            assert row["num_empty"] or -1 <= row["similarity"] <= 1.0001
            assert row["num_objects"] + row["num_empty"] == 1
            assert row["num_empty"] or (0 <= row["f_score"] <= 1 and row["chamfer"] >= 0 and row["psnr"] > 3)
    assert "| partial: the part alone | 1 |" in capsys.readouterr().out
    with Image.open(tmp_path / "pictures" / "partial.png") as sheet:
        assert sheet.size == (4 * 96, 96)


def test_tables_of_functions_prefixes_and_the_bound(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--prefixes", "40", "--whole", "120", "--bound_steps", "3"]
    main([*arguments, *small, "--tables", "functions,progressive,bound"])
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert set(results["functions"]) == {"train", "validation", "test"}
    assert list(results["progressive"]) == [
        "120, extracted at once",
        "40, extracted at once",
        "40, splats.first(n)",
        "40, splats[:n]",
    ]
    assert set(results["bound"]) == {
        f"{split}, {told}"
        for split in ("train", "validation", "test")
        for told in ("unconditional", "with captions")
    }
    assert "| test, with captions | 1 |" in capsys.readouterr().out


def test_a_package_that_is_not_there_ends_it_before_any_work(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffgs_diffusers.evaluation.image_distributions.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="FID and KID need torchmetrics"):
        build_run(parse_args([*arguments, "--tables", "text,novelty"]))
    build_run(parse_args([*arguments, "--tables", "text"]))


def test_tables_of_prompts_say_that_there_is_no_clip(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["--colors", "red", "--categories", "table", "lamp", "--num_seeds", "1", "--guidance", "2"]
    main([*arguments, *grid, "--tables", "text,guidance"])
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert (results["text"]["num_objects"], results["text"]["num_prompts"]) == (2, 2)
    assert "clip_score" not in results["text"]
    assert results["guidance"]["2"]["num_objects"] == 4
    printed = capsys.readouterr().out
    assert "CLIP score and R-precision are left out: they need both towers of one CLIP" in printed
    assert "| 2 | 4 |" in printed


@pytest.mark.parametrize(("name", "expected"), SCHEDULERS.items())
def test_another_scheduler_samples_from_the_same_model(arguments: list[str], name: str, expected: type) -> None:
    run = build_run(parse_args([*arguments, "--scheduler", name, "--num_inference_steps", "2"]))
    assert type(run.pipe.scheduler) is expected
    own = DiffGSPipeline.from_pretrained(arguments[arguments.index("--model") + 1]).scheduler
    for setting in ("beta_schedule", "beta_end", "prediction_type", "timestep_spacing"):
        assert run.pipe.scheduler.config[setting] == own.config[setting]
    latents = run.pipe("a red table", output_type="latent", **run.options).gaussians
    assert latents.isfinite().all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tables", "vae,speed"], "unknown speed"),
        (["--num_samples", "0"], "at least 1"),
        (["--guidance_seeds", "1"], "--guidance_seeds must be at least 2, got 1"),
        (["--prefixes", "9000", "--whole", "9000"], "--prefixes less than --whole"),
        (["--lpips_weights", "nowhere.pth"], "there is no file nowhere.pth"),
    ],
)
def test_bad_use_ends_with_one_line(
    arguments: list[str], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main([*arguments, *words])
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
