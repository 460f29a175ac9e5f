"""The table of versions shows common facts, differing options and missing values."""

import csv
import io
import json
import sys
from datetime import datetime
from pathlib import Path

import pytest

from service.artifact.card import Agreement, FeatureImportance, Importance, ModelCard, Repeats
from service.artifact.version import Artifact
from tests.placeholder import complete_card
from tests.samples import card, record
from training.__main__ import main
from training.compare import table

FULL = card(
    timesteps=3,
    metrics={"accuracy": 0.75, "loss": 0.5},
    importance=Importance(metric="accuracy", drop=(0.0, 0.3, 0.1), spread=(0.0,) * 3, sequences=9, repetitions=1),
    agreement=Agreement(rank_correlation=0.5, top=(1,), attention=0.25, importance=0.75),
    feature_importance=FeatureImportance(
        metric="accuracy", drop=(0.1, 0.3), spread=(0.0,) * 2, sequences=9, repetitions=1
    ),
    faithfulness=complete_card().faithfulness,
    repeats=Repeats(
        seeds=(0, 1),
        metrics={"accuracy": (0.75, 0.25)},
        attention=(0.0,) * 3,
        attention_spread=(0.0,) * 3,
        importance=(0.0,) * 3,
        importance_spread=(0.0,) * 3,
    ),
    training=record(epochs=1, batch_size=32, class_weight={"a": 2.0}),
)
BARE = card(timesteps=3, variable_length=True, metrics={"r2": 0.5}, training=record(epochs=3, batch_size=32))


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each line, by the first cell."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return {first: rest for first, *rest in lines}


def test_each_version_is_a_column() -> None:
    """A missing value is a dash; several seeds add mean and standard deviation."""
    shown = rows(table({("m", 1): FULL, ("m", 3): BARE}))
    assert shown["m"] == ["version 1", "version 3"]
    assert shown["shape"] == ["3 × 2", "up to 3 × 2"]
    assert shown["accuracy"] == ["0.7500 (0.5000 ± 0.2500)", "-"]
    assert shown["loss"] == ["0.5000", "-"]
    assert shown["r2"] == ["-", "0.5000"]
    assert shown["importance, most"] == ["1 (0.750)", "-"]
    assert shown["feature, most"] == ["1 (0.750)", "-"]
    assert shown["rank correlation"] == ["0.5000", "-"]
    assert FULL.faithfulness is not None
    finds = FULL.faithfulness.attention_finds
    assert shown["attention finds"] == [finds, "-"]
    areas = [f"{one.comprehensiveness_area:.4f}" for one in FULL.faithfulness.removals]
    assert [shown[f"comprehensiveness by {one.order}"][0] for one in FULL.faithfulness.removals] == areas
    assert shown["attention on top"] == ["0.2500", "-"]


def test_only_differing_options_are_listed() -> None:
    """An option that one version lacks or does not set is a dash; with another value elsewhere it is listed, too."""
    shown = rows(table({("m", 1): FULL, ("m", 3): BARE}))
    assert {name: cells for name, cells in shown.items() if name.startswith("--")} == {
        "--class-weight": ['{"a": 2.0}', "-"],
        "--epochs": ["1", "3"],
    }
    assert not any(name.startswith("--") for name in rows(table({("m", 1): FULL, ("m", 2): FULL})))
    unset = BARE.model_copy(update={"training": record(epochs=3, batch_size=32, class_weight=None, seed=None)})
    assert "None" not in table({("m", 1): FULL, ("m", 3): unset})
    assert not any(name.startswith("--") for name in rows(table({("m", 1): BARE, ("m", 3): unset})))


def test_columns_are_aligned() -> None:
    """A column starts at the same position in every line."""
    first, *rest = table({("m", 1): FULL, ("m", 3): BARE}).splitlines()
    start = first.index("version 3")
    assert all(line[start - 2 : start] == "  " and line[start] != " " for line in rest)


def write(home: Path, number: int, described: ModelCard) -> None:
    artifact = Artifact(home / str(number))
    artifact.card_path.parent.mkdir(parents=True)
    artifact.card_path.write_text(described.model_dump_json())
    (artifact.directory / "saved_model.pb").write_text("graph")
    artifact.write_sums()


@pytest.fixture
def artifacts_of_m(tmp_path: Path) -> Path:
    """Write versions 1 to 6 of a model m, of which 5 is damaged."""
    for number in range(1, 7):
        write(tmp_path / "m", number, FULL)
    (tmp_path / "m" / "5" / "saved_model.pb").write_text("another")
    return tmp_path


