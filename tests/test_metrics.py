"""`GET /metrics`: requests, models, processes; and its table in docs/metrics.md."""

import asyncio
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from service.api.observing import METHODS
from service.app import create_app
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, held, interceptable, until
from tests.server import ROOT
from tests.test_extension import every_route

pytestmark = pytest.mark.anyio

DOC = (ROOT / "docs/metrics.md").read_text().partition("\n## Of attention")[0]
SEQUENCES = {"sequences": [[[0.1, -0.2]] * 20] * 3}
#: A count by some labels.
Counts = dict[tuple[str, ...], float]


@pytest.fixture
def app(artifacts: Path, tmp_path: Path) -> FastAPI:
    """Return an app with a rejected version, whose queue has room for three sequences and whose engine can be held."""
    folder = tmp_path / "artifacts"
    shutil.copytree(artifacts, folder)
    shutil.copytree(folder / "three/1", folder / "three/2")
    (folder / "three/2/assets.extra/card.json").write_text("{}")
    settings = Settings(artifacts=folder, model="after-lstm", max_queue=3, max_sequences=3, max_body=2**20)
    return create_app(settings, open_engine=interceptable(seconds=IN_THREAD))


async def scraped(client: httpx.AsyncClient) -> str:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    return answer.text


def by(text: str, name: str, *labels: str) -> Counts:
    """Return the values of a metric, added up by some of its labels."""
    found: Counts = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                key = tuple(sample.labels[label] for label in labels)
                found[key] = found.get(key, 0) + sample.value
    return found


async def test_every_request_is_counted_exactly(app: FastAPI) -> None:
    """The sums over all routes and methods are those of the client; bodies and durations are counted by route."""
    statuses: Counter[tuple[str, ...]] = Counter()
    methods: Counter[tuple[str, ...]] = Counter()
    sizes: Counter[bool] = Counter()
    asked = [(method.upper(), path) for method, path in every_route(app)]
    asked += [("HEAD", path) for method, path in asked if method == "GET"]
    asked += [("DELETE", "/predict"), ("BREW", "/predict"), ("GET", "/no-route"), ("OPTIONS", "/model")]
    async with connect(app) as client:
        for method, path in asked:
            for body in (b"", json.dumps(SEQUENCES).encode()) if method == "POST" else (b"",):
                content_type = {"Content-Type": "application/json"} if body else {}
                answer = await client.request(method, path, content=body, headers=content_type)
                statuses[(str(answer.status_code),)] += 1
                methods[(method if method in METHODS else "other",)] += 1
                sizes[bool(body)] += len(body)
        text = await scraped(client)
    total = sum(statuses.values())
    assert by(text, "attention_service_requests_total", "status") == statuses
    assert by(text, "attention_service_requests_total", "method") == methods
    assert by(text, "attention_service_request_duration_seconds_count") == {(): total}
    assert by(text, "attention_service_request_body_bytes_sum") == {(): sizes[True]}
    routes = by(text, "attention_service_requests_total", "route")
    assert by(text, "attention_service_request_duration_seconds_count", "route") == routes
    assert routes[("unknown",)] == 1
    assert by(text, "attention_service_requests_total", "method", "route")["HEAD", "/v2/models/{model}"] == 1
    assert not any("after-lstm" in route or "no-route" in route for (route,) in routes)


async def test_a_declared_length_does_not_spoil_the_sum_of_sizes(app: FastAPI) -> None:
    """A client may declare any length, also on a route that reads no body."""
    async with connect(app) as client:
        await client.get("/health/live", headers={"Content-Length": "18446744073709551615"})
        text = (await client.get("/metrics")).text
    [total] = re.findall(r'request_body_bytes_sum{route="/health/live"} (\S+)', text)
    assert float(total) == app.state.settings.max_body


async def test_sequences_are_those_of_triton_and_of_the_client(app: FastAPI) -> None:
    """The histograms of a version count the same requests and calls as its statistics."""
    async with connect(app) as client:
        for _ in range(3):
            assert (await client.post("/predict", json=SEQUENCES)).status_code == 200
        (statistics,) = (await client.get("/v2/models/after-lstm/stats")).json()["model_stats"]
        text = await scraped(client)
    labels = ("after-lstm", "1")
    for name, expected in {
        "sequences_total": 9,
        "queue_duration_seconds_count": 3,
        "inference_duration_seconds_count": 3,
        "batch_sequences_sum": 9,
    }.items():
        assert by(text, f"attention_service_{name}", "model", "version")[labels] == expected, name
    assert statistics["inference_count"] == 9
    assert statistics["inference_stats"]["queue"]["count"] == 3


