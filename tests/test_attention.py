"""`GET /attention`: the profile that came with the model, as numbers or as a chart."""

from pathlib import Path

import httpx
import pytest

from service.inference.artifact import Artifact

pytestmark = pytest.mark.anyio

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
IMAGE_ELEMENT = "image/avif,image/webp,image/svg+xml,image/*;q=0.8"


async def test_the_profile_is_the_cards(client: httpx.AsyncClient, artifacts: Path) -> None:
    """Labels, mean, spread, peak and the number of sequences."""
    card = Artifact(artifacts / "after-lstm" / "1").read().card()
    response = await client.get("/attention")
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {
        "model": "after-lstm",
        "version": 1,
        "timestep_labels": [str(t) for t in range(20)],
        **card.attention.model_dump(mode="json"),
    }
    assert response.json()["peak"] == 10


@pytest.mark.parametrize(
    ("accept", "media_type", "start"),
    [
        ("image/svg+xml", "image/svg+xml", b"<?xml"),
        ("image/png", "image/png", b"\x89PNG"),
        ("image/*", "image/svg+xml", b"<?xml"),
        (IMAGE_ELEMENT, "image/svg+xml", b"<?xml"),
        ("image/png, image/svg+xml;q=0.5", "image/png", b"\x89PNG"),
        ("application/json", "application/json", b"{"),
        ("*/*", "application/json", b"{"),
        ("", "application/json", b"{"),
        ("IMAGE/PNG", "image/png", b"\x89PNG"),
        (BROWSER, "application/json", b"{"),
    ],
)
async def test_accept_chooses_between_numbers_and_chart(
    client: httpx.AsyncClient, accept: str, media_type: str, start: bytes
) -> None:
    """And caches are told so."""
    response = await client.get("/attention", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == media_type
    assert response.headers["Vary"] == "Accept"
    assert response.content.startswith(start)


@pytest.mark.parametrize("accept", ["text/csv", "nonsense"])
async def test_a_type_that_there_is_not_is_refused(client: httpx.AsyncClient, accept: str) -> None:
    """406, naming the types there are."""
    response = await client.get("/attention", headers={"Accept": accept})
    assert response.status_code == 406
    assert "image/png, image/svg+xml, application/json" in response.json()["detail"]


async def test_another_model_has_another_profile(client: httpx.AsyncClient) -> None:
    """Chosen in the query, chart included."""
    charts = [
        (await client.get(f"/attention?model={name}", headers={"Accept": "image/svg+xml"})).text
        for name in ("after-lstm", "three")
    ]
    assert charts[0] != charts[1]
    assert (await client.get("/attention?model=three")).json()["peak"] == 2
    assert (await client.get("/attention?model=four")).status_code == 404
