"""Wrong tokens, static values and lengths are refused by imported models on every route, with the place in the message.

The requests are random, from a fixed seed.
"""

import math
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.artifact.card import ModelCard
from service.artifact.version import Artifact
from service.settings import Settings
from tests.conftest import connect
from tests.infer import as_json, binary
from tests.originals import NAME, ORIGINALS

pytestmark = pytest.mark.anyio

#: Requests for each model.
COUNT: Final = 600
Rng = np.random.Generator


class Wrong(NamedTuple):
    """A wrong sequence.

    Attributes:
        sequence: lists of lists of values.
        timestep: the timestep with the wrong value; None if the length is wrong.
        feature: the feature with the wrong value; None if all of the timestep is wrong.
        is_static: whether it is the value of a static feature that changes.
    """

    sequence: list[Any]
    timestep: int | None = None
    feature: int | None = None
    is_static: bool = False

    @property
    def are_numbers(self) -> bool:
        """Whether tensors in binary can hold it."""
        return all(
            type(step) is list and all(type(value) in (int, float) and abs(value) < 1e30 for value in step)
            for step in self.sequence
        )


def right(card: ModelCard, rng: Rng) -> list[list[Any]]:
    """Return a sequence that the model takes."""
    timesteps = int(rng.integers(1, card.timesteps + 1)) if card.variable_length else card.timesteps
    rows: list[list[Any]]
    if card.tokens is not None:
        rows = rng.integers(card.tokens.least, card.tokens.most + 1, (timesteps, card.features)).tolist()
        return rows
    sequence = rng.standard_normal((timesteps, card.features)).round(3)
    static = np.isin(card.feature_labels, card.static_labels)
    sequence[:, static] = sequence[:1, static]
    rows = sequence.tolist()
    return rows


#: What is no number for any model, and what is no token.
NO_NUMBERS: Final[tuple[Any, ...]] = (None, True, "", "dog", [], [1], 1e39, -1e300)
NO_TOKENS: Final[tuple[Any, ...]] = (20, 21, 999, 10**9, 2**63, -1, -3, -(10**12), 0.5, 7.6, 19.0001, -1e-9, 1e30)


def value(card: ModelCard, rng: Rng) -> Wrong:
    """Put a wrong value at a random place."""
    wrong = NO_NUMBERS + NO_TOKENS if card.tokens is not None else NO_NUMBERS
    sequence = right(card, rng)
    t, f = int(rng.integers(len(sequence))), int(rng.integers(card.features))
    sequence[t][f] = wrong[int(rng.integers(len(wrong)))]
    return Wrong(sequence, t, f)


def static(card: ModelCard, rng: Rng) -> Wrong:
    """Change a static value after the first timestep."""
    sequence = right(card, rng)
    t, f = int(rng.integers(1, card.timesteps)), card.feature_labels.index(str(rng.choice(card.static_labels)))
    sequence[t][f] += 0.5
    return Wrong(sequence, t, f, is_static=True)


def length(card: ModelCard, rng: Rng) -> Wrong:
    """Repeat timesteps, or leave out some."""
    longer = card.timesteps + int(rng.integers(1, 4))
    count = longer if card.variable_length or rng.random() < 0.5 else int(rng.integers(0, card.timesteps))
    return Wrong((right(card, rng) * longer)[:count])


def width(card: ModelCard, rng: Rng) -> Wrong:
    """Add a value to a timestep, or leave one out."""
    sequence = right(card, rng)
    t = int(rng.integers(len(sequence)))
    sequence[t] = [*sequence[t], 1] if rng.random() < 0.5 else sequence[t][:-1]
    return Wrong(sequence, t)


def nested(route: str, name: str) -> Callable[[Wrong, list[Any]], tuple[str, dict[str, Any], str]]:
    """Return what makes a request of two sequences in JSON, of which the second is wrong: route, body, place."""
    return lambda wrong, other: (route, {"json": {name: [other, wrong.sequence]}}, f"{name}[1]")


def of_tensors(wrong: Wrong, other: list[Any]) -> tuple[str, dict[str, Any], str]:
    """Return a request of the Open Inference Protocol with nested data."""
    shape = [1, len(wrong.sequence), len(other[0])]
    return (
        f"/v2/models/{NAME}/infer",
        {"json": as_json([other], tensor={"shape": shape, "data": [wrong.sequence]})},
        ("sequence[0]"),
    )


