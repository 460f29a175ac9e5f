"""The command line is built from the options: a help that people can read, and mistakes in one line."""

import re

import pytest
from pydantic import BaseModel, Field

from service.problems import did_you_mean
from training import TrainingError
from training.command_line import read_arguments
from training.options import Check, Compare, Import, Options, Prune


class Baking(BaseModel):
    """Bake a cake.

    It takes an hour.
    """

    cake: str = Field(description="name of the cake")
    layers: int = Field(2, description="number of layers, 100 % optional")
    fruit: tuple[str, ...] = Field((), description="fruit")
    sweet: bool = Field(default=False, description="add sugar")
    weight: dict[str, float] = Field(default={}, description="weight of a fruit")


def read(*arguments: str) -> dict[str, object]:
    return read_arguments(Baking, arguments, "bake", {"Cake": ("layers", "fruit")}, positional=("cake",))


def test_only_given_values_are_returned() -> None:
    """Values are text; defaults are left to the model."""
    assert read("plum") == {"cake": "plum"}
    assert read("plum", "--layers", "3", "--sweet") == {"cake": "plum", "layers": "3", "sweet": True}
    assert read("plum", "--no-sweet") == {"cake": "plum", "sweet": False}


def test_names_are_separated_by_commas_outside_of_quotes() -> None:
    """A name with a comma is quoted, as in CSV."""
    assert read("plum", "--fruit", 'plum,"fig, dried"', "--fruit", "pear")["fruit"] == ["plum", "fig, dried", "pear"]


def test_a_pair_is_split_at_its_last_equals_sign() -> None:
    """Names may have commas and equals signs."""
    given = read("plum", "--weight", "a, b=5", "--weight", "c=d=0.5")
    assert given["weight"] == {"a, b": "5", "c=d": "0.5"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plum", "--layer", "3"], "expected an option, got '--layer'; did you mean '--layers'?"),
        (["plum", "--Layers=3"], "expected an option, got '--Layers=3'; did you mean '--layers'?"),
        (["plum", "--oven", "3"], "expected an option, got '--oven'"),
        (["plum", "apple"], "expected an option, got 'apple'"),
        (["plum", "--layers"], "--layers: expected a value, got none"),
        (["plum", "--weight", "fig:5"], "--weight: expected CLASS=WEIGHT, got 'fig:5'"),
        (["plum", "--sweet=very"], "--sweet/--no-sweet: ignored explicit argument 'very'"),
        ([], "the following arguments are required: CAKE"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str) -> None:
    """The line gives what came, and a near option if there is one."""
    with pytest.raises(TrainingError) as caught:
        read(*arguments)
    assert str(caught.value) == message


def test_the_help_has_groups_words_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """An option in no group is under "options"."""
    with pytest.raises(SystemExit):
        read("--help")
    printed = capsys.readouterr().out
    assert printed.startswith("usage: bake CAKE [OPTION ...]\n\nBake a cake.\n")
    group = printed[printed.index("Cake:") :]
    assert re.search(r"--layers NUMBER +number of layers, 100 % optional \(default: 2\)\n", group)
    assert "--fruit TEXT[,TEXT]" in group
    assert "--weight CLASS=WEIGHT" in printed[printed.index("options:") : printed.index("Cake:")]
    assert printed.endswith("It takes an hour.\n")


@pytest.mark.parametrize("command", [Options, Prune, Compare, Import, Check])
def test_every_help_fits_80_columns(
    command: type[Options | Prune | Compare | Import | Check],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no Python types, on a narrow and on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        command.from_command_line(["--help"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert not re.search(r"\b(str|int|float|tuple|dict|Path|None|NoneType)\b", printed)


def test_every_option_is_in_one_group() -> None:
    """The help has the groups; a new option needs one."""
    grouped = [name for names in Options.groups.values() for name in names]
    assert sorted(grouped) == sorted(Options.model_fields)


def test_a_near_word_is_proposed() -> None:
    """Upper and lower case do not matter; a word that is far from all others has no proposal."""
    assert did_you_mean("Temprature", ["temperature", "pressure"]) == "; did you mean 'temperature'?"
    assert did_you_mean("STATE", ["state"]) == "; did you mean 'state'?"
    assert did_you_mean("machine", ["day", "outcome"]) == ""
