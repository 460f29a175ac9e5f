"""Imported models of every kind answer over HTTP what their own programs compute, through every protocol."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.artifact.card import ModelCard
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE, Array
from service.artifact.version import Artifact
from service.settings import Settings
from tests.conftest import connect
from tests.infer import LENGTH, as_json, binary, tensors
from tests.originals import NAME, ORIGINALS

pytestmark = pytest.mark.anyio


class Asked(NamedTuple):
    """An imported model in a running service, and the answers of its own program.

    Attributes:
        client: a client of the service; the model is its default.
        card: the model's card.
        artifact: its version.
        sequences: sequences `(n, timesteps, features)`; NaN where a timestep is absent.
        prediction: `(n, outputs)` or `(n, steps, outputs)`.
        weights: attention, `(n, timesteps, units)`.
        tolerance: how far the service's numbers may be from these.
    """

    client: httpx.AsyncClient
    card: ModelCard
    artifact: Artifact
    sequences: Array
    prediction: Array
    weights: Array
    tolerance: float

    @property
    def rows(self) -> list[list[list[float]]]:
        """The sequences without their absent timesteps."""
        return [one[~np.isnan(one).all(axis=1)].tolist() for one in self.sequences]

    def where(self, chosen: Any) -> "Asked":
        """Return the same with some of the sequences."""
        parts = (self.sequences[chosen], self.prediction[chosen], self.weights[chosen])
        return Asked(self.client, self.card, self.artifact, *parts, self.tolerance)

    def check(self, prediction: Any, attention: Any = None, attention_vec: Any = None) -> None:
        """Compare answers. Sequences of attention may be shorter, and predictions of one number may have no axis."""
        got = np.array(prediction, float).reshape(self.prediction.shape)
        assert got == pytest.approx(self.prediction, abs=self.tolerance, rel=0)
        for given, expected in ((attention, self.weights.mean(axis=2)), (attention_vec, self.weights)):
            for one, whole in zip(given if given is not None else (), expected, strict=given is not None):
                assert np.array(one) == pytest.approx(whole[: len(one)], abs=self.tolerance, rel=0)
                assert not whole[len(one) :].any()


@pytest.fixture(params=ORIGINALS, scope="module")
def served(request: pytest.FixtureRequest, originals: Path) -> tuple[Path, FastAPI]:
    """The folder of each imported model in turn, and a service of its own for it."""
    folder = originals / str(list(ORIGINALS).index(request.param))
    return folder, create_app(Settings(artifacts=folder / "artifacts"))


@pytest.fixture
async def asked(served: tuple[Path, FastAPI]) -> AsyncIterator[Asked]:
    """Yield each imported model in turn."""
    folder, app = served
    artifact = Artifact(folder / "artifacts" / NAME / "1")
    with np.load(folder / "original.npz") as own:
        arrays = own["sequences"], own["prediction"], own["weights"], float(own["tolerance"])
    async with connect(app) as client:
        yield Asked(client, artifact.read().card(), artifact, *arrays)


async def test_prediction_and_attention_are_those_of_the_original_program(asked: Asked) -> None:
    """`POST /predict` answers its mean and all of its units, alone and in one request."""
    for some, body in (
        (asked, {"sequences": asked.rows}),
        (asked.where(slice(1, 2)), {"sequence": asked.rows[1]}),
    ):
        found = {}
        for detail in ("mean", "full"):
            answer = await asked.client.post("/predict", json={**body, "attention": detail})
            assert answer.status_code == 200, answer.text
            found[detail] = answer.json()["predictions"]
        attention, attention_vec = ([one["attention"] for one in answers] for answers in found.values())
        some.check([one["prediction"] for one in found["mean"]], attention, attention_vec)


#: Asks a model in one protocol, and returns predictions, and mean attention and that of all units if it has them.
Ask = Callable[[Asked], Awaitable[tuple[Any, ...]]]


async def post(asked: Asked, path: str, **arguments: Any) -> Any:
    """Return the answer in JSON."""
    answer = await asked.client.post(path, **arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()


def columns(found: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Return outputs that are there sequence by sequence."""
    return tuple([one[name] for one in found] for name in (PREDICTION, ATTENTION, ATTENTION_VEC) if name in found[0])


async def instances(asked: Asked) -> tuple[Any, ...]:
    """TensorFlow Serving, one row for each sequence."""
    body = {"instances": asked.rows, "signature_name": "attention"}
    return columns((await post(asked, f"/v1/models/{NAME}:predict", json=body))["predictions"])


async def inputs(asked: Asked) -> tuple[Any, ...]:
    """TensorFlow Serving, one array for each output."""
    body = {"inputs": {SEQUENCE: asked.rows}, "signature_name": "attention"}
    outputs = (await post(asked, f"/v1/models/{NAME}/versions/1:predict", json=body))["outputs"]
    return outputs[PREDICTION], outputs[ATTENTION], outputs[ATTENTION_VEC]


