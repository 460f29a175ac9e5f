"""Versions of ONNX alone, which have an origin instead of a training."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from service.app import create_app
from service.artifact.card import ModelCard
from service.artifact.gate import open_verified
from service.artifact.version import Artifact
from service.engines import opener
from service.errors import ArtifactError
from service.settings import Settings
from tests.conftest import connect
from tests.imported import ORIGIN, imported_card, numbers, of_numbers, run, write_imported

pytestmark = pytest.mark.anyio


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A version of ONNX alone, of the model `m`."""
    return write_imported(tmp_path, of_numbers(), imported_card("m"), numbers())


@pytest.fixture
async def client(artifact: Artifact) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service over this version."""
    async with connect(create_app(Settings(artifacts=artifact.directory.parent.parent))) as client:
        yield client


async def test_prediction_and_attention_are_those_of_plain_onnx_runtime(client: httpx.AsyncClient) -> None:
    """The service needs no SavedModel."""
    expected = run(of_numbers(), numbers())
    answer = await client.post("/predict", json={"sequences": numbers().tolist(), "attention": "full"})
    assert answer.status_code == 200
    predictions = answer.json()["predictions"]
    np.testing.assert_allclose([[one["prediction"]] for one in predictions], expected["prediction"], atol=1e-6)
    np.testing.assert_allclose([one["attention"] for one in predictions], expected["attention_vec"], atol=1e-6)


async def test_the_card_has_the_origin_and_no_training(client: httpx.AsyncClient) -> None:
    """`GET /model` says where the model is from."""
    card = (await client.get("/model")).json()
    assert card["training"] is None
    assert card["origin"] == ORIGIN.model_dump()
    assert card["lowering"]["source_digest"] is None
    assert card["engine"] == "onnx"


async def test_the_signatures_are_those_of_the_lowering(client: httpx.AsyncClient) -> None:
    """TensorFlow Serving's metadata have both signatures, V2's have the tensors."""
    metadata = (await client.get("/v1/models/m/metadata")).json()
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert {name: list(one["outputs"]) for name, one in signatures.items()} == {
        "serving_default": ["prediction"],
        "attention": ["prediction", "attention", "attention_vec"],
    }
    sequence = signatures["serving_default"]["inputs"]["sequence"]
    assert sequence["dtype"] == "DT_FLOAT"
    assert [axis["size"] for axis in sequence["tensor_shape"]["dim"]] == ["-1", "4", "2"]
    described = (await client.get("/v2/models/m")).json()
    assert described["platform"] == "onnx_onnxv1"
    assert [one["shape"] for one in described["outputs"]] == [[-1, 1], [-1, 4], [-1, 4, 3]]


async def test_a_table_is_read_by_the_labels_of_the_card(client: httpx.AsyncClient) -> None:
    """There are no options of a training that could say more."""
    text = "0,1\n" + "\n".join(f"{a},{b}" for a, b in numbers(1)[0].tolist())
    answer = await client.post("/predict", content=text, headers={"Content-Type": "text/csv"})
    expected = await client.post("/predict", json={"sequence": numbers(1)[0].tolist()})
    assert answer.json() == expected.json()


def test_engine_tensorflow_refuses_it_in_one_line(artifact: Artifact) -> None:
    """The message says which engine runs it."""
    with pytest.raises(ArtifactError, match=r"has no SavedModel, which engine tensorflow runs: use --engine onnx or"):
        open_verified(artifact.read(), opener("tensorflow", threads=1))


def test_a_lowering_of_a_lost_saved_model_is_refused(artifact: Artifact) -> None:
    """The card says that there was one."""
    card = json.loads(artifact.card_path.read_text())
    card["lowering"]["source_digest"] = "0" * 64
    artifact.card_path.write_text(json.dumps(card))
    artifact.write_sums()
    with pytest.raises(
        ArtifactError, match=r"saved_model\.pb is missing: .*card\.json says that .*was derived from it"
    ):
        open_verified(artifact.read(), opener("auto", threads=1))


def test_a_version_without_any_graph_is_refused(artifact: Artifact) -> None:
    """Nothing could answer."""
    artifact.lowering_path.unlink()
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=r"saved_model\.pb is missing"):
        open_verified(artifact.read(), opener("auto", threads=1))


def test_another_graph_than_at_the_import_is_refused(artifact: Artifact) -> None:
    """The golden example is replayed as for other versions."""
    other = of_numbers()
    other.graph.node[-1].op_type = "Tanh"
    artifact.lowering_path.write_bytes(other.SerializeToString())
    artifact.write_sums()
    with pytest.raises(ArtifactError, match="does not replay its golden example on engine onnx: prediction differs"):
        open_verified(artifact.read(), opener("auto", threads=1))


def test_a_card_without_training_and_origin_is_refused() -> None:
    """Each version is from somewhere."""
    with pytest.raises(ValidationError, match="training, origin: expected one of them, got neither"):
        imported_card("m", origin=None)


def test_the_origin_survives_the_way_through_json() -> None:
    """The name of the file has no folder."""
    card = imported_card("m")
    assert ModelCard.model_validate_json(card.model_dump_json()) == card
    with pytest.raises(ValidationError, match="file"):
        imported_card("m", origin={**ORIGIN.model_dump(), "file": "home/theirs.onnx"})
