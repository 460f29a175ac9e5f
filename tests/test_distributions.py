"""Tensors that are distributions over the timesteps: their axes, and what is left out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.importing.distributions import (
    Distribution,
    belong_together,
    candidates,
    distribution,
    number_of_examples,
    without_copies,
)

N, T = 8, 5
RNG = np.random.default_rng(0)


def weights(*shape: int, axis: int = -1) -> NDArray[np.float64]:
    """Return random distributions over an axis."""
    e = np.exp(RNG.standard_normal(shape))
    shares: NDArray[np.float64] = e / e.sum(axis=axis, keepdims=True)
    return shares


def found(name: str, values: NDArray[np.float64], steps: int | None = None) -> Distribution:
    """Return a tensor that is a distribution."""
    one = distribution(name, values, N, T, steps)
    assert isinstance(one, Distribution)
    return one


@pytest.mark.parametrize(
    ("shape", "axis", "steps", "axes"),
    [
        ((N, T), 1, None, {}),
        ((N, T, 1), 1, None, {}),
        ((N, 1, T), 2, None, {}),
        ((N, T, 3), 1, None, {"unit": 3}),
        ((N, 3, T), 2, None, {"unit": 3}),
        ((N, 3, T), 2, 3, {"step": 3}),
        ((N, T, T), 2, None, {"query": T}),
        ((N, T, T), 1, None, {"unit": T}),
        ((N, 4, T, T), 3, None, {"head": 4, "query": T}),
        ((N, 4, 3, T), 3, None, {"head": 4, "query": 3}),
        ((N, 4, 1, T), 3, None, {"head": 4}),
        ((N, 1, T, T), 3, None, {"query": T}),
        ((N, 4, T, 1, T), 4, None, {"head": 4, "query": T}),
        ((2 * N, T, T), 2, None, {"head": 2, "query": T}),
    ],
)
def test_the_axes_of_units_have_names(
    shape: tuple[int, ...], axis: int, steps: int | None, axes: dict[str, int]
) -> None:
    """Their sizes multiply to the units, which are in the order of the tensor."""
    values = weights(*shape, axis=axis)
    one = found("weights", values, steps)
    assert one.axes == axes
    assert len(one.units) == np.prod([*axes.values()])
    np.testing.assert_array_equal(one.units[0, 0], np.moveaxis(values, axis, -1).reshape(-1, T)[0])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (weights(N, 4), "which has no axis of 5 timesteps"),
        (weights(3, T), "which has no axis of 5 timesteps"),
        (RNG.standard_normal((N, T)), "holds negative values"),
        (np.full((N, T), np.nan), "holds negative values"),
        (2 * weights(N, T), "sums over axis 1 to between 2 and 2, expected 1 within 0.001"),
    ],
)
def test_other_tensors_have_a_reason(values: NDArray[np.float64], reason: str) -> None:
    """The reason is a part of a message."""
    one = distribution("other", values, N, T)
    assert isinstance(one, str)
    assert reason in one


def test_copies_parts_and_means_are_left_out() -> None:
    """The whole of all heads and queries is kept, and of two copies the later one."""
    whole = weights(N, 2, T, T)
    values = {
        "whole": whole,
        "copy": whole.copy(),
        "mean of heads": whole.mean(axis=1),
        "one head": whole[:, 1],
        "one query": whole[:, 0, 3],
        "other": weights(N, T),
    }
    kept = without_copies(found(name, array) for name, array in values.items())
    assert [one.name for one in kept] == ["copy", "other"]


def test_the_name_that_people_know_is_kept() -> None:
    """Else the one that conversion did not make; a repetition for each unit is a copy, too."""
    one = weights(N, T, 1, axis=1)
    copies = {"softmax": one, "Squeeze__12:0": one[..., 0], "repeated": np.repeat(one, 4, axis=2), "layer": one}
    listed = [found(name, array) for name, array in copies.items()]
    assert [kept.name for kept in without_copies(listed, ["softmax"])] == ["softmax"]
    assert [kept.name for kept in without_copies(listed, ["layer"], ["softmax"])] == ["softmax"]
    assert [kept.name for kept in without_copies(listed[:2])] == ["softmax"]


def test_candidates_depend_on_the_sequence() -> None:
    """Left out are weights of positions alone, selections of 0 and 1, and the prediction with its copies."""
    prediction = weights(N, T)
    values = {
        "positions": np.repeat(weights(1, T), N, axis=0),
        "selection": np.eye(T)[RNG.integers(0, T, N)],
        "copy of the prediction": prediction[:, :, None],
        "attention": weights(N, T),
    }
    assert [one.name for one in candidates(values, N, T, None, [prediction])] == ["attention"]


def test_layers_belong_together_if_they_have_queries() -> None:
    """Two distributions of single units may be of anything."""
    layers = [found(name, weights(N, 2, T, T)) for name in "ab"]
    assert belong_together(layers)
    assert not belong_together(layers[:1])
    assert not belong_together([found(name, weights(N, T)) for name in "ab"])
    assert not belong_together([layers[0], found("c", weights(N, 3, T, T))])


def test_examples_and_timesteps_are_told_apart() -> None:
    """There are never as many examples as timesteps."""
    assert all(number_of_examples(timesteps) != timesteps for timesteps in range(1, 20))
