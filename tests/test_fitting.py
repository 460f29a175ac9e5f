"""A fit is Adam on the mean loss, as in Keras's own loop, and keeps the best epoch."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from service.artifact.card import Target
from service.artifact.tensors import PREDICTION
from tests.events import logged
from tests.samples import BINARY, MULTICLASS, REGRESSION, TWO_NUMBERS, dataset, labels
from training import TrainingError, fitting, models
from training.batches import batches_of
from training.checkpoints import Checkpoint
from training.data import Dataset
from training.evaluate import forward, predict
from training.options import Options

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 4, 2)).astype(np.float32)
NUMBERS = np.stack([X[:, 1, 0] * 100 + 1000, X[:, 2, 1] * 0.01], axis=1)
TARGETS = [BINARY, MULTICLASS, REGRESSION, TWO_NUMBERS]
TARGET_NAMES = ["binary", "multiclass", "one number", "two numbers"]


def easy(target: Target) -> Dataset:
    """Return a dataset whose label is written at one timestep."""
    if target.names:
        return dataset(X, NUMBERS[:, : len(target.names)].astype(np.float32), target, scaled=True)
    y = labels(len(X), target)
    x = X.copy()
    x[:, 1, 0] = y * 3
    return dataset(x, y, target, held_out=50)


def build(data: Dataset, options: Options) -> Any:
    keras.utils.set_random_seed(0)
    return models.build(data, options)


def fit(data: Dataset, folder: Path, **options: Any) -> tuple[Any, fitting.FitResult]:
    """Fit a model. Its logs are in the folder."""
    chosen = Options(**{"units": 8, "batch_size": 32, "learning_rate": 0.01, "tensorboard": folder, **options})
    model = build(data, chosen)
    return model, fitting.fit(model, data, chosen, 0, Checkpoint(folder / "checkpoint" / "0.npz"))


def logs_of(folder: Path) -> dict[str, dict[int, float]]:
    return logged(folder / "after-lstm-seed-0")


def predictions(model: Any, data: Dataset) -> Any:
    return predict(forward(model), data.test.x)[:, 0]


@pytest.mark.parametrize("target", TARGETS, ids=TARGET_NAMES)
def test_the_loss_goes_down(target: Target, tmp_path: Path) -> None:
    """The loss falls below half, for classes and for numbers in any units."""
    _, fitted = fit(easy(target), tmp_path, epochs=12)
    assert fitted.sequences == len(easy(target).train) * 9 // 10
    logs = logs_of(tmp_path)
    for name in ("loss", "validation loss"):
        assert list(logs[name]) == list(range(1, 13))
        assert logs[name][12] < 0.5 * logs[name][1]


@pytest.mark.parametrize(
    ("target", "weighted"),
    [*((target, False) for target in TARGETS), (BINARY, True), (MULTICLASS, True)],
    ids=[*TARGET_NAMES, "weighted binary", "weighted multiclass"],
)
def test_a_fit_is_keras_s_own_on_the_same_batches(
    target: Target,
    weighted: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """Weights differ by at most 1e-4 after two epochs with a partial last batch."""
    data = easy(target)
    weights = {name: 1.0 + index for index, name in enumerate(target.classes or ())} if weighted else {}
    settings = {"epochs": 2, "validation_split": 0, "class_weight": weights}
    fitted, _ = fit(data, tmp_path, **settings)

    options = Options(units=8, batch_size=32, learning_rate=0.01, **settings)
    reference = build(data, options)
    deviation = data.target_scale.deviation if target.names else None
    losses: dict[str, Any] = {
        "binary": "binary_crossentropy",
        "multiclass": "sparse_categorical_crossentropy",
        "regression": lambda y, p: keras.ops.mean(((p - y) / deviation) ** 2, axis=-1),
    }
    plain = keras.Model(reference.input, reference.output[PREDICTION])
    plain.compile(keras.optimizers.Adam(0.01), loss=losses[target.task], jit_compile=False)
    class_weights = fitting.class_weights(target, data.train.y, options)
    for epoch in range(2):
        sizes = []
        for x, y, w in batches_of(data.train, class_weights, 32, (0, epoch), 0).as_numpy_iterator():
            rows = w > 0
            sizes.append(rows.sum())
            shares = w[rows] * sizes[-1] / 32
            plain.train_on_batch(x[rows], y[rows], sample_weight=shares)
        assert sizes[-1] < sizes[0] == 32
    for one, other in zip(fitted.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def random_labels() -> Dataset:
    """Return a dataset with random labels: a fit makes the validation loss rise."""
    return dataset(X, RNG.integers(0, 2, len(X)), held_out=20)


def test_the_weights_of_the_best_epoch_are_kept(random_labels: Dataset, tmp_path: Path) -> None:
    """The best epoch has the lowest validation loss, which rises afterwards."""
    model, fitted = fit(random_labels, tmp_path, epochs=30, learning_rate=0.03, validation_split=0.2)
    by_epoch = logs_of(tmp_path)["validation loss"]
    best = min(by_epoch, key=lambda epoch: by_epoch[epoch])
    assert (fitted.epoch, fitted.epochs) == (best, 30)
    assert by_epoch[30] > by_epoch[best] + 0.1
    validation = random_labels.train.take(slice(fitted.sequences, None))
    losses = fitting.loss_function(random_labels, Options())(validation.y, predict(forward(model), validation.x))
    assert float(np.mean(losses)) == pytest.approx(by_epoch[best], abs=1e-6)


def test_patience_needs_validation_data(random_labels: Dataset, tmp_path: Path) -> None:
    """A small validation split may contain no sequence."""
    with pytest.raises(
        TrainingError, match=r"--patience needs validation data, got none: --validation-split 0\.001 of"
    ):
        fit(random_labels, tmp_path, epochs=2, validation_split=0.001, patience=3)


def test_patience_ends_a_fit_without_a_lower_loss(random_labels: Dataset, tmp_path: Path) -> None:
    """The fit ends `--patience` epochs after the best one."""
    _, fitted = fit(random_labels, tmp_path, epochs=100, learning_rate=0.03, validation_split=0.2, patience=3)
    assert fitted.epochs is not None
    assert fitted.epoch == fitted.epochs - 3 < 97
    assert len(logs_of(tmp_path)["loss"]) == fitted.epochs


def test_without_validation_data_the_last_epoch_is_kept(tmp_path: Path) -> None:
    """There is no loss to choose an epoch by."""
    _, fitted = fit(easy(BINARY), tmp_path, epochs=2, validation_split=0)
    assert (fitted.epoch, fitted.epochs, fitted.sequences) == (2, 2, 250)
    assert set(logs_of(tmp_path)) == {"loss"}


def test_class_weights_move_predictions_towards_the_rare_class(tmp_path: Path) -> None:
    """For constant sequences the prediction is the class's share of the total weight."""
    data = dataset(np.zeros((1000, 2, 1)), (np.arange(1000) % 10 == 0).astype(int), held_out=10)
    for options, expected in (({}, 0.1), ({"balanced": True, "class_weight": {"1": 3}}, 0.75)):
        folder = tmp_path / str(expected)
        model, _ = fit(data, folder, epochs=25, validation_split=0, learning_rate=0.02, **options)
        assert predictions(model, data).mean() == pytest.approx(expected, abs=0.04)


