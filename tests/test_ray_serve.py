"""The service on Ray Serve: its settings, its files in deploy/ray, and two replicas behind the ingress of HAProxy."""

import inspect
import os
import re
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import anyio
import httpx
import jsonschema
import kubernetes_validate
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from benchmarks.contestants import RAY_VARIABLES
from benchmarks.on_ray import ray_variables, script
from service.settings import Settings
from tests import (
    test_answers,
    test_content_encoding,
    test_explaining,
    test_invocations,
    test_kserve,
    test_oip,
    test_predict,
    test_tfserving,
)
from tests.server import ROOT, free_port, get, post, running, wait_until_ready
from tests.test_deploy import prometheus, wait_for_value
from tests.test_kubernetes import CUSTOM
from tests.test_metrics import by

with warnings.catch_warnings():  # Ray calls deprecated functions of pydantic
    warnings.simplefilter("ignore", DeprecationWarning)
    from ray import serve
    from ray.serve.schema import ServeDeploySchema

    from service.ray_serve import REFUSED, ReplicaSettings, app

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "deploy/ray/rayservice.yaml").read_text()))
#: Tests of the API that need only a client and the artifacts.
API = (
    test_answers,
    test_content_encoding,
    test_explaining,
    test_invocations,
    test_kserve,
    test_oip,
    test_predict,
    test_tfserving,
)
#: Those among them about what the server does with a connection, which is the ingress's here.
OF_SERVER = {"test_refusing_an_announced_body_closes_the_connection"}
#: Clients at once.
CLIENTS = 8
#: Longest time to wait for Ray. It starts a dozen processes.
SECONDS = 240


def test_arguments_are_settings_by_their_names() -> None:
    """Serve passes text from its command line and values from a file; both make an application."""
    assert isinstance(app({"max_batch": "64", "access_log": "true"}), serve.Application)
    assert isinstance(app(CONFIG["applications"][0]["args"]), serve.Application)
    settings = ReplicaSettings.from_arguments({"max_batch": "64", "pin": {"after-lstm": 3}})
    assert (settings.max_batch, settings.pin) == (64, {"after-lstm": 3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_batch": "many"}, "max_batch: "),
        ({"max_bach": 64}, "max_bach: "),
        ({"metrics_port": 0}, "metrics_port: "),
        *(({name: 1}, f"{name}: expected no such setting on Ray: ") for name in REFUSED),
    ],
)
def test_other_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    """The error names a wrong value, an unknown name, and a setting that a replica does not have."""
    with pytest.raises(ValueError, match=f"^{message}"):
        app(arguments)


