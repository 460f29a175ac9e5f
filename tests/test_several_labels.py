"""A model of several labels at once is trained, published and asked."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.app import create_app
from service.artifact.version import Artifact
from service.engines import EngineChoice
from service.settings import Settings
from tests.conftest import Make, connect

pytestmark = pytest.mark.anyio

NAMES = ("early", "late")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 6, 2)).astype(np.float32)
#: Whether the first feature is positive at timestep 1 and at timestep 4: any combination of both.
Y = np.stack([X[:, 1, 0] > 0, X[:, 4, 0] > 0], axis=1).astype(np.int64)


@pytest.fixture(scope="session")
def labelled(made_once: Callable[[str, Make], Path]) -> Path:
    """A folder with the model `labelled`, of two labels."""

    def train(folder: Path) -> None:
        from tests.samples import trained

        np.savez(folder / "data.npz", x=X, y=Y, target_names=np.array(NAMES))
        trained(
            name="labelled", data=str(folder / "data.npz"), task="multilabel", artifacts=folder / "models",
            units=8, epochs=40, batch_size=16, learning_rate=0.03,
        )  # fmt: skip

    return made_once("labelled", train) / "models"


@pytest.fixture
async def asking(labelled: Path, engine: EngineChoice) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the app over the model."""
    async with connect(create_app(Settings(artifacts=labelled, model="labelled", engine=engine))) as client:
        yield client


def test_the_card_has_the_labels_and_their_metrics(labelled: Path) -> None:
    """Both labels are learnt, and importance lies where they are."""
    card = Artifact(labelled / "labelled" / "1").read().card()
    assert (card.target.task, card.target.classes) == ("multilabel", NAMES)
    assert card.metrics["accuracy"] > 0.8
    assert card.metrics["exact match"] <= card.metrics["accuracy"]
    assert card.importance is not None
    assert set(np.argsort(card.importance.drop)[-2:]) == {1, 4}


async def test_each_protocol_answers_all_labels(asking: httpx.AsyncClient) -> None:
    """There is a probability for each label; the label is the list of those that are likelier than not."""
    body = {"sequences": X[:32].tolist(), "probabilities": True, "importance": True}
    predictions = (await asking.post("/predict", json=body)).json()["predictions"]
    for one in predictions:
        assert one["label"] == [name for name, p in zip(NAMES, one["prediction"], strict=True) if p >= 0.5]
        assert list(one["probabilities"].values()) == one["prediction"]
        assert sum(one["attention"]) == pytest.approx(1, abs=1e-5)
    assert len({tuple(one["label"]) for one in predictions}) == 4  # none, either and both
    expected = [pytest.approx(one["prediction"], abs=1e-6) for one in predictions]
    instances = {"instances": X[:32].tolist()}
    for path in ("/invocations", "/v1/models/labelled:predict"):
        assert (await asking.post(path, json=instances)).json()["predictions"] == expected
    tensor = {"name": "sequence", "shape": [32, 6, 2], "datatype": "FP32", "data": X[:32].ravel().tolist()}
    body = {"inputs": [tensor], "outputs": [{"name": "prediction"}]}
    (output,) = (await asking.post("/v2/models/labelled/infer", json=body)).json()["outputs"]
    assert output["shape"] == [32, 2]
    np.testing.assert_allclose(
        np.reshape(output["data"], (32, 2)), [one["prediction"] for one in predictions], atol=1e-6
    )
