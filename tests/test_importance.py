"""Importance of models with one deciding timestep, and agreement by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from service.artifact.card import CellImportance, FeatureImportance, Importance
from service.artifact.tensors import Array
from service.artifact.version import Artifact
from tests.samples import BINARY, REGRESSION
from training import importance as module
from training.data import LabelledSequences
from training.importance import agreement, cell_importance, feature_importance, importance, importances

X = np.random.default_rng(0).standard_normal((200, 5, 2)).astype(np.float32)


def found(drop: tuple[float, ...]) -> Importance:
    return Importance(metric="r2", drop=drop, spread=(0.0,) * len(drop), sequences=9, repetitions=1)


def sign_at_2(x: Array) -> Array:
    return (x[:, 2, :1] > 0).astype(np.float32)


def measured(predict: Any, sequences: LabelledSequences, target: Any = BINARY) -> Importance:
    return importance(predict, sequences, target, np.random.default_rng(0))


def of_features(predict: Any, sequences: LabelledSequences, weights: int = 0) -> FeatureImportance:
    found = feature_importance(predict, sequences, BINARY, np.random.default_rng(0), weights)
    assert found is not None
    return found


def of_cells(predict: Any, sequences: LabelledSequences, weights: int = 0) -> CellImportance:
    found = cell_importance(predict, sequences, BINARY, np.random.default_rng(0), weights)
    assert found is not None
    return found


def test_only_the_feature_and_the_cell_that_decide_are_important() -> None:
    """The metric drops without them alone: all values of a feature are exchanged at once."""
    sequences = LabelledSequences(X, (X[:, 2, 0] > 0).astype(int))
    features, cells = of_features(sign_at_2, sequences), of_cells(sign_at_2, sequences)
    assert features.mass == (1, 0)
    assert features.drop[0] == pytest.approx(0.5, abs=0.05)
    assert (features.sequences, features.repetitions, features.spread[1]) == (200, 10, 0)
    assert cells.mass == ((0, 0), (0, 0), (1, 0), (0, 0), (0, 0))
    assert cells.drop[2][0] == pytest.approx(0.5, abs=0.05)
    assert (cells.sequences, cells.repetitions, cells.groups) == (200, 5, None)


def test_a_feature_that_decides_by_many_timesteps_is_important_though_none_of_its_cells_is() -> None:
    """Five timesteps vote. One of them changes few predictions, and all together change half of them."""
    x = np.repeat(np.sign(X[:, :1]), 5, axis=1)
    sequences = LabelledSequences(x, (x[:, 0, 1] > 0).astype(int))

    def vote(some: Array) -> Array:
        return np.asarray(some[:, :, 1].mean(axis=1, keepdims=True) > 0, np.float32)

    assert of_features(vote, sequences).drop == pytest.approx((0, 0.5), abs=0.05)
    assert of_cells(vote, sequences).mass is None


def test_missing_values_stay_missing() -> None:
    """Only sequences that have a value exchange it, so that neither lengths nor gaps change."""
    x = X.copy()
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    seen = []

    def predict(exchanged: Array) -> Array:
        seen.extend(np.split(exchanged, len(exchanged) // 200))
        return np.ones((len(exchanged), 1), np.float32)

    sequences = LabelledSequences(x, np.ones(200, int))
    of_features(predict, sequences)
    of_cells(predict, sequences)
    for exchanged in seen:
        np.testing.assert_array_equal(np.isnan(exchanged), np.isnan(x))
        np.testing.assert_array_equal(np.sort(exchanged, axis=0), np.sort(x, axis=0))


def test_many_cells_are_measured_by_groups_that_are_divided() -> None:
    """The deciding one of 4,000 cells has all importance, within the budget of timesteps."""
    x = np.random.default_rng(0).standard_normal((60, 500, 8)).astype(np.float32)
    processed = []

    def predict(exchanged: Array) -> Array:
        processed.append(len(exchanged) * 500)
        return (exchanged[:, 123, 4:5] > 0).astype(np.float32)

    result = of_cells(predict, LabelledSequences(x, (x[:, 123, 4] > 0).astype(int)))
    assert np.argwhere(np.array(result.mass)).tolist() == [[123, 4]]
    assert result.groups is not None
    assert 8 * 7 < result.groups < 120
    assert sum(processed) <= module.CELL_TIMESTEPS + 50 * 500


def test_features_of_a_very_large_model_are_not_measured() -> None:
    """The budget does not allow one exchange of each; importance of groups of timesteps is measured all the same."""
    sequences = LabelledSequences(X, (X[:, 2, 0] > 0).astype(int))
    found = importances(sign_at_2, sequences, BINARY, np.random.default_rng(0), weights=10**9 * module.SMALL_MODEL)
    assert (found.features, found.cells) == (None, None)
    assert found.timesteps.groups == 2


def test_cells_of_one_feature_are_the_timesteps() -> None:
    """They are measured once."""
    x = X[:, :, :1]
    found = importances(sign_at_2, LabelledSequences(x, (x[:, 2, 0] > 0).astype(int)), BINARY, np.random.default_rng(0))
    assert found.cells is not None
    assert found.cells.drop == tuple((drop,) for drop in found.timesteps.drop)
    assert found.features is not None
    assert found.features.mass == (1,)


def test_a_large_model_is_measured_on_fewer_sequences() -> None:
    """Each of its timesteps takes longer. The deciding timestep is found all the same."""
    sequences = LabelledSequences(X, (X[:, 2, 0] > 0).astype(int))
    small = measured(sign_at_2, sequences)
    large = importance(sign_at_2, sequences, BINARY, np.random.default_rng(0), weights=1000 * module.SMALL_MODEL)
    assert large.sequences * large.repetitions < small.sequences * small.repetitions
    assert np.argmax(large.drop) == 2


def test_a_very_large_model_is_measured_by_groups_of_timesteps() -> None:
    """Short sequences have groups, too, if the budget is smaller than one exchange of each timestep."""
    sequences = LabelledSequences(X, (X[:, 2, 0] > 0).astype(int))
    found = importance(sign_at_2, sequences, BINARY, np.random.default_rng(0), weights=10**9 * module.SMALL_MODEL)
    assert (found.sequences, found.groups) == (module.FEWEST_SEQUENCES, 2)
    assert found.drop[0] == found.drop[1] == found.drop[2] > 0.1
    assert found.drop[3:] == (0, 0)


def test_only_the_timestep_that_decides_is_important() -> None:
    """Half of the predictions change without its values, and none without those of another timestep."""
    result = measured(sign_at_2, LabelledSequences(X, (X[:, 2, 0] > 0).astype(int)))
    assert result.metric == "accuracy"
    assert result.drop[2] == pytest.approx(0.5, abs=0.05)
    assert [drop for t, drop in enumerate(result.drop) if t != 2] == [0, 0, 0, 0]
    assert [spread for t, spread in enumerate(result.spread) if t != 2] == [0, 0, 0, 0]
    assert result.mass == (0, 0, 1, 0, 0)


def test_of_numbers_it_is_r2_that_drops() -> None:
    """A perfect prediction from one timestep loses 2, as twice the variance is unexplained."""
    result = measured(lambda x: x[:, 2, :1], LabelledSequences(X, X[:, 2, :1]), REGRESSION)
    assert result.metric == "r2"
    assert result.drop[2] == pytest.approx(2, abs=0.2)
    assert result.mass == (0, 0, 1, 0, 0)


def test_a_constant_model_has_no_mass() -> None:
    """The metric never drops."""
    result = measured(lambda x: np.full((len(x), 1), 0.9, np.float32), LabelledSequences(X, np.ones(200, int)))
    assert result.drop == (0.0,) * 5
    assert result.mass is None


def test_sequences_keep_their_lengths() -> None:
    """Each timestep keeps its values, in another order."""
    lengths = np.arange(200) % 6
    x = np.where(np.arange(5)[:, None] < lengths[:, None, None], X, np.nan).astype(np.float32)
    seen = []

    def predict(exchanged: Array) -> Array:
        seen.append(exchanged)
        return np.ones((len(exchanged), 1), np.float32)

    result = measured(predict, LabelledSequences(x, np.ones(200, int)))
    assert len(seen) == 1 + 5
    sets = [one for call in seen[1:] for one in np.split(call, result.repetitions)]
    for exchanged in sets:
        np.testing.assert_array_equal(np.isnan(exchanged), np.isnan(x))
        np.testing.assert_array_equal(np.sort(exchanged, axis=0), np.sort(x, axis=0))
    assert sum(not np.array_equal(exchanged, x, equal_nan=True) for exchanged in sets) == len(sets)


@pytest.mark.parametrize(
    ("limits", "sequences", "repetitions"),
    [
        ({}, 200, 10),
        ({"MOST_REPETITIONS": 3}, 200, 3),
        ({"MOST_SEQUENCES": 50}, 50, 1),
        ({"MOST_SEQUENCES": 450}, 200, 2),
        ({"MOST_TIMESTEPS": 100 * 5**2}, 100, 1),
        ({"MOST_TIMESTEPS": 50 * 5**2}, 50, 1),
    ],
)
def test_limits_are_obeyed(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], sequences: int, repetitions: int
) -> None:
    """Sequences, repetitions and the total of timesteps are limited."""
    for name, value in limits.items():
        monkeypatch.setattr(module, name, value)
    counts = []

    def predict(x: Array) -> Array:
        counts.append(len(x))
        return sign_at_2(x)

    result = measured(predict, LabelledSequences(X, (X[:, 2, 0] > 0).astype(int)))
    assert (result.sequences, result.repetitions) == (sequences, repetitions)
    assert counts[0] == sequences
    assert sum(counts[1:]) == 5 * sequences * repetitions
    assert max(counts) <= max(module.SEQUENCES_AT_A_TIME, sequences * repetitions)


def long(n: int, timesteps: int, deciding: int) -> tuple[LabelledSequences, Callable[[Array], Array], list[int]]:
    """Return sequences, a model whose prediction is one timestep's sign, and the numbers of timesteps that it got."""
    x = np.random.default_rng(0).standard_normal((n, timesteps, 1)).astype(np.float32)
    processed: list[int] = []

    def predict(exchanged: Array) -> Array:
        processed.append(len(exchanged) * timesteps)
        return (exchanged[:, deciding] > 0).astype(np.float32)

    return LabelledSequences(x, (x[:, deciding, 0] > 0).astype(int)), predict, processed