def test_variables_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a replica does not have is refused, too, and one that protects the service must not be empty."""
    assert set(REFUSED) <= set(Settings.model_fields)
    monkeypatch.setenv("SERVICE_MAX_BATCH", "32")
    assert ReplicaSettings.from_arguments({}).max_batch == 32
    monkeypatch.setenv("SERVICE_KEYS", "")
    with pytest.raises(ValueError, match=r"^SERVICE_KEYS: expected a file"):
        app({})
    monkeypatch.delenv("SERVICE_KEYS")
    monkeypatch.setenv("SERVICE_TLS_CERT", "certificate.pem")
    with pytest.raises(ValueError, match=r"^tls_cert: expected no such setting"):
        app({})


def test_the_document_names_all() -> None:
    """It has each variable that Ray is started with, each refused setting, and the address of each file."""
    text = (ROOT / "docs/ray.md").read_text()
    for name, value in RAY_VARIABLES.items():
        assert f"{name}={value}" in text
    assert set(REFUSED) <= set(re.findall(r"`(\w+)`", text.partition("| instead |")[2]))
    assert {path.name for path in (ROOT / "deploy/ray").iterdir()} <= set(re.findall(r"deploy/ray/([\w.]+)", text))


def test_the_manifest_is_valid_and_deploys_the_same() -> None:
    """Serve knows each field of its configuration, Kubernetes and KubeRay know each of the manifest."""
    ServeDeploySchema.model_validate(CONFIG)
    ray_service, *others = MANIFESTS
    jsonschema.validate(ray_service, {**CUSTOM["RayService"], "$defs": CUSTOM["$defs"]})
    assert yaml.safe_load(ray_service["spec"]["serveConfigV2"]) == CONFIG
    newest = kubernetes_validate.latest_version()
    cluster = ray_service["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        whole = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
        kubernetes_validate.validate(whole, newest, strict=True)
        (container,) = whole["spec"]["containers"]
        variables = {one["name"]: one["value"] for one in container["env"]}
        assert variables == RAY_VARIABLES
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert ports["serve"] == CONFIG["http_options"]["port"]
    assert ports["attention"] == CONFIG["applications"][0]["args"]["metrics_port"]
    for manifest in others:
        if manifest["kind"] in CUSTOM:
            jsonschema.validate(manifest, {**CUSTOM[manifest["kind"]], "$defs": CUSTOM["$defs"]})
        else:
            kubernetes_validate.validate(manifest, newest, strict=True)


@contextmanager
def two_replicas(arguments: dict[str, Any]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run two replicas on this machine until the block ends; yield their address and the process of Ray."""
    (application,) = CONFIG["applications"]
    deployment = {"name": "AttentionService", "num_replicas": 2, "ray_actor_options": {"num_cpus": 0}}
    port = free_port()
    config = {
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [{**application, "args": arguments, "deployments": [deployment]}],
    }
    # Not pytest's folder, as the paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        (path := Path(folder, "serve.yaml")).write_text(yaml.safe_dump(config))
        port_of_ray = free_port()
        environment = os.environ | ray_variables(folder, port_of_ray, (free_port(), free_port(), free_port()))
        environment["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "0"  # no client is left at the end
        start = [script("ray"), "start", "--head", "--block", "--port", str(port_of_ray), "--temp-dir", folder]
        start += ["--node-ip-address", "127.0.0.1", "--include-dashboard", "false", "--num-cpus", "1"]
        run = [script("serve"), "run", str(path)]
        with running(start, env=environment) as ray, running(run, env=environment) as process:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process, SECONDS)
            wait_for(lambda: len(workers(url)) == 2)
            yield url, ray
            process.send_signal(signal.SIGINT)  # it ends what it has started on Ray, HAProxy for example
            process.communicate(timeout=SECONDS)


