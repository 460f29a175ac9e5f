"""The choice of an architecture: folds, comparison, time, and what the card says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
from keras import layers, ops

from service.artifact.tensors import PREDICTION
from service.artifact.version import Artifact
from tests.samples import BINARY, MULTICLASS, REGRESSION, dataset, trained
from training import summary as program
from training.choice import FOLDS, Deadline, GivenUp, choose, folds_of, scores_of
from training.data import Dataset
from training.options import SYNTHETIC, Architecture, Options
from training.sources.synthetic import RECIPES

OPTIONS = Options(data="table.csv")


def decided(n: int = 200) -> Dataset:
    """Return sequences of 4 × 1 whose class is the sign of the first value."""
    x = np.random.default_rng(0).standard_normal((n, 4, 1))
    return dataset(x, (x[:, 0, 0] > 0).astype(np.int64))


def knows(right: float) -> keras.Model:
    """Return a model for `decided` that is right for a share of the sequences."""
    x = keras.Input((4, 1))
    wrong = ops.cast(x[:, 1] > np.quantile(np.random.default_rng(0).standard_normal(10_000), right), "float32")
    prediction = ops.cast(x[:, 0] > 0, "float32")
    return keras.Model(x, {PREDICTION: layers.Identity()(prediction * (1 - wrong) + (1 - prediction) * wrong)})


def fits(**right: float) -> Callable[[Dataset, Options, Callable[[int], None]], keras.Model]:
    """Return a fit whose models are right for the given share of the sequences, by architecture."""
    return lambda _data, options, _after_epoch: knows(right.get(str(options.architecture), 0.5))


def outcomes(trials: Any) -> dict[str, str]:
    return {trial.architecture: trial.outcome for trial in trials}


def test_the_candidate_that_is_clearly_better_is_chosen() -> None:
    """Its trial says so, and the others say why not."""
    options, trials = choose(decided(), OPTIONS, fits(minirocket=0.4, additive=0.8, inception=0.8, after_lstm=0.8))
    assert options.architecture == "additive"
    others = dict.fromkeys(("inception", "after_lstm"), "not clearly better")
    assert outcomes(trials) == {"minirocket": "worse", "additive": "chosen", **others}
    assert [trial.metric for trial in trials] == ["accuracy"] * 4
    assert trials[0].spread is not None
    assert trials[1].mean == pytest.approx(0.8, abs=0.15)  # of 40 sequences


def test_a_little_better_is_not_enough() -> None:
    """One more right sequence of forty may be chance."""
    options, trials = choose(decided(), OPTIONS, fits(minirocket=0.8, additive=0.85, after_lstm=0.7))
    assert options.architecture == "minirocket"
    assert outcomes(trials)["additive"] == "not clearly better"


def test_a_perfect_candidate_ends_the_choice() -> None:
    """The others are not tried."""
    options, trials = choose(decided(), OPTIONS, fits(minirocket=1.0))
    assert options.architecture == "minirocket"
    assert outcomes(trials) == {"minirocket": "chosen"}


def test_without_time_the_first_candidate_remains() -> None:
    """The trials say that no time was left."""
    options, trials = choose(decided(), OPTIONS.model_copy(update={"budget": 1e-9}), fits())
    assert options.architecture == "minirocket"
    assert set(outcomes(trials).values()) == {"not tried: no time was left"}
    assert all(trial.mean is None for trial in trials)


def test_a_candidate_that_is_too_slow_is_given_up() -> None:
    """The trials say after how many epochs; the best of the others is chosen."""

    def fit(_data: Dataset, options: Options, _after_epoch: Callable[[int], None]) -> keras.Model:
        if options.architecture == "additive":
            raise GivenUp("given up after 3 of 50 epochs")
        return knows(0.6 if options.architecture in {"minirocket", "inception"} else 0.95)

    options, trials = choose(decided(), OPTIONS, fit)
    assert options.architecture == "after_lstm"
    assert outcomes(trials) == {
        "minirocket": "worse",
        "additive": "given up after 3 of 50 epochs",
        "inception": "worse",
        "after_lstm": "chosen",
    }


def test_the_time_of_a_fit_is_that_of_all_epochs_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch compiles. Later ones tell whether the fit ends in time."""
    now = 0.0
    monkeypatch.setattr("time.time", lambda: now)
    in_time, late = Deadline(100.0, epochs=50), Deadline(100.0, epochs=50)
    now = 60.0
    in_time(1)
    late(1)
    now = 60.5
    in_time(2)
    now = 63.0
    with pytest.raises(GivenUp, match="given up after 2 of 50 epochs"):
        late(2)


def test_a_few_sequences_are_fitted_without_a_choice() -> None:
    """Parts of nine sequences say nothing."""
    options, trials = choose(decided(9), OPTIONS, fits())
    assert (options.architecture, trials) == ("minirocket", ())