async def explained(asked: Asked) -> tuple[Any, ...]:
    """KServe's first protocol."""
    return columns((await post(asked, f"/v1/models/{NAME}:explain", json={"instances": asked.rows}))["explanations"])


async def invoked(asked: Asked) -> tuple[Any, ...]:
    """MLflow and SageMaker."""
    body = {"instances": asked.rows, "params": {"signature_name": "attention"}}
    return columns((await post(asked, "/invocations", json=body))["predictions"])


async def table(asked: Asked) -> tuple[Any, ...]:
    """A table in CSV for each sequence."""
    found = []
    for row in asked.rows:
        lines = [",".join(asked.card.feature_labels), *(",".join(map(str, values)) for values in row)]
        content, headers = "\n".join(lines), {"Content-Type": "text/csv"}
        found += (await post(asked, "/predict", content=content, headers=headers))["predictions"]
    return columns(found)


async def frame(asked: Asked) -> tuple[Any, ...]:
    """A frame of pandas for each sequence."""
    found = []
    for row in asked.rows:
        split = {"columns": asked.card.feature_labels, "data": row}
        found += (await post(asked, "/invocations", json={"dataframe_split": split}))["predictions"]
    return (found,)


async def tensors_in_json(asked: Asked) -> tuple[Any, ...]:
    """The Open Inference Protocol; sequences of different lengths in one request each."""
    found = []
    for row in asked.rows:
        outputs = (await post(asked, f"/v2/models/{NAME}/infer", json=as_json([row])))["outputs"]
        found.append({one["name"]: np.reshape(one["data"], one["shape"])[0] for one in outputs})
    return columns(found)


async def tensors_in_binary(asked: Asked) -> tuple[Any, ...]:
    """The Open Inference Protocol with binary data; NaN fills up shorter sequences."""
    arguments = binary(asked.sequences, parameters={"binary_data_output": True})
    answer = await asked.client.post(f"/v2/models/{NAME}/infer", **arguments)
    assert answer.status_code == 200, answer.text
    return columns([tensors(answer)])[0][0], *(part[0] for part in columns([tensors(answer)])[1:])


async def bytes_alone(asked: Asked) -> tuple[Any, ...]:
    """The Open Inference Protocol without JSON, for each whole sequence."""
    whole = [row for row in asked.rows if len(row) == asked.card.timesteps]
    content = np.array(whole, "<f4").tobytes()
    answer = await asked.client.post(f"/v2/models/{NAME}/infer", content=content, headers={LENGTH: "0"})
    assert answer.status_code == 200, answer.text
    outputs = tensors(answer)
    return outputs[PREDICTION], outputs[ATTENTION], outputs[ATTENTION_VEC]


@pytest.mark.parametrize(
    "ask", [instances, inputs, explained, invoked, table, frame, tensors_in_json, tensors_in_binary, bytes_alone]
)
async def test_every_protocol_has_the_same_numbers(asked: Asked, ask: Ask) -> None:
    """They are those of the original program."""
    if ask is bytes_alone:
        whole = ~np.isnan(asked.sequences).any(axis=(1, 2))
        asked = asked._replace(**{name: getattr(asked, name)[whole] for name in ("sequences", "prediction", "weights")})
    asked.check(*await ask(asked))


async def test_its_page_and_charts_are_served(asked: Asked) -> None:
    """The page reads the card; the charts show the attention of the examples."""
    assert (await asked.client.get("/", headers={"Accept": "text/html"})).status_code == 200
    assert (await asked.client.get("/model")).json()["origin"]["format"] in ("keras", "savedmodel", "onnx")
    for kind in ("training", "live"):
        answer = await asked.client.get(f"/attention?chart={kind}", headers={"Accept": "image/svg+xml"})
        assert answer.status_code == 200
    example = (await asked.client.get("/model/example")).json()
    assert (await asked.client.post("/predict", json=example)).status_code == 200


async def test_plain_onnx_runtime_opens_it(asked: Asked) -> None:
    """Nothing of this project is needed to run the graph."""
    content = asked.artifact.lowering_path.read_bytes()
    onnx.checker.check_model(content, full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [PREDICTION, ATTENTION, ATTENTION_VEC]
    asked.check(*session.run(names, {SEQUENCE: asked.sequences}))


async def test_attention_is_found(asked: Asked) -> None:
    """No import named it: the card says which tensor each unit is from."""
    units = sum(np.prod(list(source.axes.values()), dtype=int) for source in asked.card.attention_from)
    assert units == asked.weights.shape[2]