def test_a_long_sequence_is_measured_by_groups_that_are_divided() -> None:
    """The deciding one of 2,000 timesteps has all importance, within the budget of timesteps."""
    sequences, predict, processed = long(40, 2000, 1234)
    result = measured(predict, sequences)
    assert result.mass is not None
    assert np.flatnonzero(result.mass).tolist() == [1234]
    assert result.drop[1234] == pytest.approx(0.5, abs=0.25)  # of 40 sequences
    assert result.groups is not None
    assert 38 < result.groups < 64
    assert sum(processed) <= module.MOST_TIMESTEPS + 40 * 2000
    assert result == measured(predict, sequences)


def test_the_drop_of_a_group_is_that_of_its_timesteps_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """If groups are not divided, each of their timesteps has the same share."""
    sequences, predict, _ = long(50, 128, 5)
    monkeypatch.setattr(module, "MOST_TIMESTEPS", 50 * 128 * 64)
    monkeypatch.setattr(module, "GROUPS", 32)
    monkeypatch.setattr(module, "DIVIDED_AT_A_TIME", 0)
    result = measured(predict, sequences)
    assert result.groups == 32
    assert np.flatnonzero(result.drop).tolist() == [4, 5, 6, 7]
    assert set(result.drop) == {0, result.drop[5]}
    assert sum(result.drop) == pytest.approx(0.5, abs=0.15)


