"""Options of a training: the defaults are the original recipe, and a mistake ends in one line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service import __version__
from tests.server import ROOT
from training.command_line import flag_of
from training.options import Options


def test_without_options_it_is_the_original_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables are ignored."""
    monkeypatch.setenv("EPOCHS", "7")
    options = Options.from_command_line([])
    assert options.model_dump() == {
        "architecture": None,
        "shared_attention": False,
        "data": "recurrent",
        "test_data": None,
        "task": "auto",
        "target_column": None,
        "sequence_column": None,
        "timestep_column": None,
        "feature_columns": None,
        "drop_columns": None,
        "static_columns": None,
        "group_column": None,
        "time_feature": False,
        "window": None,
        "horizon": 1,
        "stride": 1,
        "delimiter": None,
        "decimal": None,
        "thousands": None,
        "encoding": None,
        "missing": None,
        "date_format": None,
        "header": True,
        "name": None,
        "epochs": None,
        "batch_size": None,
        "patience": None,
        "loss": "mean_squared_error",
        "balanced": False,
        "class_weight": {},
        "learning_rate": None,
        "units": 32,
        "cell": "lstm",
        "layers": 1,
        "bidirectional": False,
        "dropout": 0.0,
        "validation_split": None,
        "test_split": 0.2,
        "budget": 5.0,
        "seed": 0,
        "repeats": 1,
        "cross_validate": None,
        "continue_": None,
        "resume": False,
        "tensorboard": None,
        "sequences": None,
        "timesteps": None,
        "features": None,
        "attention_column": 10,
    }
    assert options.artifacts == Path("artifacts")


def test_the_name_follows_the_architecture() -> None:
    """`--name` replaces the name of the architecture."""
    assert Options().model_name == "after-lstm"
    assert Options(architecture="before_lstm").model_name == "before-lstm"
    assert Options.from_command_line(["--name", "mine"]).model_name == "mine"
    assert Options.from_command_line(["--continue", "theirs/3"]).model_name == "theirs"
    assert Options.from_command_line(["--continue", "theirs", "--name", "mine"]).model_name == "mine"


def test_columns_are_separated_by_commas_or_repeated() -> None:
    """Both forms may be combined."""
    options = Options.from_command_line(["--target-column", "a,b", "--target-column", "c d"])
    assert options.target_column == ("a", "b", "c d")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], '--epochs: expected a number of at least 1, got "0"'),
        (
            ["--architecture", "gru"],
            "--architecture: expected 'after_lstm', 'before_lstm', 'additive', 'multiplicative', 'inception', "
            "'minirocket' or 'auto', got \"gru\"",
        ),
        (["--name", "../outside"], "--name: expected letters a to z, digits, `.`, `_` and `-`, starting with"),
        (["--name", "환자"], 'starting with a letter or digit, got "환자"'),
        (["--validation-split", "1"], '--validation-split: expected a number below 1.0, got "1"'),
        (["--target-column", "a,b,a"], "--target-column: expected each column once"),
        (["--class-weight", "a=0"], '--class-weight.a: expected a number above 0.0, got "0"'),
        (["--class-weight", "a"], "--class-weight: expected CLASS=WEIGHT"),
        (["--class-weight", "up:5"], "--class-weight: expected CLASS=WEIGHT"),
        (["--cross-validate", "1"], '--cross-validate: expected a number of at least 2, got "1"'),
        (["--cross-validate", "5"], "--cross-validate: expected your data, got the synthetic data recurrent"),
        (
            ["--cross-validate", "5", "--data", "a.csv", "--test-data", "b.csv"],
            "--cross-validate: expected no --test-data, as each part of the data is held out in turn",
        ),
        (["--cross-validate", "5", "--repeats", "2"], "--cross-validate: expected no --repeats, as"),
        (["--cross-validate", "5", "--window", "9"], "--cross-validate: expected no --window, as later windows"),
        (["--cross-validate", "5", "--continue", "m"], "--cross-validate: expected no --continue, as the published"),
        (["--continue", "m/0"], "--continue: expected text that matches ^[A-Za-z0-9]"),
        (["--jobs", "0"], '--jobs: expected a number of at least 1, got "0"'),
        (["--jobs", "2", "--ray", "auto"], "--ray: expected no --jobs, as the cluster decides"),
        (["--patience", "2", "--validation-split", "0"], "--patience needs validation data: expected a --validation"),
    ],
)
def test_a_wrong_option_ends_in_one_line(arguments: list[str], message: str) -> None:
    """The line gives the option, the expected value, the actual one, and a hint at --help."""
    with pytest.raises(SystemExit) as caught:
        Options.from_command_line(arguments)
    assert re.search(re.escape(message), str(caught.value))
    assert "\n" not in str(caught.value)


def test_help_describes_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """The help has the name and the description of each option."""
    with pytest.raises(SystemExit) as caught:
        Options.from_command_line(["--help"])
    assert caught.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for name, field in Options.model_fields.items():
        assert field.description
        assert flag_of(name) in printed
        # argparse breaks lines after hyphens, too
        assert field.description.replace("- ", "-") in printed.replace("- ", "-")


#: Runs the command line without the libraries of training, as after `pip install .`.
BARE = """
import runpy, sys
sys.modules.update(dict.fromkeys("aeon keras matplotlib onnx pyarrow tensorboard tensorflow tf2onnx tqdm".split()))
runpy.run_module("training", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        (["--help"], 0, r"usage: python -m training .*--architecture .*"),
        (["--version"], 0, rf"attention-training {re.escape(__version__)}\n"),
        (
            [],
            1,
            r"error: training needs the module 'pyarrow': pip install '\.\[training\]' in the copy of the repository\n",
        ),
    ],
    ids=["help", "version", "training"],
)
def test_without_the_training_libraries_the_message_says_how_to_install_them(
    arguments: list[str], code: int, printed: str
) -> None:
    """`--help` and `--version` work without them; a training ends in one line."""
    outcome = subprocess.run(
        [sys.executable, "-c", BARE, *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert outcome.returncode == code
    assert re.fullmatch(printed, outcome.stdout + outcome.stderr, re.DOTALL)
