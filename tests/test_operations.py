"""Health, and the model card."""

from pathlib import Path

import httpx
import pytest

from service.inference.artifact import Artifact
from service.inference.engines import EngineChoice

pytestmark = pytest.mark.anyio


async def test_a_loaded_service_is_live_and_ready(client: httpx.AsyncClient) -> None:
    """Readiness says what is ready."""
    assert (await client.get("/health/live")).json() == {"status": "live"}
    assert (await client.get("/health/ready")).json() == {"status": "ready", "model": "after-lstm", "version": 1}


async def test_readiness_of_a_model_that_is_not_served(client: httpx.AsyncClient) -> None:
    """One can ask for a certain model."""
    assert (await client.get("/health/ready?model=three")).json()["model"] == "three"
    assert (await client.get("/health/ready?model=four")).status_code == 404


async def test_the_model_is_its_card_with_version_and_engine(
    client: httpx.AsyncClient, artifacts: Path, engine: EngineChoice
) -> None:
    """The card as written, and what serves it."""
    card = Artifact(artifacts / "three" / "1").read().card()
    response = await client.get("/model?model=three")
    assert response.json() == {**card.model_dump(mode="json"), "version": 1, "engine": engine}