def test_balanced_classes_count_the_same_together() -> None:
    """A class without fitted sequences has a finite weight; --class-weight multiplies the weights."""
    y = np.array([0, 0, 0, 0, 1, 1])
    balanced = fitting.class_weights(MULTICLASS, y, Options(balanced=True))
    assert balanced is not None
    assert balanced[:2] == pytest.approx([0.5, 1])
    assert np.isfinite(balanced).all()
    both = fitting.class_weights(MULTICLASS, y, Options(balanced=True, class_weight={"b": 3}))
    assert both is not None
    assert both[:2] == pytest.approx([0.5, 3])
    assert fitting.class_weights(MULTICLASS, y, Options()) is None


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (
            MULTICLASS,
            {"class_weight": {"d": 1, "a": 2, "e": 3}},
            "--class-weight: expected classes of a, b, c, got d, e",
        ),
        (REGRESSION, {"balanced": True}, "--balanced, --class-weight: expected classes, got numbers to predict"),
        (REGRESSION, {"class_weight": {"a": 2}}, "--balanced, --class-weight: expected classes, got numbers"),
    ],
)
def test_weights_of_unknown_classes_are_refused(target: Target, options: dict[str, Any], message: str) -> None:
    """The message lists the classes."""
    with pytest.raises(TrainingError) as caught:
        fitting.class_weights(target, labels(10, target), Options(**options))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_fit_that_diverges_is_refused(epochs: int, tmp_path: Path) -> None:
    """The loss of the fit or the validation loss is not finite."""
    with pytest.raises(TrainingError, match="training diverged: the loss is not finite; try a smaller --learning-rate"):
        fit(easy(REGRESSION), tmp_path, epochs=epochs, batch_size=300, learning_rate=1e38)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_gaps_do_not_spoil_the_fit(architecture: str, tmp_path: Path) -> None:
    """NaN leaves the loss finite, and the loss falls."""
    y = np.arange(len(X)) % 2
    x = X.copy()
    x[:, 0, 0] = y * 3
    x[::3, 2:] = np.nan
    x[1::4, 0, 1] = np.nan
    x[2::5, 1] = np.nan
    data = dataset(x, y, variable_length=True, missing_values=True, scaled=True)
    model, _ = fit(data, tmp_path, architecture=architecture, epochs=6)
    loss = logged(tmp_path / f"{architecture.replace('_', '-')}-seed-0")["loss"]
    assert np.isfinite(list(loss.values())).all()
    assert loss[6] < 0.7 * loss[1]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