def compare(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "compare", *arguments])
    main()


@pytest.mark.parametrize(
    ("arguments", "versions"),
    [(("--versions", "1,3"), ["1", "3"]), (("--last", "1"), ["6"]), (("--versions", "4,2"), ["4", "2"])],
)
def test_comparing_is_a_command(
    artifacts_of_m: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    versions: list[str],
) -> None:
    """`compare` shows the given versions or the newest ones."""
    compare(monkeypatch, "m", *arguments, "--artifacts", str(artifacts_of_m))
    assert rows(capsys.readouterr().out)["m"] == [f"version {version}" for version in versions]


def test_a_damaged_version_does_not_hide_the_others(
    artifacts_of_m: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The damaged file is named below the table."""
    compare(monkeypatch, "m", "--versions", "4,5", "--artifacts", str(artifacts_of_m))
    *compared, last = capsys.readouterr().out.strip().split("\n")
    assert rows("\n".join(compared))["m"] == ["version 4"]
    assert last.startswith("version 5 is damaged: ")
    assert "saved_model.pb" in last


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("n",), "error: no versions of a model 'n' in "),
        (("m", "--versions", "1,7,8"), "error: no version 7 of model 'm': there are 1, 2, 3, 4, 5, 6"),
        (("m", "--versions", "5"), "version 5 is damaged: "),
        (("m/7", "n"), "error: no version 7 of model 'm': there are 1, 2, 3, 4, 5, 6"),
        (("m/2", "--versions", "1"), "error: --versions: expected one model without a version, got m/2"),
        (("m", "n", "--versions", "1"), "error: --versions: expected one model without a version, got m n"),
        (("m/x",), '/[1-9][0-9]*)?$, got "m/x" (see python -m training compare --help)'),
        (("m", "--versions", "0"), "--versions[0]: expected a number above 0"),
    ],
)
def test_a_failed_comparison_ends_in_one_line(
    artifacts_of_m: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    """The model or version does not exist, or is damaged."""
    with pytest.raises(SystemExit) as caught:
        compare(monkeypatch, *arguments, "--artifacts", str(artifacts_of_m))
    assert message in str(caught.value)
    assert str(caught.value).startswith("error: ")
    assert "\n" not in str(caught.value)


def test_models_of_any_names_stand_side_by_side(
    artifacts_of_m: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name alone is its newest version beside others, and a version may be named."""
    write(artifacts_of_m / "other", 3, BARE)
    compare(monkeypatch, "other", "m/2", "m", "--artifacts", str(artifacts_of_m))
    assert rows(capsys.readouterr().out)["version"] == ["other/3", "m/2", "m/6"]
    compare(monkeypatch, "other", "m/5", "--artifacts", str(artifacts_of_m))
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith("m version 5 is damaged: ")


def test_programs_read_json_or_csv(
    artifacts_of_m: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each version is a record or a row: numbers are not rounded, and a damaged version has an error."""
    write(artifacts_of_m / "other", 3, BARE)
    names = ("m/1", "other", "m/5", "--artifacts", str(artifacts_of_m))
    compare(monkeypatch, *names, "--format", "json")
    assert FULL.importance is not None
    assert FULL.importance.mass is not None
    first, second, third = json.loads(capsys.readouterr().out)
    assert (first["model"], first["version"], second["model"], second["version"]) == ("m", 1, "other", 3)
    assert first["metrics"] == {"accuracy": 0.75, "loss": 0.5, "r2": None}
    assert first["importance, most"] == {"label": "1", "share": FULL.importance.mass[1]}
    assert datetime.fromisoformat(first["created"]) == FULL.created
    assert first["metrics of seeds"] == {"accuracy": [0.75, 0.25]}
    assert first["importance of features"] == {"0": 0.1, "1": 0.3}
    assert second["options"] == {"class_weight": None, "epochs": 3}
    assert "saved_model.pb" in third["error"]
    compare(monkeypatch, *names, "--format", "csv")
    read = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["model"], row["version"]) for row in read] == [("m", "1"), ("other", "3"), ("m", "5")]
    assert [row["metrics: accuracy"] for row in read] == ["0.75", "", ""]
    assert json.loads(read[0]["metrics of seeds: accuracy"]) == [0.75, 0.25]
    assert json.loads(read[0]["options: class_weight"]) == {"a": 2.0}
    assert (read[0]["importance, most: label"], read[0]["importance, most: share"][:4]) == ("1", "0.74")
    assert [bool(row["error"]) for row in read] == [False, False, True]