async def test_refusals_have_a_reason_and_a_model(app: FastAPI) -> None:
    """The queue and the requests in flight are shown while they wait."""
    async with connect(app) as client:
        with held(app):
            waiting = asyncio.create_task(client.post("/predict", json=SEQUENCES))
            await until(lambda: app.state.repository.get().batcher.queue.rows == 3)
            assert (await client.post("/predict", json=SEQUENCES)).status_code == 429
            text = await scraped(client)
        assert by(text, "attention_service_queue_sequences", "model", "version", "worker")["after-lstm", "1", "0"] == 3
        assert by(text, "attention_service_requests_in_flight", "worker") == {("0",): 2}
        assert (await waiting).status_code == 200
        await client.get("/model?model=none")
        await client.get("/model?version=x")
        await client.post("/predict", content=b"x" * 2**20 + b"x", headers={"Content-Type": "application/json"})
        text = await scraped(client)
    assert by(text, "attention_service_refused_total", "model", "reason") == {
        ("after-lstm", "queue_full"): 1,
        ("", "unknown_model"): 1,
        ("", "invalid"): 1,
        ("after-lstm", "too_large"): 1,
    }
    assert by(text, "attention_service_queue_sequences", "model")[("after-lstm",)] == 0


async def test_a_client_that_disconnects_has_its_own_status(app: FastAPI) -> None:
    """So have bodies on routes that FastAPI's handler answers. Nobody is in flight afterwards."""

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        """Drop an answer."""

    for path in ("/predict", "/v2/repository/index"):
        headers = [(b"content-type", b"application/json"), (b"content-length", b"9")]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        await app({**scope, "http_version": "1.1", "client": None, "server": None, "scheme": "http"}, receive, send)
    async with connect(app) as client:
        text = await scraped(client)
    assert by(text, "attention_service_requests_total", "status") == {("499",): 2}
    assert by(text, "attention_service_requests_in_flight") == {(): 1}


async def test_counts_stay_when_a_version_is_retired(app: FastAPI) -> None:
    """They do not go backwards, and a version that is rejected is counted once."""
    async with app.router.lifespan_context(app), connect(app) as client:
        assert (await client.post("/predict?model=three", json={"sequence": [[0.1] * 3] * 6})).status_code == 200

        async def states() -> dict[tuple[str, ...], float]:
            return by(await scraped(client), "attention_service_model_state", "model", "version", "state")

        async with asyncio.timeout(60):
            while (await states()).get(("three", "2", "rejected")) != 1:
                await asyncio.sleep(0.05)
            shutil.rmtree(app.state.settings.artifacts / "three")
            while ("three", "1", "live") in await states():
                await asyncio.sleep(0.05)
        text = await scraped(client)
    for name in ("requests_total", "sequences_total"):
        assert by(text, f"attention_service_{name}", "model", "version")["three", "1"] == 1
    assert by(text, "attention_service_versions_rejected_total", "model") == {("three",): 1}


@pytest.fixture
async def complete(app: FastAPI) -> str:
    """Return metrics of all families."""
    async with app.router.lifespan_context(app), connect(app) as client:
        await client.post("/predict", json=SEQUENCES)
        await client.get("/model?model=none")
        async with asyncio.timeout(60):
            while not by(text := await scraped(client), "attention_service_versions_rejected_total"):
                await asyncio.sleep(0.05)
        openmetrics = (await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})).text
        families = parse_openmetrics(openmetrics)  # type: ignore[no-untyped-call]
        assert "attention_service_requests" in {family.name for family in families}
    return text


async def test_the_document_has_every_metric(complete: str) -> None:
    """docs/metrics.md has name, type, labels and meaning of each metric, in the order of the answer."""
    exported = []
    for family in text_string_to_metric_families(complete):
        if re.match("attention_(?!service_)", family.name):
            continue
        labels = [label for label in family.samples[0].labels if label != "le"]
        name = f"{family.name}_total" if family.type == "counter" else family.name
        exported.append((name, family.type, set(labels), family.documentation))
    row = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", re.MULTILINE)
    documented = [
        (name, kind, set(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in row.findall(DOC)
    ]
    assert len(documented) == 20
    assert sorted(documented, key=str) == sorted(exported, key=str)


async def test_promtool_accepts_the_metrics(complete: str) -> None:
    """Names and types follow Prometheus' rules."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus"
    arguments = [program, "check", "metrics"]
    outcome = await asyncio.to_thread(
        subprocess.run, arguments, input=complete, capture_output=True, text=True, timeout=60, check=False
    )
    assert (outcome.returncode, outcome.stdout + outcome.stderr) == (0, "")


def test_the_document_has_every_reason() -> None:
    """docs/metrics.md lists the reasons of all errors."""
    from service import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ServiceError)]
    reasons = {kind.reason for kind in kinds if kind is not errors.ServiceError}
    paragraph = DOC.split("**Reasons**")[1].split("\n- ")[0]
    assert set(re.findall(r"`(\w+)`", paragraph)) == reasons