def wait_for(condition: Callable[[], object]) -> None:
    """Return once a condition holds; fail if that takes too long."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers(url: str) -> set[tuple[str, ...]]:
    """Return the labels of the processes that the metrics show."""
    return set(by(get(f"{url}/metrics").text, "attention_service_requests_in_flight", "worker"))


def replicas_of(process: subprocess.Popen[str]) -> set[int]:
    """Return the replicas among the processes that a process has started, directly or not."""
    found, waiting = set(), [process.pid]
    while waiting:
        pid = waiting.pop()
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ServeReplica"):
                found.add(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


async def pass_api_tests(url: str, artifacts: Path) -> int:
    """Run the tests of the API that need only a client and the artifacts; return their number."""
    passed = 0
    async with httpx.AsyncClient(base_url=url) as client:
        given = {"client": client, "artifacts": artifacts}
        for name, test in chain.from_iterable(vars(module).items() for module in API):
            needed = inspect.signature(test).parameters if inspect.iscoroutinefunction(test) else ()
            if name.startswith("test_") and "client" in needed and set(needed) <= set(given) and name not in OF_SERVER:
                await test(**{name: given[name] for name in needed})
                passed += 1
    return passed


async def ask(url: str, times: int, stop: Callable[[], bool] = lambda: False) -> tuple[NDArray[Any], int]:
    """Send single sequences from several clients.

    Returns:
        attention: `(answers, timesteps)`, of all answers.
        failed: the number of requests without an answer of the service. The ingress may answer 500 in its place.
    """
    attention, failed = [], 0

    async def repeat(client: httpx.AsyncClient, sequence: object) -> None:
        nonlocal failed
        for _ in range(times):
            if stop():
                return
            try:
                answer = (await client.post("/predict", json={"sequence": sequence})).raise_for_status()
            except httpx.HTTPError:
                failed += 1
            else:
                attention.append(answer.json()["predictions"][0]["attention"])

    async with httpx.AsyncClient(base_url=url) as client, anyio.create_task_group() as group:
        sequences = (await client.get("/model/example")).json()["sequences"]
        for sequence in sequences[:CLIENTS]:
            group.start_soon(repeat, client, sequence)
    return np.array(attention), failed


def counted(address: str) -> tuple[float, float, NDArray[Any]]:
    """Return what the metrics of an address count: requests for predictions, sequences, attention `(timesteps,)`."""
    text = get(f"{address}/metrics").text
    requests = by(text, "attention_service_requests_total", "route", "status")["/predict", "200"]
    mass = by(text, "attention_mass_total", "timestep", "version")
    attention = [mass[str(timestep), "1"] for timestep in range(20)]
    return requests, by(text, "attention_sequences_total", "version")["1",], np.array(attention)


def check_sums(url: str, metrics: str, folder: Path) -> None:
    """Each replica answers the sums of both, behind the ingress and on the port of the metrics: the client's counts.

    Prometheus has the same.
    """
    requests, sequences, mass = counted(url)
    attention, failed = anyio.run(ask, url, 25)
    assert (len(attention), failed) == (25 * CLIENTS, 0)
    wait_for(lambda: counted(url)[1] >= sequences + len(attention))  # replicas add their attention ten times a second
    for address in [url, metrics] * 4:  # each connection may reach the other replica
        found = counted(address)
        assert found[:2] == (requests + len(attention), sequences + len(attention))
        np.testing.assert_allclose(found[2] - mass, attention.sum(axis=0), atol=1e-3)
    with prometheus([metrics], folder) as address:
        wait_for_value(address, 'sum(attention_sequences_total{version="1"})', sequences + len(attention))
        wait_for_value(
            address,
            'sum(attention_service_requests_total{route="/predict", status="200"})',
            requests + len(attention),
        )


def check_loss(url: str, process: subprocess.Popen[str]) -> None:
    """No more requests fail than a killed replica was answering, and another replica takes its place and its counts."""
    before, (requests, *_) = replicas_of(process), counted(url)
    assert len(before) == 2
    began = time.monotonic()
    killed = False

    def kill_and_wait() -> bool:
        nonlocal killed
        if not killed and time.monotonic() > began + 0.5:
            os.kill(min(before), signal.SIGKILL)
            killed = True
        return killed and time.monotonic() > began + 2

    attention, failed = anyio.run(ask, url, 10**6, kill_and_wait)
    assert killed
    assert failed <= CLIENTS
    wait_for(lambda: len(replicas_of(process) - {min(before)}) == 2 and len(workers(url)) == 2)
    assert workers(url) == {("0",), ("1",)}
    assert len(attention) <= counted(url)[0] - requests <= len(attention) + failed


def test_two_replicas_are_one_service(artifacts: Path, tmp_path: Path) -> None:
    """They answer as the service does, count together, and replace each other; clients cannot load and unload."""
    scrapes = free_port()
    arguments = {"artifacts": str(artifacts), "model": "after-lstm", "max_body": 2**20, "metrics_port": scrapes}
    with two_replicas(arguments) as (url, process):
        assert anyio.run(pass_api_tests, url, artifacts) > 30
        node = get(f"{url}/attention").json()["node"]
        assert get(f"http://{node}:{scrapes}/health/live").status_code == 404
        check_sums(url, f"http://{node}:{scrapes}", tmp_path)
        ready = get(f"{url}/health/ready", headers={"X-Request-ID": "one"})
        assert ready.json() == {"status": "ready", "model": "after-lstm", "version": 1}
        assert ready.headers.get_list("X-Request-ID") == ["one"]
        assert post(f"{url}/v2/repository/models/after-lstm/unload").status_code == 403
        check_loss(url, process)