def one(wrong: Wrong, _: list[Any]) -> tuple[str, dict[str, Any], str]:
    """Return a request of one sequence."""
    return "/predict", {"json": {"sequence": wrong.sequence}}, "sequence"


def in_binary(wrong: Wrong, other: list[Any]) -> tuple[str, dict[str, Any], str]:
    """Return a binary tensor of the wrong sequence; in JSON where it cannot be one."""
    if not wrong.are_numbers or not wrong.sequence or {*map(len, wrong.sequence)} != {len(other[0])}:
        return of_tensors(wrong, other)
    return f"/v2/models/{NAME}/infer", binary([wrong.sequence], "FP64", "<f8"), "sequence[0]"


ROUTES = (
    one,
    nested("/predict", "sequences"),
    nested(f"/v1/models/{NAME}:predict", "instances"),
    nested(f"/v1/models/{NAME}:predict", "inputs"),
    nested(f"/v1/models/{NAME}:explain", "instances"),
    nested("/invocations", "instances"),
    of_tensors,
    in_binary,
)


def pattern(wrong: Wrong, place: str) -> str:
    """Return the pattern of what the message names: the element, the static feature, or the number of timesteps."""
    if wrong.is_static:
        assert wrong.feature is not None
        return rf"sequences\[\d+\]\[{wrong.timestep}\]\[{wrong.feature}\]: expected .* is static"
    if wrong.timestep is None:
        return rf"({re.escape(place)}|sequence\.shape): expected .*, got (\[1, )?{len(wrong.sequence)}"
    feature = "" if wrong.feature is None else f"[{wrong.feature}]"
    return re.escape(f"{place}[{wrong.timestep}]{feature}: expected")


@pytest.fixture(params=["notebook .keras", "tokens", "two inputs", "encoder-decoder"], scope="module")
def served(request: pytest.FixtureRequest, originals: Path) -> tuple[FastAPI, ModelCard]:
    """A service for each of some imported models, and the model's card."""
    folder = originals / str(list(ORIGINALS).index(request.param)) / "artifacts"
    return create_app(Settings(artifacts=folder)), Artifact(folder / NAME / "1").read().card()


@pytest.fixture
async def asked(served: tuple[FastAPI, ModelCard]) -> AsyncIterator[tuple[httpx.AsyncClient, ModelCard]]:
    """Yield a client of the service, and the model's card."""
    app, card = served
    async with connect(app) as client:
        yield client, card


async def test_wrong_requests_are_refused(asked: tuple[httpx.AsyncClient, ModelCard]) -> None:
    """None is answered, none fails inside the service, and each message names the place."""
    client, card = asked
    rng = np.random.default_rng(0)
    kinds = [value, length, width, *([static] if card.static_labels else [])]
    for number in range(COUNT):
        wrong = kinds[number % len(kinds)](card, rng)
        route, body, place = ROUTES[int(rng.integers(len(ROUTES)))](wrong, right(card, rng))
        answer = await client.post(route, **body)
        message = answer.json().get("detail") or answer.json().get("error")
        assert answer.status_code in (400, 422), (route, body, answer.text)
        assert re.search(pattern(wrong, place), message), (route, body, message)


@pytest.mark.parametrize("cell", ["", "dog", "20", "-3", "7.6", "1e30", "word20", "inf"])
async def test_wrong_cells_are_refused(asked: tuple[httpx.AsyncClient, ModelCard], cell: str) -> None:
    """Each cell of a table in turn: the message names the line and the column."""
    client, card = asked
    rng = np.random.default_rng(0)
    is_wrong_number = card.tokens is not None or not cell or not math.isfinite(number_of(cell))
    for t in range(card.timesteps if is_wrong_number else 0):
        for label in card.feature_labels:
            rows = (right(card, rng) * card.timesteps)[: card.timesteps]
            cells = [list(map(str, row)) for row in rows]
            cells[t][card.feature_labels.index(label)] = cell
            text = "\n".join([",".join(card.feature_labels), *map(",".join, cells)])
            for route in ("/predict", "/invocations"):
                answer = await client.post(route, content=text, headers={"Content-Type": "text/csv"})
                message = answer.json().get("detail") or answer.json().get("error")
                is_filled = not cell and (label in card.static_labels or card.variable_length)
                if not is_filled:
                    assert answer.status_code in (400, 422), (text, answer.text)
                    assert f"line {t + 2}, column '{label}': expected" in message


def number_of(cell: str) -> float:
    """Return the number in a cell; infinity for text."""
    try:
        return float(cell)
    except ValueError:
        return math.inf
