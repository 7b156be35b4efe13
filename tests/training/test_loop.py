"""Trainer: learns, logs, averages, saves, and goes on where it stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffgs_diffusers.models import UNet1DConditionModel
from diffgs_diffusers.training.checkpointing import CheckpointError

REPOSITORY = Path(__file__).parents[2]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


def statistics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == []


def test_a_run_learns_and_leaves_weights_logs_and_configuration(make_trainer, tmp_path):
    steps = make_trainer("--max_train_steps=60", "--logging_steps=10").run()
    lines = statistics(tmp_path / "run")
    assert steps == 60
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert lines[0]["half"] == pytest.approx(lines[0]["loss"] / 2)
    assert lines[-1]["lr"] == pytest.approx(0.0, abs=1e-9)
    assert lines[0]["samples_per_second"] > 0
    assert 0 <= lines[0]["data_wait_fraction"] <= 1
    config = json.loads((tmp_path / "run" / "unet_training_config.json").read_text())
    assert config["max_train_steps"] == 60
    assert "hub_token" not in config
    UNet1DConditionModel.from_pretrained(tmp_path / "run" / "unet")


@pytest.mark.parametrize(
    "options",
    [
        ("--use_ema",),
        ("--gradient_accumulation_steps=2", "--dataloader_num_workers=1"),
        ("--mixed_precision=bf16", "--use_ema"),
    ],
    ids=["ema", "accumulation and a worker", "bf16"],
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    make_trainer, denoising_loss, tmp_path, options
):
    make_trainer(*options, name="whole").run()
    # Stopped by an error, as a crash would: the last checkpoint is older than the last step.
    calls = []

    def failing_loss(model, batch, step, generator):
        calls.append(step)
        if step == 5:
            raise KeyboardInterrupt
        return denoising_loss(model, batch, step, generator)

    with pytest.raises(KeyboardInterrupt):
        make_trainer(*options, name="broken", loss_fn=failing_loss).run()
    assert calls[-1] == 5
    make_trainer(*options, "--resume_from_checkpoint=latest", name="broken").run()
    assert_same_weights(tmp_path / "whole" / "unet", tmp_path / "broken" / "unet")
    whole, broken = statistics(tmp_path / "whole"), statistics(tmp_path / "broken")
    assert [line["step"] for line in broken] == [2, 4, 6]
    assert [line["loss"] for line in broken] == [line["loss"] for line in whole]


def test_another_seed_gives_other_weights(make_trainer, tmp_path):
    make_trainer("--seed=0", name="a").run()
    make_trainer("--seed=1", name="b").run()
    a, b = weights(tmp_path / "a" / "unet"), weights(tmp_path / "b" / "unet")
    assert not torch.equal(a["conv_out.weight"], b["conv_out.weight"])


def test_averaged_weights_are_saved_and_validated(make_trainer, denoising_loss, tmp_path):
    """The average is recomputed here from the weights after every step (its warm-up is 1 − 9 / (10 + t))."""
    seen, validated = [], []

    def watching_loss(model, batch, step, generator):
        seen.append(model.conv_out.weight.detach().clone())
        return denoising_loss(model, batch, step, generator)

    def validate(model, step):
        assert not model.training
        assert not torch.is_grad_enabled()
        validated.append(model.conv_out.weight.clone())
        return {"norm": model.conv_out.weight.norm().item()}

    trainer = make_trainer(
        "--use_ema", "--ema_decay=0.3", "--validation_steps=4", loss_fn=watching_loss, validate_fn=validate
    )
    trainer.run()
    after_steps = [*seen[1:], trainer.unwrapped_model.conv_out.weight.detach()]
    average = after_steps[0]
    averages = [average]
    for t, weight in enumerate(after_steps[1:], start=1):
        decay = min((1 + t) / (10 + t), 0.3)
        average = decay * average + (1 - decay) * weight
        averages.append(average)
    torch.testing.assert_close(validated[0], averages[3])
    torch.testing.assert_close(validated[1], averages[5])
    torch.testing.assert_close(weights(tmp_path / "run" / "unet")["conv_out.weight"], averages[5])
    assert not torch.equal(after_steps[5], averages[5])
    lines = [line for line in statistics(tmp_path / "run") if "validation/norm" in line]
    assert [line["step"] for line in lines] == [4, 6]


def test_old_checkpoints_go_and_a_checkpoint_holds_loadable_weights(make_trainer, tmp_path):
    make_trainer("--checkpoints_total_limit=2", "--use_ema").run()
    run = tmp_path / "run"
    assert sorted(path.name for path in run.iterdir() if path.is_dir()) == ["checkpoint-4", "checkpoint-6", "unet"]
    assert_same_weights(run / "checkpoint-6" / "unet", run / "unet")


def test_accumulation_equals_a_larger_batch(make_trainer, tmp_path):
    """Without random numbers in the loss, two batches of one and a batch of two have the same gradient."""

    def plain_loss(model, batch, step, generator):
        return {"loss": (model.eval()(batch["noisy"], 10).sample - batch["wave"]).square().mean()}

    options = ("--max_train_steps=2", "--learning_rate=1e-3")
    make_trainer(*options, name="large", loss_fn=plain_loss).run()
    make_trainer(
        *options, "--train_batch_size=1", "--gradient_accumulation_steps=2", name="small", loss_fn=plain_loss
    ).run()
    large, small = weights(tmp_path / "large" / "unet"), weights(tmp_path / "small" / "unet")
    for name, value in large.items():
        torch.testing.assert_close(small[name], value, rtol=1e-4, atol=1e-5)


def test_time_limit_stops_and_saves(make_trainer, tmp_path):
    steps = make_trainer("--max_train_steps=100000", "--max_train_minutes=0.005").run()
    assert 0 < steps < 100_000
    assert (tmp_path / "run" / f"checkpoint-{steps}").is_dir()
    assert (tmp_path / "run" / "unet" / "config.json").is_file()


def test_finalize_sees_the_averaged_weights(make_trainer, tmp_path):
    def finalize(model, output_dir):
        (output_dir / "sum.txt").write_text(repr(model.conv_out.weight.sum().item()))

    make_trainer("--use_ema", finalize_fn=finalize).run()
    expected = weights(tmp_path / "run" / "unet")["conv_out.weight"].sum().item()
    assert float((tmp_path / "run" / "sum.txt").read_text()) == pytest.approx(expected)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(make_trainer, denoising_loss, tmp_path):
    def exploding_loss(model, batch, step, generator):
        terms = denoising_loss(model, batch, step, generator)
        return {"loss": terms["loss"] * (float("nan") if step == 3 else 1.0)}

    with pytest.raises(RuntimeError, match="loss is nan at step 4"):
        make_trainer(loss_fn=exploding_loss).run()
    assert (tmp_path / "run" / "checkpoint-2").is_dir()
    assert not (tmp_path / "run" / "checkpoint-4").exists()


def test_weights_that_are_not_finite_are_never_saved(make_trainer, denoising_loss, tmp_path):
    """The loss of a step says nothing about the weights after it."""

    def breaking_loss(model, batch, step, generator):
        terms = denoising_loss(model, batch, step, generator)
        if step == 3:
            model.conv_out.weight.data.fill_(float("inf"))
        return {"loss": terms["loss"]}

    with pytest.raises(RuntimeError, match=r"norm of the weights is (inf|nan) at step 4"):
        make_trainer("--logging_steps=100", loss_fn=breaking_loss).run()
    assert (tmp_path / "run" / "checkpoint-2").is_dir()
    assert not (tmp_path / "run" / "checkpoint-4").exists()


def test_a_new_run_does_not_mix_with_the_checkpoints_of_another(make_trainer, tmp_path):
    """Rotation would keep the older run's later checkpoints and delete the new ones."""
    make_trainer().run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(ValueError, match="checkpoints of an earlier run"):
        make_trainer("--max_train_steps=3").run()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_damaged_checkpoint_is_refused(make_trainer, tmp_path):
    make_trainer().run()
    optimizer = tmp_path / "run" / "checkpoint-6" / "optimizer.bin"
    optimizer.write_bytes(optimizer.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"checkpoint-6: optimizer\.bin has .* bytes, must have"):
        make_trainer("--resume_from_checkpoint=latest").run()