def test_a_group_whose_halves_replace_each_other_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five timesteps vote, of which a group has four: neither half of it changes the majority by itself."""
    monkeypatch.setattr(module, "MOST_TIMESTEPS", 100 * 1280 * 128)
    votes = [0, 600, 601, 618, 619]  # 600 to 619 are a group
    x, y = np.zeros((100, 1280, 1), np.float32), np.arange(100) % 2
    x[:, votes, 0] = y[:, np.newaxis]
    result = measured(lambda some: np.round(some[:, votes].mean(axis=1)), LabelledSequences(x, y))
    assert np.flatnonzero(result.drop).tolist() == list(range(600, 620))
    assert sum(result.drop) == pytest.approx(0.5, abs=0.15)
    assert result.drop[600] == result.drop[619]


def test_the_lengths_of_long_sequences_stay() -> None:
    """Within a group, too, a timestep is exchanged only between sequences that have it."""
    sequences, _, _ = long(50, 1500, 3)
    lengths = np.arange(50) * 20 + 300
    x = np.where(np.arange(1500) < lengths[:, np.newaxis], sequences.x[:][:, :, 0], np.nan)[:, :, np.newaxis]
    seen = []

    def predict(exchanged: Array) -> Array:
        seen.extend(np.split(exchanged, len(exchanged) // 50))
        return np.zeros((len(exchanged), 1), np.float32)

    assert measured(predict, LabelledSequences(x, sequences.y)).groups is not None
    for exchanged in seen:
        np.testing.assert_array_equal(np.isnan(exchanged), np.isnan(x))
        np.testing.assert_array_equal(np.sort(exchanged, axis=0), np.sort(x, axis=0))
    assert not all(np.array_equal(exchanged, x, equal_nan=True) for exchanged in seen)


def test_importance_is_that_of_its_seed() -> None:
    """The same seed gives the same result; another seed gives another."""
    sequences = LabelledSequences(X, (X[:, 2, 0] > 0).astype(int))
    assert measured(sign_at_2, sequences) == measured(sign_at_2, sequences)
    assert importance(sign_at_2, sequences, BINARY, np.random.default_rng(1)) != measured(sign_at_2, sequences)


def test_agreement_is_worked_out() -> None:
    """Ranks 1, 2, 4, 3 against 1, 2, 3, 4 correlate by 1 - 6·2 / (4·15); the top is the most important timestep."""
    result = agreement((0.1, 0.2, 0.4, 0.3), found((0.0, 0.1, 0.2, 0.7)), (1.0,) * 4)
    assert result.rank_correlation == pytest.approx(0.8)
    assert result.top == (3,)
    assert result.attention == pytest.approx(0.3)
    assert result.importance == pytest.approx(0.7)


def test_ties_share_their_rank() -> None:
    """The first of equally important timesteps are the top."""
    drop = (0.5, 0.0, 0.5, 0.0, *(0.0,) * 16)
    attention = np.random.default_rng(0).dirichlet(np.ones(20)).tolist()
    result = agreement(attention, found(drop), (1.0,) * 20)
    assert result.top == (0, 2)
    assert result.rank_correlation == pytest.approx(spearmanr(attention, drop).statistic)
    assert result.importance == 1


@pytest.mark.parametrize(
    ("attention", "drop"), [((0.25,) * 4, (0.0, 0.1, 0.2, 0.7)), ((0.1, 0.2, 0.4, 0.3), (0.1,) * 4), ((1.0,), (0.5,))]
)
def test_constant_values_have_no_rank_correlation(attention: tuple[float, ...], drop: tuple[float, ...]) -> None:
    """A single timestep has none either."""
    assert agreement(attention, found(drop), (1.0,) * len(drop)).rank_correlation is None


def test_without_importance_there_is_no_share_at_the_top() -> None:
    """The share of a total of 0 is None."""
    assert agreement((0.1, 0.2, 0.4, 0.3), found((0.0, -0.1, 0.0, -0.2)), (1.0,) * 4).importance is None


def test_timesteps_without_a_drop_are_not_in_the_top() -> None:
    """The most important timestep comes first."""
    assert agreement((0.05,) * 20, found((0.0,) * 10 + (0.5,) + (0.0,) * 9), (1.0,) * 20).top == (10,)
    assert agreement((0.25,) * 4, found((0.0, -0.1, 0.0, -0.2)), (1.0,) * 4).top == ()
    assert agreement((0.05,) * 20, found((0.1,) + (0.0,) * 18 + (0.5,)), (1.0,) * 20).top == (19, 0)


def test_timesteps_that_few_sequences_have_are_not_ranked_low_for_that() -> None:
    """Ranks are of values divided by the fraction of sequences that have the timestep."""
    present = (1.0, 0.5, 0.1)
    attention, drop = (0.6, 0.31, 0.09), (0.5, 0.2, 0.03)
    assert spearmanr(attention, drop).statistic == pytest.approx(1)
    assert agreement(attention, found(drop), present).rank_correlation == pytest.approx(-1)


def test_importance_of_a_trained_model_is_where_the_label_was_written(artifacts: Path) -> None:
    """Card and chart show nearly all importance at that timestep, which attention finds."""
    artifact = Artifact(artifacts / "after-lstm" / "1")
    card = artifact.read().card()
    assert card.importance is not None
    assert card.importance.mass is not None
    assert card.importance.mass[10] >= 0.95
    assert card.agreement is not None
    assert 10 in card.agreement.top
    assert (card.agreement.importance or 0) >= 0.95
    assert card.cell_importance is not None
    assert sum((card.cell_importance.mass or ())[10]) >= 0.95
    assert card.faithfulness is not None
    assert card.faithfulness.attention_finds == "what matters"
    assert (card.faithfulness.permuted or 1) < card.metrics["accuracy"]
    chart = artifact.chart_path("svg").read_text()
    assert ">attention (sum over the timesteps: 1; whiskers " in chart
    assert ">importance: drop of accuracy" in chart


def test_a_timestep_leaves_static_features_alone() -> None:
    """A model that reads a static feature at the first timestep does not make that timestep important."""
    x = np.concatenate([X, np.repeat(np.random.default_rng(5).standard_normal((len(X), 1, 1)), 5, axis=1)], axis=2)
    sequences = LabelledSequences(x.astype(np.float32), (x[:, 0, -1] > 0).astype(int), varying=range(X.shape[2]))
    predict: Callable[[Array], Array] = lambda x: (x[:, 0, -1:] > 0).astype(np.float32)  # noqa: E731 - one expression
    found = importances(predict, sequences, BINARY, np.random.default_rng(0))
    assert found.timesteps.mass is None
    assert found.features is not None
    assert found.features.mass == (*[0] * X.shape[2], 1)
    assert found.cells is not None
    assert found.cells.mass is None
