"""`Result.explain`: the numbers are those of the service, and an explanation draws each of its answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter

from service.app import create_app
from service.artifact.occlusion import MEASURED, REPLACEMENTS, ImportanceOf, Replacement
from service.charts.chart import Text
from service.settings import Settings
from tests.conftest import connect
from tests.imported import imported_card, of_tokens, write_imported
from tests.sensors import long_frame, sensors
from training import TrainingError, load
from training.result import Result

X, LABELS = sensors()


@pytest.mark.anyio
@pytest.mark.parametrize("replacement", REPLACEMENTS)
@pytest.mark.parametrize("importance", MEASURED)
async def test_the_service_measures_the_same(
    monitored: Result, importance: ImportanceOf, replacement: Replacement
) -> None:
    """Each importance equals that of `POST /predict`; what was not asked for is None."""
    app = create_app(Settings(artifacts=monitored.directory.parent.parent, model="monitored"))
    body = {"sequences": X[:6].tolist(), "importance": importance, "replacement": replacement}
    async with app.router.lifespan_context(app), connect(app) as client:
        answers = (await client.post("/predict", json=body)).json()["predictions"]
    explanation = monitored.explain(X[:6], importance, replacement)
    for name in ("attention", "importance", "feature_importance", "cell_importance"):
        found = getattr(explanation, name)
        assert (found is None) == (name not in answers[0])
        if found is not None:
            np.testing.assert_allclose(found, [one[name] for one in answers], atol=1e-6)
    assert explanation.label is not None
    assert explanation.label.tolist() == [one["label"] for one in answers]


@pytest.mark.anyio
async def test_lengths_gaps_categories_and_static_features(categorized: Path) -> None:
    """Importance equals the service's there, too, and a chart ends where the sequence ends."""
    from tests.categorized import sample

    sequences = sample()[:4]
    result = load(categorized / "goods")
    explanation = result.explain(sequences)
    async with connect(create_app(Settings(artifacts=categorized))) as client:
        body = {"sequences": [_without_end(one) for one in sequences], "importance": "both"}
        answers = (await client.post("/predict", json=body)).json()["predictions"]
    assert explanation.cell_importance is not None
    for cells, one in zip(explanation.cell_importance, answers, strict=True):
        np.testing.assert_allclose(cells[: len(one["cell_importance"])], one["cell_importance"], atol=1e-6)
    texts = [one.text for one in explanation.plot(sequence=1).shapes if isinstance(one, Text)]
    assert [text for text in texts if text in {"0", "3", "4"}].count("3") == 1
    assert "4" not in texts
    assert any("; not shown: " in text and "colour" in text for text in texts)
    assert [text.partition(":")[0] for text in texts if ": " in text][:2] == [
        "goods version 1, sequence 1",
        "the sequence",
    ]


def _without_end(sequence: np.ndarray[Any, Any]) -> list[list[float | None]]:
    """Return a sequence as JSON has it: without its last absent timesteps, and null for a missing value."""
    length = np.flatnonzero(~np.isnan(sequence).all(axis=1))[-1] + 1
    return [[None if np.isnan(value) else value for value in step] for step in sequence[:length].tolist()]


def test_a_frame_and_a_file_give_their_names(monitored: Result, tmp_path: Path) -> None:
    """The title of a chart has the model, the sequence and the class."""
    frame = long_frame().drop(columns="state")
    frame.to_csv(tmp_path / "new.csv", index=False)
    for data in (frame, str(tmp_path / "new.csv")):
        explanation = monitored.explain(data, importance="features")
        assert explanation.plot(sequence=1).title == "monitored version 1, m1: fine"
    assert monitored.explain(X[0]).plot().title == "monitored version 1, sequence 0: failed"
    assert str(explanation) == "Explanation(title='monitored version 1')"


def test_the_most_important_part_is_that_which_decides(monitored: Result) -> None:
    """A machine failed if its vibration was high on day 2."""
    explanation = monitored.explain(X[LABELS == "failed"])
    assert explanation.cell_importance is not None
    highest = explanation.cell_importance.reshape(-1, X[0].size).argmax(axis=1)
    assert (highest == 2 * 2 + 1).mean() > 0.9


def test_notebooks_show_the_first_answer(monitored: Result, tmp_path: Path) -> None:
    """The charts are HTML; each of them is a picture that a file may keep."""
    explanation = monitored.explain(X[:2])
    for shown, count in ((explanation, 2), (monitored.explain(X[:2], "timesteps"), 1)):
        page = DisplayFormatter().format(shown)[0]["text/html"]  # type: ignore[no-untyped-call]
        assert page.count("<svg") == count
    explanation.plot("cells", sequence=1).save(tmp_path / "cells.png")
    assert (tmp_path / "cells.png").read_bytes().startswith(b"\x89PNG")


def test_tokens_have_their_words_below(tmp_path: Path) -> None:
    """There are no lines of them, as a token is no size."""
    tokens = {"least": 0, "most": 9, "vocabulary": {"the": 1, "cat": 2, "sat": 3}}
    card = imported_card("words", timesteps=6, features=1, tokens=tokens, baseline=((0,),) * 6, variable_length=True)
    sequences = np.array([[1, 2, 3, 9, np.nan, np.nan]] * 2, np.float32)[..., np.newaxis]
    write_imported(tmp_path, of_tokens(), card, sequences)
    chart = load(tmp_path / "words").explain(sequences, "timesteps").plot()
    texts = [one.text for one in chart.shapes if isinstance(one, Text)]
    assert texts[-5:] == ["the", "cat", "sat", "9", "timestep"]
    assert not any(text.startswith("the sequence") for text in texts)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda result: result.explain(X, "all"), "importance: expected one of timesteps, features, both, got 'all'"),
        (lambda result: result.explain(X, replacement="mean"), "replacement: expected one of baseline, marginal, got"),
        (lambda result: result.explain(pd.Series([1.0])), r"x: expected sequences \(n, timesteps, features\), got"),
        (
            lambda result: result.explain(X[:1]).plot("diagram"),
            "chart: expected one of timesteps, features, cells, got",
        ),
        (lambda result: result.explain(X[:1]).plot(sequence=1), "sequence: expected an index below 1, got 1"),
        (
            lambda result: result.explain(X[:1], "timesteps").plot("cells"),
            'the explanation has no importance of features at timesteps; importance="both" measures all',
        ),
    ],
    ids=["importance", "replacement", "data", "chart", "index", "not measured"],
)
def test_a_mistake_is_one_line(monitored: Result, ask: Callable[[Result], Any], message: str) -> None:
    """The message lists what there is."""
    with pytest.raises(TrainingError, match=message):
        ask(monitored)


def test_a_single_kept_sequence_is_no_distribution(tmp_path: Path) -> None:
    """The message names the replacement that there is."""
    golden = np.array([[2, 3, 4, 5, 6, 7]], np.float32)[:, :, np.newaxis]
    tokens = {"least": 0, "most": 9}
    card = imported_card("words", timesteps=6, features=1, tokens=tokens, baseline=((2,),) * 6)
    write_imported(tmp_path, of_tokens(), card, golden)
    with pytest.raises(TrainingError, match=r"replacement: expected 'baseline', as .* keeps a single sequence, got "):
        load(tmp_path / "words").explain(golden, replacement="marginal")


def test_without_a_baseline_there_is_no_importance(monitored: Result) -> None:
    """Earlier versions have none on their card."""
    older = Result(monitored.directory, monitored.card.model_copy(update={"baseline": None}))
    with pytest.raises(TrainingError, match="has no baseline on its card, which importance needs: train it again"):
        older.explain(X)
