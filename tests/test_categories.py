"""Categories are given by name or by index, and static features count."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.codecs.tables import decode_csv_table
from service.app import create_app
from service.artifact.categories import index_of, wrong_indices
from service.engines import EngineChoice
from service.settings import Settings
from tests.categorized import CATEGORIES, COLOURS, FEATURES, STATIC, categorized_card, sample
from tests.conftest import connect

pytestmark = pytest.mark.anyio

NAMED: list[list[Any]] = [[50.5, "blue", 30, "town 7"], [40, "red", 30, "town 7"], [45, None, 30, "town 7"]]
BY_INDEX: list[list[Any]] = [[50.5, 2, 30, 7], [40, 0, 30, 7], [45, None, 30, 7]]


@pytest.fixture
async def goods(categorized: Path, engine: EngineChoice) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the app over the model of categories."""
    async with connect(create_app(Settings(artifacts=categorized, model="goods", engine=engine))) as client:
        yield client


async def predicted(client: httpx.AsyncClient, sequence: Any) -> dict[str, Any]:
    answer = await client.post("/predict", json={"sequence": sequence})
    assert answer.status_code == 200, answer.text
    prediction: dict[str, Any] = answer.json()["predictions"][0]
    return prediction


def objects(sequence: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(FEATURES, step, strict=True)) for step in sequence]


async def test_a_name_is_its_index(goods: httpx.AsyncClient) -> None:
    """Lists, objects, CSV and data frames give the same answer, by name and by index."""
    expected = await predicted(goods, BY_INDEX)
    assert await predicted(goods, NAMED) == expected
    assert await predicted(goods, objects(NAMED)) == expected
    assert await predicted(goods, objects(BY_INDEX)) == expected
    for rows in (NAMED, BY_INDEX):
        text = "speed,colour,age,town\n" + "".join(
            ",".join("" if cell is None else str(cell) for cell in row) + "\n" for row in rows
        )
        answer = await goods.post("/predict", content=text, headers={"content-type": "text/csv"})
        assert answer.json()["predictions"] == [expected]
        table = {"columns": FEATURES, "data": rows}
        for body in ({"dataframe_split": table}, {"dataframe_records": objects(rows)}, {"instances": [rows]}):
            answer = await goods.post("/invocations", json=body)
            assert answer.json() == {"predictions": [[expected["prediction"]]]}
    answer = await goods.post("/v1/models/goods:predict", json={"instances": [NAMED]})
    assert answer.json() == {"predictions": [[expected["prediction"]]]}


async def test_the_table_of_the_training_is_read_unchanged(goods: httpx.AsyncClient) -> None:
    """Semicolons, decimal commas, quotes, words for none and the columns of identifier, time and label are as there."""
    text = (
        '\ufeffid;day;label;speed;colour;age;town\n"p;1";2;up;40;"red";30;town 7\n'
        'p2;1;up;-;green;1e1;Atlantis\n"p;1";3;up;45;?;30;town 7\n"p;1";1;up;50,5;blue;30,0;town 7\n'
    )
    answer = await goods.post("/predict", content=text.encode(), headers={"content-type": "text/csv"})
    first, second = answer.json()["predictions"]
    one, other = await predicted(goods, NAMED), await predicted(goods, [[None, "green", 10, "elsewhere"]])
    assert first["prediction"] == pytest.approx(one["prediction"], abs=1e-6)
    assert first["attention"] == pytest.approx(one["attention"], abs=1e-6)
    assert second["prediction"] == pytest.approx(other["prediction"], abs=1e-6)


@pytest.mark.parametrize("feature", CATEGORIES)
async def test_an_unknown_name_is_the_index_of_other_values(goods: httpx.AsyncClient, feature: str) -> None:
    """It differs from each value, as none of their weights counts."""
    position = FEATURES.index(feature)

    def sequence(value: Any) -> Any:
        return [[*row[:position], value, *row[position + 1 :]] for row in BY_INDEX]

    unknown = await predicted(goods, sequence("nowhere"))
    assert unknown == await predicted(goods, sequence(len(CATEGORIES[feature])))
    assert unknown["prediction"] != (await predicted(goods, sequence(0)))["prediction"]


async def test_static_features_change_the_prediction_only(goods: httpx.AsyncClient) -> None:
    """Attention comes from the features that change."""
    before, after = await predicted(goods, NAMED), await predicted(goods, [[*step[:2], 90, "town 9"] for step in NAMED])
    assert abs(before["prediction"] - after["prediction"]) > 1e-3
    assert before["attention"] == pytest.approx(after["attention"], abs=1e-6)


