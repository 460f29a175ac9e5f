"""A result predicts as the service does, and shows itself in notebooks."""

from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from IPython.core.formatters import DisplayFormatter

from service.app import create_app
from service.artifact.tensors import Array
from service.settings import Settings
from tests.conftest import connect
from tests.sensors import MACHINES, long_frame, sensors
from training import TrainingError, load
from training.result import Result

X, LABELS = sensors()


def test_arrays_give_arrays(monitored: Result) -> None:
    """Prediction, attention and label of each sequence."""
    answer = monitored.predict(X)
    assert {name: array.shape for name, array in answer.items()} == {
        "prediction": (MACHINES, 1), "attention": (MACHINES, 5), "label": (MACHINES,),
    }  # fmt: skip
    np.testing.assert_allclose(answer["attention"].sum(axis=1), 1, atol=1e-5)
    assert (answer["label"] == LABELS).mean() > 0.9


def test_one_sequence_is_a_batch_of_one(monitored: Result) -> None:
    """The answer for it is that of the batch, for an array and for a list."""
    alone, batch = monitored.predict(X[3]), monitored.predict(X)
    assert alone["prediction"].shape == (1, 1)
    np.testing.assert_array_equal(monitored.predict(X[3].tolist())["attention"], alone["attention"])
    np.testing.assert_allclose(alone["attention"][0], batch["attention"][3], atol=1e-6)


@pytest.mark.anyio
async def test_the_service_gives_the_same(monitored: Result) -> None:
    """Probabilities and attention equal those of `POST /predict`."""
    app = create_app(Settings(artifacts=monitored.directory.parent.parent, model="monitored"))
    async with app.router.lifespan_context(app), connect(app) as client:
        answers = (await client.post("/predict", json={"sequences": X.tolist()})).json()["predictions"]
    answer = monitored.predict(X)
    np.testing.assert_allclose(answer["prediction"][:, 0], [one["prediction"] for one in answers], atol=1e-6)
    np.testing.assert_allclose(answer["attention"], [one["attention"] for one in answers], atol=1e-6)
    assert answer["label"].tolist() == [one["label"] for one in answers]


def test_a_frame_gives_a_frame_of_the_same_kind(monitored: Result) -> None:
    """It has a row a sequence, with the class and the probability of each class."""
    frame = long_frame()
    answer = monitored.predict(frame)
    assert isinstance(answer, pd.DataFrame)
    assert list(answer) == ["machine", "prediction", "probability failed", "probability fine"]
    assert answer["prediction"].tolist() == monitored.predict(X)["label"].tolist()
    np.testing.assert_allclose(answer["probability failed"] + answer["probability fine"], 1, atol=1e-6)
    of_polars = monitored.predict(pl.from_pandas(frame))
    assert isinstance(of_polars, pl.DataFrame)
    assert of_polars["machine"].to_list() == answer["machine"].tolist()
    of_arrow = monitored.predict(pa.Table.from_pandas(frame, preserve_index=False))
    assert isinstance(of_arrow, pa.Table)
    assert of_arrow["prediction"].to_pylist() == answer["prediction"].tolist()


def test_the_target_is_not_needed_and_not_read(monitored: Result) -> None:
    """A frame without the target, or with other values of it, has the same predictions."""
    expected = monitored.predict(long_frame())
    pd.testing.assert_frame_equal(monitored.predict(long_frame().drop(columns="state")), expected)
    pd.testing.assert_frame_equal(monitored.predict(long_frame().assign(state="unknown")), expected)


def test_columns_are_found_by_name(monitored: Result) -> None:
    """Their order and other columns do not matter; the sequences are in the order of their first rows."""
    expected = monitored.predict(long_frame())
    other = long_frame()[["vibration", "state", "day", "machine", "temperature"]].assign(note=1.0)
    backwards = pd.concat([rows for _, rows in reversed(list(other.groupby("machine", sort=False)))])
    answer = monitored.predict(backwards)
    pd.testing.assert_frame_equal(answer, expected[::-1].reset_index(drop=True))


def test_the_metrics_are_those_of_the_card(monitored: Result) -> None:
    """Metrics, and the loss after each epoch."""
    assert monitored.metrics == monitored.card.metrics
    assert monitored.card.training is not None
    assert len(monitored.history["loss"]) == monitored.card.training.epochs
    assert monitored.history["loss"][-1] < monitored.history["loss"][0]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:, :4], r"expected sequences \(n, 5, 2\), got \(60, 4, 2\)"),
        (X[:, :, :1], r"expected sequences \(n, 5, 2\), got \(60, 5, 1\)"),
        (np.full((1, 5, 2), np.inf), "sequence 0, timestep 0, feature 0: expected a finite number, got inf"),
        (np.empty((0, 5, 2)), "expected at least one sequence, got none"),
        (long_frame().drop(columns="machine"), "expected a column 'machine'"),
        (long_frame().rename(columns={"vibration": "vibrations"}), "frame: expected a column 'vibration'"),
        ([[[1.0, "hot"]] * 5], "x: expected numbers, got 'hot'; names of categories come in a frame or a file"),
        ([[[1.0, 2.0]] * 5, [[1.0, "hot"]]], "x: expected numbers, got 'hot'"),
        ({"sequences": X.tolist()}, r"x: expected sequences \(n, timesteps, features\), got dict"),
        ("new.csv", "new.csv: expected a file, got no such file"),
        ("x.npz", r"x\.npz: expected a table \(\.csv, .*\), or its sequences as arrays"),
    ],
    ids=[
        "timesteps",
        "features",
        "infinite",
        "none",
        "without identifier",
        "without feature",
        "a word",
        "a word and lengths",
        "a dictionary",
        "no file",
        "no table",
    ],
)
def test_other_shapes_are_refused(monitored: Result, x: object, message: str) -> None:
    """The message has the shape or the column that is expected."""
    with pytest.raises(TrainingError, match=message):
        monitored.predict(x)


