"""Arguments: the command line wins over a file, bad values end in one line and code 2."""

import argparse
import json

import pytest

from diffgs_diffusers.training.config import (
    add_training_arguments,
    config_dict,
    parse_training_arguments,
    save_config,
)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser()
    add_training_arguments(result, {"max_train_steps": 7})
    result.add_argument("--validation_prompts", nargs="+")
    result.add_argument("--shuffle", action=argparse.BooleanOptionalAction, default=True)
    return result


def test_a_config_file_gives_defaults_and_the_command_line_wins(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "output_dir: from_file\nlearning_rate: 1e-3\nuse_ema: true\npush_to_hub: false\nreport_to: null\n"
        "validation_prompts: [a red chair, a lamp]\nshuffle: false\n"
    )
    args = parse_training_arguments(parser(), ["--config", str(path), "--learning_rate", "2e-4"])
    assert (args.output_dir, args.learning_rate, args.use_ema, args.push_to_hub) == ("from_file", 2e-4, True, False)
    assert args.validation_prompts == ["a red chair", "a lamp"]
    assert args.max_train_steps == 7
    assert args.shuffle is False


def test_saved_arguments_repeat_the_run(tmp_path):
    words = ["--output_dir", "x", "--use_ema", "--max_train_minutes", "3", "--hub_token", "secret", "--no-shuffle"]
    args = parse_training_arguments(parser(), words)
    save_config(args, tmp_path / "config.json")
    assert "secret" not in (tmp_path / "config.json").read_text()
    again = parse_training_arguments(parser(), ["--config", str(tmp_path / "config.json")])
    assert config_dict(again) | {"config": None} == config_dict(args)


def test_dry_run_prints_the_resolved_arguments_and_stops(capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        parse_training_arguments(parser(), ["--output_dir", str(tmp_path / "run"), "--dry_run"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out)["max_train_steps"] == 7
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--output_dir"),
        (["--output_dir=x", "--train_batch_size=0"], "--train_batch_size must be at least 1, got 0"),
        (["--output_dir=x", "--max_train_steps=-1"], "--max_train_steps must be at least 1"),
        (["--output_dir=x", "--category_balance=1.5"], "--category_balance must be in [0, 1], got 1.5"),
        (["--output_dir=x", "--learning_rate=0"], "--learning_rate must be above 0"),
        (["--output_dir=x", "--max_train_minutes=nan"], "--max_train_minutes must be above 0"),
        (["--output_dir=x", "--ema_decay=1"], "--ema_decay must be in [0, 1)"),
        (["--output_dir=x", "--push_to_hub"], "needs --hub_model_id"),
        (["--output_dir=x", "--mixed_precision=int4"], "invalid choice"),
        (["--output_dir=x", "--config=absent.yaml"], "absent.yaml: cannot be read"),
    ],
)
def test_bad_values_end_in_one_line_and_code_2(capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        parse_training_arguments(parser(), words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [("learning_rat: 1", "unknown argument 'learning_rat'"), ("- 1", "must hold"), ("a: [", "cannot be read")],
)
def test_bad_config_files_are_refused(capsys, tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SystemExit):
        parse_training_arguments(parser(), ["--output_dir=x", "--config", str(tmp_path / "config.yaml")])
    assert message in capsys.readouterr().err


def test_defaults_for_arguments_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="batch_sise"):
        add_training_arguments(argparse.ArgumentParser(), {"batch_sise": 2})
