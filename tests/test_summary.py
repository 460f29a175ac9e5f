"""The summary of a version has a row a topic, and ends with what to do next."""

import re
from pathlib import Path
from typing import Any

import pytest

from service.artifact.card import Faithfulness, FeatureImportance, Importance, Repeats
from service.artifact.version import Artifact
from tests.imported import ORIGIN
from tests.placeholder import complete_card
from tests.samples import card
from training.summary import ROWS, summary


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes a card, and returns the rows of its summary by topic, and the last lines."""
    monkeypatch.chdir(tmp_path)

    def of(folder: str = "artifacts", **fields: Any) -> tuple[dict[str, list[str]], list[str]]:
        version = Path(folder, "m", "3")
        artifact = Artifact(version)
        artifact.card_path.parent.mkdir(parents=True)
        artifact.card_path.write_text(card(**fields).model_dump_json())
        heading, *lines = summary(version).splitlines()
        assert heading == f"m version 3: {version}"
        end = lines.index("")
        rows, topic = dict[str, list[str]](), ""
        for line in lines[:end]:
            topic = line[2:13].strip() or topic
            rows.setdefault(topic, []).append(line[14:])
        return rows, lines[end + 1 :]

    return of


def test_a_topic_without_text_has_no_row(published: Any) -> None:
    """A plain card has neither importance, seeds, hints nor lowering."""
    rows, _ = published()
    assert list(rows) == ["trained on", "held out", "attention", "chart"]
    assert rows["held out"] == ["1 sequences: accuracy 0.5000"]
    assert set(rows) - {"chart"} <= set(ROWS)


def test_faithfulness_that_was_not_measured_is_said(published: Any) -> None:
    """The sentence stands alone."""
    unmeasured = Faithfulness(
        sequences=0, fractions=(), removals=(), attention_finds=None, verdict="Not measured: …", metric="accuracy"
    )
    assert published(faithfulness=unmeasured)[0]["faithful"] == ["Not measured: …"]


def test_the_sentence_on_attention_stands_before_its_numbers(published: Any) -> None:
    """Areas of each order follow, and the metric with other attention; features have their shares, highest first."""
    complete = complete_card()
    features = FeatureImportance(metric="accuracy", drop=(0.1, 0.3), spread=(0.0, 0.0), sequences=9, repetitions=1)
    rows, _ = published(faithfulness=complete.faithfulness, feature_importance=features)
    assert rows["features"] == ["share of importance: 1 75 %, 0 25 %"]
    assert rows["faithful"] == [
        "Attention finds only a part of what matters here: read importance beside it.",
        "how far predictions move, with 95 % intervals:",
        "without the top timesteps: 0.4 (0.4 to 0.4) by attention, 0.5 (0.5 to 0.5) by importance, "
        "0.1 (0.1 to 0.1) at random",
        "with these alone: 0.4 (0.4 to 0.4) by attention, 0.5 (0.5 to 0.5) by importance, 0.1 (0.1 to 0.1) at random",
        "accuracy 0.9000 with uniform attention, 0.5000 with permuted",
    ]


def test_a_hint_is_a_line(published: Any) -> None:
    """Each hint of the card stands below the other."""
    rows, _ = published(hints=("few sequences", "column 'a' only counts the rows"))
    assert rows["hints"] == ["few sequences", "column 'a' only counts the rows"]


def test_an_imported_model_was_run_on_examples(published: Any) -> None:
    """They were not held out by a training, and without labels nothing is measured on them."""
    rows, _ = published(training=None, origin=ORIGIN, metrics={})
    assert rows["examples"] == ["1 sequences: labels (y) would give metrics and importance"]
    assert "held out" not in rows


def test_importance_has_a_row(published: Any) -> None:
    """It has the timestep that matters most; with attention, the row says how both agree."""
    drop = (0.0,) * 7 + (0.25,) + (0.0,) * 12
    importance = Importance(metric="accuracy", drop=drop, spread=(0.0,) * 20, sequences=9, repetitions=1)
    rows, _ = published(importance=importance, attention=None)
    drops = "accuracy drops by up to 0.25 when the values of a timestep are exchanged between 9 sequences"
    assert rows["importance"] == [f"{drops}: most at timestep 7"]
    agreement = {"rank_correlation": 0.413, "top": (7, 8), "attention": 0.08, "importance": 1.0}
    rows, _ = published("beside", importance=importance, agreement=agreement)
    assert rows["importance"] == [
        f"{drops}; timesteps 7, 8 have 100 % of importance and 8.0 % of attention; "
        "their orders of the timesteps agree by 0.41 (1: the same, 0: unrelated)"
    ]


def test_it_ends_with_the_commands_that_use_the_model(published: Any) -> None:
    """The folder is named if the service would look in another one."""
    assert published()[1] == [
        "serve it:     attention-service --model m",
        "then open     http://127.0.0.1:8000",
        "score files:  attention-service score FILE OUTPUT --model m",
    ]
    assert published("my models")[1][0] == "serve it:     attention-service --model m --artifacts 'my models'"


def test_seeds_have_mean_and_deviation(published: Any) -> None:
    """The row has the number of seeds, and each metric over them."""
    importance = Importance(metric="accuracy", drop=(0.0,) * 20, spread=(0.0,) * 20, sequences=9, repetitions=1)
    zeros = (0.0,) * 20
    repeats = Repeats(
        seeds=(0, 1), metrics={"accuracy": (0.5, 0.7)}, attention=zeros, attention_spread=(0.25, *zeros[1:]),
        importance=importance.drop, importance_spread=zeros,
    )  # fmt: skip
    rows, _ = published(repeats=repeats)
    assert rows["seeds"] == ["2: accuracy 0.6000 ± 0.1000; attention differs by up to ±0.250"]


def test_a_trained_model_has_all_measured_topics(artifacts: Path) -> None:
    """Attention, importance, and the lowering."""
    text = summary(artifacts / "three" / "1")
    assert re.search(r"^  attention   highest at timestep 2 \(0\.\d+ of 1\)", text, re.MULTILINE)
    assert re.search(
        r"^  importance  accuracy drops by up to 0\.\d+ when .* between 48 sequences; timestep 2 has ",
        text,
        re.MULTILINE,
    )
    assert re.search(r"^  lowering    ONNX opset 18, within ", text, re.MULTILINE)