def test_a_large_part_is_judged_on_a_sample() -> None:
    """Its predictions would take longer than the fit of some candidates."""
    (fold,) = folds_of(decided(30_000), 0)
    assert (len(fold.train), len(fold.test)) == (24_000, 5000)


def test_folds_have_the_same_share_of_each_class() -> None:
    """Each sequence is held out once, and a class of five is in every fold."""
    x = np.arange(100.0).reshape(100, 1, 1)
    data = dataset(x, np.repeat([0, 1], [95, 5]))
    folds = list(folds_of(data, 0))
    assert len(folds) == FOLDS
    assert sorted(np.concatenate([fold.test.x[:].ravel() for fold in folds])) == list(range(100))
    assert [int(fold.test.y.sum()) for fold in folds] == [1] * FOLDS
    assert all(not set(fold.train.x[:].ravel()) & set(fold.test.x[:].ravel()) for fold in folds)


@pytest.mark.parametrize("target", [BINARY, REGRESSION], ids=lambda target: target.task)
def test_groups_stay_together(target: Any) -> None:
    """No group is in both parts of a fold."""
    data = dataset(np.arange(60.0).reshape(60, 1, 1), target=target)
    data = replace(data, train=replace(data.train, groups=np.arange(60) // 6))
    for fold in folds_of(data, 0):
        assert fold.train.groups is not None
        assert fold.test.groups is not None
        assert not set(fold.train.groups) & set(fold.test.groups)


def test_windows_are_held_out_later_in_time() -> None:
    """Between both parts is a gap, as windows overlap. Without enough windows before a gap, nothing is tried."""
    data = replace(dataset(np.tile(np.arange(100.0)[:, np.newaxis, np.newaxis], (1, 4, 1))), ordered=True)

    def spanning(steps: int) -> Dataset:
        begins = np.arange(len(data.train), dtype=float)
        return replace(data, train=replace(data.train, spans=np.stack([begins, begins + steps - 1], axis=1)))

    for fold in folds_of(spanning(5), 0):
        assert fold.test.x[:].min() - fold.train.x[:].max() == 5
    chosen, trials = choose(spanning(100), OPTIONS, fits())
    assert (chosen.architecture, trials) == ("minirocket", ())


def test_many_sequences_have_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part of many sequences says enough."""
    monkeypatch.setattr("training.choice.MOST_FOR_ALL_FOLDS", 50)
    assert len(list(folds_of(decided(60), 0))) == 1
    assert len(list(folds_of(decided(50), 0))) == FOLDS


def test_scores_are_right_or_wrong_or_squared_errors() -> None:
    """Errors of numbers are in units of their standard deviation."""
    shares, numbers = np.array([[0.4], [0.6]], np.float32), np.array([[0], [6]], np.float32)
    np.testing.assert_array_equal(scores_of(shares, np.array([0, 0]), BINARY), [1, 0])
    np.testing.assert_array_equal(scores_of(np.eye(3, dtype=np.float32), np.array([0, 1, 0]), MULTICLASS), [1, 1, 0])
    np.testing.assert_array_equal(scores_of(numbers, np.array([[0.0], [4.0]]), REGRESSION), [0, -1])


def test_the_default_depends_on_the_data() -> None:
    """Synthetic data have the original architecture, and all others a choice."""
    assert set(SYNTHETIC) == set(RECIPES)
    assert [Options(data=name).architecture_or_default for name in SYNTHETIC] == ["after_lstm"] * len(SYNTHETIC)
    assert OPTIONS.architecture_or_default == "auto"
    assert Options(data="table.csv", architecture="additive").architecture_or_default == "additive"
    assert "auto" not in get_args(Architecture)


def test_a_training_without_options_chooses_and_says_so(tmp_path: Path) -> None:
    """The card and the summary have the trials; the chosen architecture and the same seed give the same model."""
    x = np.random.default_rng(0).standard_normal((80, 16, 1))
    x[::2, 5:10, 0] += [4, -4, 4, -4, 4]
    np.savez(tmp_path / "data.npz", x=x, y=np.where(np.arange(80) % 2, "calm", "shaken"))
    version = trained(data=str(tmp_path / "data.npz"), name="m", artifacts=tmp_path)
    contents = Artifact(version).read()
    card = contents.card()
    assert (card.architecture, outcomes(card.trials)) == ("minirocket", {"minirocket": "chosen"})
    assert card.metrics["accuracy"] == 1
    assert "minirocket     accuracy 1.0000 ± 0.0000" in program.summary(version)
    again = trained(data=str(tmp_path / "data.npz"), name="m", artifacts=tmp_path, architecture="minirocket")
    np.testing.assert_array_equal(Artifact(again).read().golden().prediction, contents.golden().prediction)
