"""Parts of attention: requests for one layer, head or query, which the card's `attention_from` names."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from service.app import create_app
from service.artifact.card import AttentionSource
from service.artifact.gate import open_verified
from service.engines import opener
from service.errors import ArtifactError
from service.settings import Settings
from tests.conftest import connect
from tests.imported import imported_card, numbers, of_numbers, run, write_imported

pytestmark = pytest.mark.anyio

#: Six, four and one units.
SOURCES = (
    AttentionSource(tensor="first", axes={"head": 2, "query": 3}),
    AttentionSource(tensor="second", axes={"head": 4}),
    AttentionSource(tensor="third", axes={}),
)
UNITS = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `m`, whose units are named, and `unnamed`."""
    path = tmp_path_factory.mktemp("parts")
    card = imported_card("m", attention_from=SOURCES, baseline=((0.0, 0.0),) * 4)
    write_imported(path, of_numbers(UNITS), card, numbers())
    write_imported(path, of_numbers(UNITS), imported_card("unnamed"), numbers())
    return path


@pytest.fixture
async def client(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service over these models."""
    async with connect(create_app(Settings(artifacts=folder, model="m"))) as client:
        yield client


@pytest.mark.parametrize(
    ("part", "units"),
    [
        ({}, range(11)),
        ({"layer": 0}, range(6)),
        ({"layer": 1}, range(6, 10)),
        ({"layer": 2}, [10]),
        ({"layer": 0, "head": 1}, [3, 4, 5]),
        ({"layer": 0, "head": 1, "query": 2}, [5]),
        ({"query": 1}, [1, 4]),
        ({"head": 0}, [0, 1, 2, 6]),
        ({"head": 3}, [9]),
    ],
)
async def test_the_attention_of_a_part_is_the_mean_of_its_units(
    client: httpx.AsyncClient, part: dict[str, int], units: list[int]
) -> None:
    """All units along an axis count that the request leaves out, of each layer that has the chosen axes."""
    expected = run(of_numbers(UNITS), numbers())["attention_vec"][:, :, list(units)].mean(axis=2)
    answer = await client.post("/predict", json={"sequences": numbers().tolist(), "attention": part})
    assert answer.status_code == 200, answer.text
    got = np.array([one["attention"] for one in answer.json()["predictions"]])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=0, atol=1e-6)
    (one,) = (await client.post("/predict", json={"sequence": numbers()[0].tolist(), "attention": part})).json()[
        "predictions"
    ]
    assert one["attention"] == pytest.approx(expected[0], abs=1e-6)


async def test_the_other_fields_are_those_of_all_attention(client: httpx.AsyncClient) -> None:
    """Importance and its correlation with mean attention do not depend on the part."""
    body = {"sequence": numbers()[0].tolist(), "importance": True, "probabilities": True}
    plain = (await client.post("/predict", json=body)).json()["predictions"][0]
    part = (await client.post("/predict", json={**body, "attention": {"layer": 1}})).json()["predictions"][0]
    assert part.pop("attention") != plain.pop("attention")
    assert part == plain


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"layer": 3}, "attention.layer: expected an index from 0 to 2, got 3"),
        ({"heads": 0}, "attention: expected any of layer (0 to 2), head (0 to 3), query (0 to 2), got 'heads'"),
        ({"layer": 1, "query": 0}, "attention: expected any of layer (0 to 2), head (0 to 3), got 'query'"),
        ({"layer": 0, "head": 2}, "attention.head: expected an index from 0 to 1, got 2"),
        ({"head": 4}, "attention.head: expected an index from 0 to 3, got 4"),
        ({"head": 3, "query": 0}, "attention: expected a part that some layer has, of layer (0 to 2), head (0 to 3)"),
        ({"head": -1}, "attention: expected an index of at least 0 as 'head', got -1"),
        ({"head": 1.0}, "attention: expected an index of at least 0 as 'head', got 1.0"),
        ({"head": True}, "attention: expected an index of at least 0 as 'head', got true"),
        ({"head": [1]}, "attention: expected an index of at least 0 as 'head', got a list"),
        (["head"], "attention: expected 'mean', 'full' or 'none', got a list"),
    ],
)
async def test_a_part_that_is_not_there_is_refused(client: httpx.AsyncClient, part: Any, message: str) -> None:
    """The message names the axis, and what there is."""
    answer = await client.post("/predict", json={"sequence": numbers()[0].tolist(), "attention": part})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(message)


async def test_a_model_whose_card_names_no_parts_has_none(client: httpx.AsyncClient) -> None:
    """Its units are all that can be asked for."""
    body = {"sequence": numbers()[0].tolist(), "attention": {"layer": 0}}
    answer = await client.post("/predict?model=unnamed", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith("as the card has no attention_from, got a part")


def test_the_units_of_the_card_are_those_of_the_golden_example(tmp_path: Path) -> None:
    """Otherwise a part would be that of another layer."""
    artifact = write_imported(tmp_path, of_numbers(UNITS - 1), imported_card("m", attention_from=SOURCES), numbers())
    with pytest.raises(ArtifactError, match=r"card\.json describes 11 unit\(s\) in attention_from, .* has 10"):
        open_verified(artifact.read(), opener("onnx", threads=1))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"layer": 2}, "expected no axis 'layer'"),
        ({"head": 0}, "greater than or equal to 1"),
        ({str(axis): 1 for axis in range(17)}, "at most 16 items"),
    ],
)
def test_wrong_axes_are_refused(axes: dict[str, int], message: str) -> None:
    """`layer` is the index of the source."""
    with pytest.raises(ValidationError, match=message):
        AttentionSource(tensor="first", axes=axes)
