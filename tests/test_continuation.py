"""The continuation of a published version: options, contract and weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training
from service.artifact.card import CrossValidation, Scaling, Target, TrainingRecord
from service.artifact.version import Artifact
from tests.placeholder import complete_card, write_version
from tests.samples import dataset
from tests.sensors import sensors
from training import TrainingError
from training.continuation import as_continued, with_published
from training.data import Dataset, Scale
from training.options import Options

#: The options and the scaling of the version that `publish` writes.
RECORDED = {"data": "then.csv", "units": 8, "epochs": 9, "seed": 3, "test_data": "held.csv", "resume": True}
SCALING = Scaling(mean=(1.0, 2.0), deviation=(3.0, 4.0))
THREE = Target(task="multiclass", classes=("x", "y", "z"))

SEVERAL = Target(task="multilabel", classes=("0", "1"))


def publish(folder: Path, record: dict[str, Any] | None = None, **fields: Any) -> None:
    """Write a version without a graph, `m/1`, of 4 timesteps and the features a and b."""
    of_record = {"options": RECORDED, "libraries": {}, "sequences": 9, "parameters": 9, "seconds": 1.0}
    made = TrainingRecord(**{**of_record, "scaling": SCALING, **(record or {})})
    artifact = write_version(folder / "m" / "1")
    artifact.card_path.write_text(
        complete_card(**{"training": made, "cross_validation": None, **fields}).model_dump_json()
    )
    artifact.write_sums()


def options(folder: Path, **given: Any) -> Options:
    return Options(**{"artifacts": folder, "continue_": "m", **given})


def fitting_data(shape: tuple[int, int, int] = (6, 4, 2), **changes: Any) -> Dataset:
    """Return data that fit the version."""
    data = dataset(
        np.zeros(shape), changes.pop("y", None), changes.pop("target", Target(task="binary", classes=("0", "1")))
    )
    return replace(data, **{"feature_labels": ("a", "b")[: shape[2]], **changes})


def test_a_fit_begins_with_the_published_weights_and_scaling(tmp_path: Path) -> None:
    """A fit with tiny steps on data of another scale changes no prediction; the card says what it continued."""
    x, y = sensors()
    shape = {"architecture": "additive", "units": 3, "bidirectional": True}
    first = training.train(x, y, name="m", artifacts=tmp_path, epochs=2, publish_anyway=True, **shape)
    more = {"epochs": 1, "learning_rate": 1e-12, "publish_anyway": True}
    second = training.train(3 * x + 50, y, continue_="m/1", artifacts=tmp_path, **more)
    assert second.directory == tmp_path / "m" / "2"
    assert first.card.training is not None
    assert second.card.training is not None
    assert second.card.training.continued_from == "m/1"
    assert {name: second.card.training.options[name] for name in shape} == shape
    assert second.card.training.scaling == first.card.training.scaling
    assert any("m/1 was not fitted on the held-out sequences" in hint for hint in second.card.hints)
    before, after = (one.predict(x)["prediction"] for one in (first, second))
    assert np.ptp(before) > 0.01
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_fit_learns_more(tmp_path: Path) -> None:
    """The loss of the first further epoch is lower than that of the first epoch."""
    x, y = sensors()
    same = {"artifacts": tmp_path, "learning_rate": 0.03, "publish_anyway": True}
    first = training.train(x, y, name="m", architecture="after_lstm", units=3, epochs=8, batch_size=8, **same)
    second = training.train(x, y, continue_="m", **same)
    assert second.card.training is not None
    assert second.card.training.epochs == 8
    assert second.history["loss"][0] < first.history["loss"][0] * 0.8


def test_options_that_are_not_given_are_those_of_the_version(tmp_path: Path) -> None:
    """Given ones stay, those about this training alone are not taken, and doing it twice changes nothing."""
    publish(tmp_path)
    taken = with_published(options(tmp_path, epochs=2))
    assert (taken.continue_, taken.model_name, taken.architecture, taken.task) == (
        "m/1", "m", "after_lstm", "classification",
    )  # fmt: skip
    assert (taken.data, taken.test_data, taken.units, taken.seed) == ("then.csv", "held.csv", 8, 3)
    assert (taken.epochs, taken.resume, taken.artifacts) == (2, False, tmp_path)
    assert with_published(taken) == taken
    assert with_published(options(tmp_path, data="now.csv")).test_data is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"units": 9}, "--continue m/1: expected units 8, as the version has, got 9"),
        (
            {"architecture": "auto"},
            "--continue m/1: expected architecture 'after_lstm', as the version has, got 'auto'",
        ),
        ({"loss": "huber"}, "--continue m/1: expected loss 'mean_squared_error', as the version has, got 'huber'"),
        ({"seed": 4}, "--continue m/1: expected seed 3, which held out what the version was not fitted on, got 4"),
        ({"continue_": "m/2"}, "--continue: expected a version of m, 1, got 2"),
        ({"continue_": "mm"}, "--continue: no model 'mm' in .*; did you mean 'm'"),
    ],
)
def test_options_that_contradict_the_version_are_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    """The message has the expected value and the actual one."""
    publish(tmp_path)
    with pytest.raises(TrainingError, match=message):
        with_published(options(tmp_path, **given))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "minirocket"}, "a minirocket model is fitted at once: train again with all data"),
        ({"training": None}, "expected a version that was trained here, got an imported one"),
        ({"record": {"scaling": None}}, "an earlier release published it without its scaling"),
        (
            {"record": {"options": {"data": "frame"}}},
            "it was trained on data in memory, which are not kept: expected data",
        ),
        (
            {"cross_validation": CrossValidation(folds=2, metrics={"accuracy": (1.0, 1.0)})},
            "it was fitted on all its data: expected other --data, to judge it on",
        ),
    ],
)
def test_versions_that_cannot_be_continued_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    """The message says why, and what to do."""
    publish(tmp_path, **fields)
    with pytest.raises(TrainingError, match=f"--continue m/1: {message}"):
        with_published(options(tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (fitting_data(feature_labels=("a", "c")), "feature 2: expected 'b', got 'c'"),
        (fitting_data((6, 4, 1)), "feature 2: expected 'b', got 'nothing'"),
        (fitting_data(static_labels=("a",)), "static feature 1: expected 'nothing', got 'a'"),
        (fitting_data(categories={"b": ("u",)}), "category 1: expected 'nothing', got 'b'"),
        (fitting_data((6, 5, 2)), "expected 4 timesteps, got 5"),
        (fitting_data((6, 3, 2)), "expected 4 timesteps, got 3"),
        (fitting_data(timestep_labels=("0", "2", "1", "3")), "timestep 2: expected '1', got '2'"),
        (fitting_data(variable_length=True), "expected 4 timesteps in each sequence, got shorter ones"),
        (fitting_data(missing_values=True), "expected no missing values, got some"),
        (fitting_data(target=THREE), "expected classes of 0, 1, got x"),
        (fitting_data(target=SEVERAL), "expected a binary target, got multilabel"),
        (fitting_data(target=Target(task="regression", names=("n",))), "expected a binary target, got regression"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_the_version_are_refused(tmp_path: Path, data: Dataset, message: str) -> None:
    """The message has what was expected and what came."""
    publish(tmp_path)
    with pytest.raises(TrainingError) as caught:
        as_continued(data, options(tmp_path, continue_="m/1"))
    assert str(caught.value) == f"--continue m/1: {message}"


def test_data_may_lack_a_class(tmp_path: Path) -> None:
    """Labels get the published indices, and the target has all classes."""
    publish(tmp_path, target=THREE)
    data = fitting_data(y=np.array([0, 1, 1, 0, 1, 0]), target=Target(task="binary", classes=("x", "z")))
    continued = as_continued(data, options(tmp_path))
    assert continued.target == THREE
    assert continued.train.y.tolist() == [0, 2, 2, 0, 2, 0]


def test_data_may_have_one_class_alone(tmp_path: Path) -> None:
    """A fit on it keeps both classes; without a version, one class is refused, and so is an unknown one."""
    x, y = sensors()
    training.train(x, y, name="m", artifacts=tmp_path, architecture="additive", units=3, epochs=1, publish_anyway=True)
    one = np.full(len(x), y[0])
    more = training.train(x, one, continue_="m", artifacts=tmp_path, epochs=1, publish_anyway=True)
    assert more.card.target.classes == tuple(sorted(set(y.tolist())))
    assert more.card.metrics["accuracy"] >= 0
    with pytest.raises(TrainingError, match=r"--continue m/2: expected classes of .*, got other"):
        training.train(x, np.full(len(x), "other"), continue_="m", artifacts=tmp_path)
    with pytest.raises(TrainingError, match=r"expected 2 to 10,000 classes, got .* alone"):
        training.train(x, one, name="m", artifacts=tmp_path)


def test_data_may_have_fewer_values_of_a_category_and_shorter_sequences(tmp_path: Path) -> None:
    """Indices become the published ones; sequences are padded with absent timesteps, in memory or not."""
    gaps: dict[str, Any] = {"variable_length": True, "missing_values": True}
    publish(tmp_path, categories={"b": ("u", "v", "w")}, tokens=None, **gaps)
    data = fitting_data((2, 3, 2), categories={"b": ("u", "w")})
    data.train.x[0, :, 1] = [0, 1, np.nan]  # type: ignore[index]
    expected = [[0, 0], [0, 2], [0, np.nan], [np.nan, np.nan]]
    on_disk = replace(data, train=replace(data.train, x=Behind(data.train.x)))
    for some in (data, on_disk):
        continued = as_continued(some, options(tmp_path))
        assert continued.train.x.shape == (2, 4, 2)
        np.testing.assert_array_equal(continued.train.x[:1][0], expected)
        assert (continued.variable_length, continued.missing_values) == (True, True)
        assert continued.timestep_labels == ("0", "1", "2", "3")
        assert continued.scale is not None
        assert continued.scale.mean.tolist() == [1.0, 2.0]
    unknown = fitting_data(categories={"b": ("u", "x")})
    with pytest.raises(TrainingError, match="feature 'b': expected values of u, v, w, got x"):
        as_continued(unknown, options(tmp_path))


class Behind:
    """Sequences that are read on access, as from a file."""

    def __init__(self, x: Any) -> None:
        self._x = x
        self.shape = x.shape

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, rows: Any) -> Any:
        return self._x[rows]


def test_predicted_numbers_keep_their_scale(tmp_path: Path) -> None:
    """It is that of the version, and not of the new numbers."""
    target = Target(task="regression", names=("n",))
    scaling = SCALING.model_copy(update={"target_mean": (5.0,), "target_deviation": (2.0,)})
    publish(tmp_path, {"scaling": scaling}, target=target)
    data = fitting_data(y=np.arange(6, dtype=np.float32)[:, np.newaxis], target=target)
    scale = as_continued(data, options(tmp_path)).target_scale
    assert isinstance(scale, Scale)
    assert (scale.mean.tolist(), scale.deviation.tolist()) == ([5.0], [2.0])


def test_a_changed_version_is_not_continued(tmp_path: Path) -> None:
    """Its checksums are compared first."""
    publish(tmp_path)
    artifact = Artifact(tmp_path / "m" / "1")
    artifact.card_path.write_text(artifact.card_path.read_text() + " ")
    with pytest.raises(Exception, match=r"card\.json"):
        with_published(options(tmp_path))