def test_a_dataloader_without_seeded_order_is_refused(make_trainer):
    trainer = make_trainer()
    loader = torch.utils.data.DataLoader([1, 2, 3], batch_size=1)
    with pytest.raises(ValueError, match="build_dataloader"):
        type(trainer)(trainer.args, trainer.unwrapped_model, loader, None, name="unet")


def test_two_processes_train_one_model_and_resume(tmp_path):
    """torchrun with two gloo processes on the CPU: same weights in both, each its own share of the data."""
    script = Path(__file__).with_name("two_processes.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    done = subprocess.run(
        [*command, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reports = [json.loads((tmp_path / f"process-{rank}.json").read_text()) for rank in (0, 1)]
    assert [report["num_processes"] for report in reports] == [2, 2]
    assert reports[0]["checksum"] == reports[1]["checksum"]
    assert reports[0]["resumed_checksum"] == reports[0]["checksum"]
    assert not set(map(tuple, reports[0]["keys"])) & set(map(tuple, reports[1]["keys"]))
    assert_same_weights(tmp_path / "whole" / "unet", tmp_path / "resumed" / "unet")
    lines = [json.loads(line) for line in (tmp_path / "whole" / "stats.jsonl").read_text().splitlines()]
    assert [line["rare"] for line in lines] == [3.0] * len(lines)
