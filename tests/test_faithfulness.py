"""Faithfulness of models by hand, and of trained models of which the answer is known."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from benchmarks.faithfulness import CASES, masses, measured
from service.artifact.card import Faithfulness, Target
from service.artifact.removal import FRACTIONS
from service.artifact.tensors import Array
from tests.samples import BINARY, MULTICLASS, REGRESSION, TWO_NUMBERS
from training import faithfulness as module
from training.data import Dataset, LabelledSequences
from training.faithfulness import VERDICTS, faithfulness, replaced_attention

TIMESTEPS = 20
X = np.random.default_rng(0).standard_normal((100, TIMESTEPS, 2)).astype(np.float32)
TEST = LabelledSequences(X, (X[:, 3, 0] > 0).astype(int))
BASELINE = np.zeros((TIMESTEPS, 2), np.float32)


def at_3(x: Array) -> Array:
    """Return the first feature of timestep 3, which is the prediction, `(n, 1)`."""
    prediction: Array = x[:, 3, :1]
    return prediction


def on(*timesteps: int) -> Any:
    """Return a function whose attention is on some timesteps."""
    weights = np.full(TIMESTEPS, 0.01, np.float32)
    weights[list(timesteps)] = 1.0
    return lambda x: np.tile(weights / weights.sum(), (len(x), 1))


def found(attention: Any, predict: Any = at_3, target: Target = REGRESSION, **options: Any) -> Faithfulness:
    """Return the faithfulness of a model and its attention."""
    rng = np.random.default_rng(0)
    result = faithfulness(predict, TEST, target, BASELINE, rng, attention=attention, **options)
    assert result is not None
    return result


def test_attention_on_the_deciding_timestep_finds_what_matters() -> None:
    """Without that timestep, predictions move as far as with importance; with it alone, they do not move."""
    result = found(on(3))
    assert result.attention_finds == "what matters"
    assert result.verdict == "Attention finds what matters here."
    assert (result.sequences, result.fractions, result.metric) == (100, FRACTIONS, "r2")
    attention, importance, random = result.removals
    assert (attention.order, importance.order, random.order) == ("attention", "importance", "random")
    size = float(np.abs(X[:, 3, 0]).mean())
    for one in (attention, importance):
        assert one.comprehensiveness == pytest.approx((size,) * 5)
        assert one.sufficiency == (0,) * 5
        assert one.comprehensiveness_area == pytest.approx(size)
        assert one.comprehensiveness_interval[0] < size < one.comprehensiveness_interval[1]
        assert one.sufficiency_interval == (0, 0)
    shares = np.array([1, 1, 2, 4, 10]) / TIMESTEPS  # the chance that some timesteps are the one that decides
    assert random.comprehensiveness == pytest.approx(size * shares, abs=0.06)
    assert random.sufficiency == pytest.approx(size * (1 - shares), abs=0.06)


def test_each_of_several_numbers_counts_as_much() -> None:
    """Attention on the timestep of the number of large values finds half of what matters."""

    def both(x: Array) -> Array:
        return np.stack([1000 * x[:, 3, 0], x[:, 17, 0]], axis=1)

    for deviation in ((), (1000.0, 1.0)):
        result = found(on(3), both, TWO_NUMBERS, deviation=deviation)
        by_attention = result.removals[0].sufficiency_area
        assert by_attention == pytest.approx(np.abs(X[:, 17, 0]).mean() / 2, rel=0.2)


def test_attention_elsewhere_finds_no_more_than_chance() -> None:
    """The sentence says what to do."""
    result = found(on(4, 5, 6, 7, 8, 9, 10, 11, 12, 13))
    assert result.attention_finds == "no more than chance"
    assert result.verdict.endswith("no better than chance here: read importance.")


def test_attention_on_one_of_two_deciding_timesteps_finds_a_part() -> None:
    """The other one has less attention than each timestep that does not matter."""

    def attention(x: Array) -> Array:
        weights = on(3)(x)
        weights[:, 17] = 0
        return np.asarray(weights)

    result = found(attention, lambda x: x[:, 3, :1] + x[:, 17, :1])
    assert result.attention_finds == "part of it"
    assert "only a part" in result.verdict


def test_attention_may_find_more_than_importance() -> None:
    """Two timesteps replace each other, so that importance by single timesteps sees neither."""

    def both(x: Array) -> Array:
        return np.asarray(np.any(x[:, [3, 17], 0] != 0, axis=1, keepdims=True), np.float32)  # 0 only without both

    result = found(on(3, 17), both)
    assert result.attention_finds == "what matters"
    assert result.removals[0].comprehensiveness_area > result.removals[1].comprehensiveness_area


def test_nothing_is_found_if_predictions_do_not_move() -> None:
    """The sentence advises against both."""
    result = found(on(3), lambda x: np.ones((len(x), 3), np.float32) / 3, MULTICLASS)
    assert result.attention_finds is None
    assert "neither attention nor importance" in result.verdict
    assert result.removals[2].comprehensiveness_area == 0


def test_a_model_without_attention_has_two_orders() -> None:
    """The sentence is on importance."""
    result = found(None)
    assert [one.order for one in result.removals] == ["importance", "random"]
    assert result.attention_finds is None
    assert result.verdict == "Importance finds what matters here, and the model has no attention."


def test_the_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large model is measured on fewer sequences, and a very large one not at all."""
    processed = []

    def predict(x: Array) -> Array:
        processed.append(len(x))
        return at_3(x)

    assert found(on(3), predict, weights=80 * 40_000).sequences == 41
    assert sum(processed) * TIMESTEPS <= module.MOST_TIMESTEPS / 80 + 41 * TIMESTEPS
    rng = np.random.default_rng(0)
    unmeasured = faithfulness(predict, TEST, REGRESSION, BASELINE, rng, weights=10**8)
    assert unmeasured is not None
    assert (unmeasured.sequences, unmeasured.removals, unmeasured.attention_finds) == (0, (), None)
    assert unmeasured.verdict == (
        "Not measured: 90 runs for each sequence of 20 timesteps and a model of 100,000,000 weights take too long."
    )
    monkeypatch.setattr(module, "MOST_SEQUENCES", 30)
    assert found(on(3)).sequences == 30