COLOUR = "the index of a value (0 'red', 1 'green', 2 'blue', or 3 for any other)"


@pytest.mark.parametrize("wrong", [2.5, -1, 4])
async def test_a_number_that_is_no_index_is_refused(goods: httpx.AsyncClient, wrong: float) -> None:
    """The message names the place, and lists what was expected."""
    step = [50, wrong, 30, 7]
    csv = f"speed,colour,age,town\n50,{wrong},30,7\n"
    v2 = {"inputs": [{"name": "sequence", "shape": [1, 1, 4], "datatype": "FP32", "data": step}]}
    text = {"content-type": "text/csv"}
    answers = {
        "sequence[1][1]: expected a name or ": await goods.post("/predict", json={"sequence": [BY_INDEX[0], step]}),
        "sequence[5][1]: expected a name or ": await goods.post(
            "/predict", json={"sequence": [[50, 1, 30, 7]] * 5 + [step]}
        ),
        "sequence[0]['colour']: expected a name or ": await goods.post("/predict", json={"sequence": objects([step])}),
        "line 2, column 'colour': expected a name or ": await goods.post("/predict", content=csv, headers=text),
        "sequence[0][0][1]: expected ": await goods.post("/v2/models/goods/infer", json=v2),
    }
    for message, answer in answers.items():
        assert answer.status_code in (400, 422)
        problem = answer.json().get("detail") or answer.json()["error"]
        assert problem.startswith(message + COLOUR)
        assert f"got {wrong:g}" in problem


async def test_tensors_take_indices_only(goods: httpx.AsyncClient) -> None:
    """A name in a tensor is refused, flat or nested; its index is not."""
    for data in ([50, "red", 30, 7], [[[50, "red", 30, 7]]]):
        body = {"inputs": [{"name": "sequence", "shape": [1, 1, 4], "datatype": "FP32", "data": data}]}
        answer = await goods.post("/v2/models/goods/infer", json=body)
        assert answer.status_code == 400
        assert "sequence[0][0][1]: expected a finite number" in answer.text
    body["inputs"][0]["data"] = [50, 0, 30, 7]
    answer = await goods.post("/v2/models/goods/infer", json=body)
    one = await predicted(goods, [[50, "red", 30, "town 7"]])
    assert answer.json()["outputs"][0]["data"] == pytest.approx([one["prediction"]], abs=1e-6)


async def test_text_for_a_number_is_refused(goods: httpx.AsyncClient) -> None:
    """Only categories have names."""
    answer = await goods.post("/predict", json={"sequence": [["fast", "red", 30, "town 7"]]})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("sequence[0][0]: expected a finite number or null, got ")


async def test_the_card_and_the_example_show_them(goods: httpx.AsyncClient) -> None:
    """The example can be posted as it is."""
    card = (await goods.get("/model")).json()
    assert card["categories"]["colour"] == list(COLOURS)
    assert card["static_labels"] == list(STATIC)
    example = (await goods.get("/model/example")).json()
    answer = await goods.post("/predict", json={"sequences": example["sequences"]})
    assert answer.status_code == 200, answer.text


async def test_importance_of_a_timestep_uses_the_commonest_value(goods: httpx.AsyncClient) -> None:
    """The baseline of a category is an index of a value, so that a model can run it."""
    answer = await goods.post("/predict", json={"sequence": NAMED, "importance": True})
    assert len(answer.json()["predictions"][0]["importance"]) == len(NAMED)
    baseline = np.array(categorized_card().baseline)
    x = sample()
    assert set(baseline[:, 1]) == {np.bincount(x[~np.isnan(x[:, :, 1]), 1].astype(int)).argmax()}


def test_wrong_indices_are_found_in_categories_only() -> None:
    """Fractions, negative numbers and numbers above that of unknown values are wrong; missing values are not."""
    sequences = np.array([[[-1, 3, 0.5, 40], [0, 4, 0, 0.5], [0, np.nan, np.inf, -1]]], np.float32)
    assert np.argwhere(wrong_indices(sequences, categorized_card())).tolist() == [[0, 1, 1], [0, 1, 3], [0, 2, 3]]


def test_a_number_in_text_is_a_name_where_names_are_numbers() -> None:
    """Otherwise it is an index."""
    described = categorized_card().model_copy(update={"categories": {"colour": ("10", "20"), "town": ("a", "b")}})
    array, _ = decode_csv_table(b"speed,colour,age,town\n1,20,3,1\n1,1,3,b\n", described, 9)
    assert array[0, :2, [1, 3]].T.tolist() == [[1, 1], [2, 1]]
    assert index_of("30", ("10", "20")) == 2