def test_the_path_of_a_table_is_read_as_in_training(monitored: Result, tmp_path: Path) -> None:
    """It gives a frame of pandas; another delimiter and decimal comma are found, and a wrong cell has its line."""
    path, frame = tmp_path / "new.csv", long_frame().drop(columns="state")
    frame.to_csv(path, index=False, sep=";", decimal=",")
    pd.testing.assert_frame_equal(monitored.predict(path), monitored.predict(frame), check_dtype=False)
    frame.to_parquet(tmp_path / "new.parquet")
    pd.testing.assert_frame_equal(monitored.predict(str(tmp_path / "new.parquet")), monitored.predict(frame))
    path.write_text("# of today\nmachine,day,temperature,vibration\nm1,0,60,2\nm1,1,warm,2\n")
    with pytest.raises(TrainingError, match=r"new\.csv, column 'temperature', row 4: expected a number, got 'warm'"):
        monitored.predict(path)


def test_a_model_of_arrays_takes_no_frames(artifacts: object) -> None:
    """Its features have no names."""
    with pytest.raises(TrainingError, match=r"expected arrays \(n, 6, 3\), as in training, got a frame"):
        load(f"{artifacts}/three").predict(long_frame())


def test_classes_by_name_and_numbers(artifacts: object, tabular: object) -> None:
    """Several classes have a probability each; a number is the prediction itself."""
    answer = load(f"{artifacts}/three").predict(np.full((2, 6, 3), 1000.0))
    assert answer["prediction"].shape == (2, 3)
    assert set(answer["label"]) <= {"high", "low", "middle"}
    numbers = load(f"{tabular}/models/machine").predict(pd.read_csv(f"{tabular}/machine.csv"))
    assert list(numbers) == ["prediction"]
    assert len(numbers) == 40


def test_a_wide_frame_has_a_prediction_for_each_row(tabular: object) -> None:
    """Identifier and target may be absent; a frame of pandas keeps its index."""
    meter, table = load(f"{tabular}/models/meter"), pd.read_csv(f"{tabular}/meter.csv")
    expected = meter.predict(table)
    assert list(expected) == ["prediction", "probability summer", "probability winter"]
    some = table.drop(columns=["id", "season"])[10:20]
    pd.testing.assert_frame_equal(meter.predict(some), expected[10:20])


def test_shorter_sequences_and_missing_values(tabular: object) -> None:
    """A model that allows both predicts its own table, and a list of lists of other lengths."""
    visits = load(f"{tabular}/models/visits")
    answer = visits.predict(pd.read_csv(f"{tabular}/visits.csv"))
    assert answer["patient"].tolist() == [f"p{patient}" for patient in range(40)]
    short = visits.predict([[[60, 36.5]], [[61, 36.6], [62, 36.7]]])
    assert short["attention"].shape == (2, visits.card.timesteps)
    assert (short["attention"][0, 1:] == 0).all()


class Half:
    """An engine that is sure of nothing."""

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        return {name: np.full((len(sequences), 1 if name == "prediction" else 5), 0.5, np.float32) for name in outputs}


def test_one_half_is_the_second_class(monitored: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service answers the second of two classes, too."""
    monkeypatch.setattr("training.result.open_verified", lambda *_: SimpleNamespace(engine=Half()))
    assert set(load(monitored.directory).predict(X)["label"]) == {"fine"}


def test_notebooks_show_summary_and_chart(monitored: Result, tmp_path: Path) -> None:
    """The result is HTML with a chart inside; each plot is a picture, which a file may keep."""
    page = DisplayFormatter().format(monitored)[0]["text/html"]  # type: ignore[no-untyped-call]
    assert "held out" in page
    assert "<svg" in page
    for chart in ("training", "learning", "diagram"):
        picture = DisplayFormatter().format(monitored.plot(chart))[0]["image/svg+xml"]  # type: ignore[no-untyped-call]
        assert f"<title>{monitored.card.name} version {monitored.directory.name}: " in picture
    monitored.plot("diagram").save(tmp_path / "diagram.png")
    assert (tmp_path / "diagram.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"expected a name that ends with \.svg or \.png, got 'diagram\.pdf'"):
        monitored.plot("diagram").save(tmp_path / "diagram.pdf")


def test_a_plot_that_is_not_there_is_an_error(monitored: Result) -> None:
    """The message lists the charts, or says what the card lacks."""
    with pytest.raises(TrainingError, match=r"chart: expected one of training, importance, .*, got 'attention'"):
        monitored.plot("attention")  # type: ignore[arg-type]
    older = Result(monitored.directory, monitored.card.model_copy(update={"layers": ()}))
    with pytest.raises(TrainingError, match="has no layers of a Keras model on its card"):
        older.plot("diagram")