def test_one_timestep_has_no_order() -> None:
    """Nothing is said of sequences of which none has a second timestep."""
    alone = np.where(np.arange(TIMESTEPS)[:, np.newaxis] == 3, X, np.nan)
    for x, baseline in ((X[:, :1], BASELINE[:1]), (alone, BASELINE)):
        test, rng = replace(TEST, x=x), np.random.default_rng(0)
        assert faithfulness(lambda some: some[:, 0, :1], test, REGRESSION, baseline, rng) is None


def test_the_same_seed_gives_the_same_result() -> None:
    """Another seed draws other orders."""
    other = faithfulness(at_3, TEST, REGRESSION, BASELINE, np.random.default_rng(1), attention=on(3))
    assert found(on(3)) == found(on(3)) != other


def test_the_example_of_the_card_is_a_verdict() -> None:
    """The reference shows a sentence that training writes."""
    fields = Faithfulness.model_fields
    assert fields["attention_finds"].examples is not None
    assert fields["verdict"].examples == [VERDICTS[one] for one in fields["attention_finds"].examples]


def test_intervals_are_wider_for_sequences_that_resemble_each_other() -> None:
    """Sequences of one group, and neighbours among windows, are drawn together."""
    x = np.repeat(X[:20], 5, axis=0)
    alone = LabelledSequences(x, np.zeros(100))
    grouped = replace(alone, groups=np.repeat(np.arange(20), 5))
    windows = replace(alone, spans=np.zeros((100, 2)))

    def width(test: LabelledSequences) -> float:
        result = faithfulness(at_3, test, REGRESSION, BASELINE, np.random.default_rng(0), attention=on(3))
        assert result is not None
        low, high = result.removals[0].comprehensiveness_interval
        return high - low

    assert width(grouped) == pytest.approx(5**0.5 * width(alone), rel=0.2)
    assert width(windows) > 1.5 * width(alone)


def test_replaced_attention_stays_on_present_timesteps() -> None:
    """Uniform attention is the same at each, and permuted attention has the same weights in another order."""
    lengths = np.arange(100) % TIMESTEPS + 1
    present = np.arange(TIMESTEPS) < lengths[:, np.newaxis]
    x = np.where(present[..., np.newaxis], X, np.nan)
    weights = np.random.default_rng(1).random((100, TIMESTEPS, 3)).astype(np.float32) * present[..., np.newaxis]
    seen: list[Array] = []

    def attend(sequences: Array, attention: Array) -> Array:
        np.testing.assert_array_equal(sequences, x)
        seen.append(attention)
        return np.asarray(attention.argmax(axis=1)[:, :1] == weights.argmax(axis=1)[:, :1], np.float32)

    test = LabelledSequences(x, np.ones(100, int))
    scores = replaced_attention(attend, lambda _: weights, test, BINARY, np.random.default_rng(0))
    uniform, permuted = seen
    np.testing.assert_allclose(uniform, np.repeat((present / lengths[:, np.newaxis])[..., np.newaxis], 3, axis=2))
    assert (permuted[~present] == 0).all()
    np.testing.assert_array_equal(np.sort(permuted, axis=1), np.sort(weights, axis=1))
    kept = (permuted == weights).all(axis=2) & present
    assert 0 < kept.sum() < present.sum() / 3
    assert 0 < scores["permuted"] < 0.5
    assert scores.keys() == {"uniform", "permuted"}


@pytest.fixture(scope="module")
def trained() -> Callable[[str], tuple[Any, Dataset]]:
    """Return a function that returns the model of a case and its data; each is trained once."""
    return cache(lambda name: CASES[name].trained(seed=100))


@pytest.mark.parametrize("name", ["additive, add-two-numbers", "after-LSTM, shifted states"])
def test_the_sentence_is_right_for_trained_models(name: str, trained: Callable[[str], tuple[Any, Dataset]]) -> None:
    """Attention of the first is on the two numbers, and that of the second on states that only know the label."""
    assert measured(*trained(name), seed=100).attention_finds == CASES[name].finds


@pytest.mark.parametrize("name", ["additive, add-two-numbers", "after-LSTM, recurrent", "after-LSTM, decoy"])
def test_importance_is_on_the_feature_and_the_cell_that_decide(
    name: str, trained: Callable[[str], tuple[Any, Dataset]]
) -> None:
    """The decoy looks like the label at the same timestep, and has no importance at training and on request."""
    shares = masses(*trained(name), CASES[name], seed=100)
    assert shares["features at training"] >= 0.95
    assert shares["cells at training"] >= 0.95
    assert shares["features on request"] >= 0.95
    assert shares["cells on request"] >= 0.9
