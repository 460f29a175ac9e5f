"""The manifests in deploy/kubernetes and deploy/kserve are valid, and fit the service and each other."""

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from service.app import create_app
from service.settings import Settings
from tests.conftest import connect
from tests.server import ROOT
from tests.test_deploy import every, promtool

KUBERNETES = ROOT / "deploy/kubernetes"
KSERVE = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "deploy/kserve").iterdir())]
CUSTOM = yaml.safe_load((ROOT / "tests/specifications/custom-resources.yaml").read_text())
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
#: A Deployment has one of these, and any of the others.
ARTIFACTS = [name for name in COMPONENTS if name.startswith("artifacts-")]
OTHERS = [name for name in COMPONENTS if name not in ARTIFACTS]
#: The image was run with these: no right, no capability, a read-only root.
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SECCOMP = {"type": "RuntimeDefault"}

Manifest = dict[str, Any]


def kustomize(folder: Path) -> list[Manifest]:
    """Return the manifests of a kustomization."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    program = shutil.which("kubectl", path=places)
    assert program, "kubectl is missing: make install"
    outcome = subprocess.run([program, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return list(yaml.safe_load_all(outcome.stdout))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    """The manifests of the example, and of the base with each kind of artifacts and all other components."""
    copy = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(KUBERNETES, copy, dirs_exist_ok=True)
    for name in ARTIFACTS:
        (copy / name).mkdir()
        overlay = {"resources": ["../base"], "components": [f"../components/{one}" for one in [name, *OTHERS]]}
        (copy / name / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return {name: kustomize(copy / name) for name in ["example", *ARTIFACTS]}


@pytest.fixture(scope="module")
def manifests(rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    """Every different manifest in deploy/."""
    return list({repr(one): one for one in chain(*rendered.values(), KSERVE)}.values())


def of_kind(manifests: list[Manifest], kind: str) -> Iterator[Manifest]:
    return (manifest for manifest in manifests if manifest["kind"] == kind)


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Yield the specification of each pod."""
    for manifest in of_kind(manifests, "Deployment"):
        yield manifest["spec"]["template"]["spec"]
    for manifest in of_kind(manifests, "ServingRuntime"):
        yield {part: manifest["spec"][part] for part in ("containers", "volumes")}


def servers(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Yield each container that runs the service."""
    return (pod["containers"][0] for pod in pods(manifests))


def test_every_manifest_is_valid(manifests: list[Manifest]) -> None:
    """Each is valid in the newest Kubernetes, whose fields are the only ones; custom resources by their schemas."""
    newest = kubernetes_validate.latest_version()
    for manifest in manifests:
        if manifest["kind"] in CUSTOM:
            jsonschema.validate(manifest, {**CUSTOM[manifest["kind"]], "$defs": CUSTOM["$defs"]})
        else:
            kubernetes_validate.validate(manifest, newest, strict=True)
    for pod in pods(KSERVE):
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
        kubernetes_validate.validate(whole, newest, strict=True)


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [("Deployment", "replicas", "two"), ("Service", "port", 80), ("ServiceMonitor", "endpoints", {})],
)
def test_a_wrong_field_is_found(manifests: list[Manifest], kind: str, place: str, value: object) -> None:
    """A value of another type, and a field that does not exist, are errors."""
    manifest = next(of_kind(manifests, kind))
    wrong = {**manifest, "spec": {**manifest["spec"], place: value}}
    with pytest.raises(jsonschema.ValidationError):
        test_every_manifest_is_valid([wrong])


def test_every_component_is_in_the_example(rendered: dict[str, list[Manifest]]) -> None:
    """The example names all components; those that are off are comments."""
    text = (KUBERNETES / "example/kustomization.yaml").read_text()
    assert sorted(re.findall(r"^  (?:# )?- \.\./components/(\S+)$", text, re.MULTILINE)) == COMPONENTS
    images = {container["image"] for container in servers(rendered["example"])}
    assert images == {"registry.example.org/attention-service:1.0.0"}


def test_every_setting_exists(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    """All variables and flags are settings of the service, and their values are valid."""
    variables = {
        name: value for manifest in of_kind(manifests, "ConfigMap") for name, value in manifest["data"].items()
    }
    variables |= {one["name"]: one["value"] for container in servers(manifests) for one in container.get("env", ())}
    flags = [flag for container in servers(manifests) for flag in container.get("args", ())]
    assert len(variables) > 3
    assert len(flags) == 3
    assert {name.removeprefix("SERVICE_").lower() for name in variables} <= set(Settings.model_fields)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    Settings.from_command_line(flags)


@pytest.mark.anyio
async def test_every_probe_is_a_route(manifests: list[Manifest], artifacts: Path) -> None:
    """The probes of a service with a model succeed."""
    probes = {
        (kind, container[kind]["httpGet"]["path"])
        for container in servers(manifests)
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert len(probes) == 3
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", engine="onnx"))
    async with app.router.lifespan_context(app), connect(app) as client:
        for _, path in probes:
            assert (await client.get(path)).status_code == 200, path


def test_containers_have_no_rights(manifests: list[Manifest]) -> None:
    """Each runs as the image's user, with a read-only root and without capabilities or the API server's token."""
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert (POD_SECURITY["runAsUser"], POD_SECURITY["runAsGroup"]) == (int(user[1]), int(user[2]))
    for pod in pods(manifests):
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            security = pod.get("securityContext", {}) | container["securityContext"]
            assert security.items() >= {**POD_SECURITY, **CONTAINER_SECURITY, "seccompProfile": SECCOMP}.items()
    for holder in [manifest["spec"]["template"]["spec"] for manifest in of_kind(manifests, "Deployment")]:
        assert holder["automountServiceAccountToken"] is False
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["service"]
    assert (compose["read_only"], compose["cap_drop"]) == (True, ["ALL"])


def test_volumes_and_mounts_belong_together(manifests: list[Manifest]) -> None:
    """Each volume is mounted and each mount has a volume; only /tmp can be written."""
    for pod in pods(manifests):
        mounts = [mount for container in pod["containers"] for mount in container["volumeMounts"]]
        assert {mount["name"] for mount in mounts} == {volume["name"] for volume in pod["volumes"]}
        assert {mount["mountPath"] for mount in mounts if not mount.get("readOnly")} == {"/tmp"}  # noqa: S108


def test_a_stopping_pod_has_the_time_to_drain(rendered: dict[str, list[Manifest]]) -> None:
    """Kubernetes waits for the delay, for the timeout, and for 10 more seconds."""
    settings = next(of_kind(rendered["example"], "ConfigMap"))["data"]
    drain = int(settings["SERVICE_DRAIN_DELAY"]) + int(settings["SERVICE_DRAIN_TIMEOUT"])
    assert next(pods(rendered["example"]))["terminationGracePeriodSeconds"] == drain + 10
    runtime = {one["name"]: one["value"] for one in next(servers(KSERVE))["env"]}
    assert int(runtime["SERVICE_DRAIN_DELAY"]) + int(runtime["SERVICE_DRAIN_TIMEOUT"]) + 10 == 30  # by default


def test_the_parts_find_each_other(rendered: dict[str, list[Manifest]]) -> None:
    """Selectors, ports, the ConfigMap and the target of the autoscaler are those of the Deployment."""
    for manifests in rendered.values():
        deployment = next(of_kind(manifests, "Deployment"))
        template = deployment["spec"]["template"]
        labels, container = template["metadata"]["labels"], template["spec"]["containers"][0]
        assert container["envFrom"] == [
            {"configMapRef": {"name": next(of_kind(manifests, "ConfigMap"))["metadata"]["name"]}}
        ]
        assert next(of_kind(manifests, "Service"))["spec"]["selector"] == labels
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        assert next(of_kind(manifests, "PodDisruptionBudget"))["spec"]["selector"]["matchLabels"] == labels
        assert all(one["spec"]["podSelector"] == {"matchLabels": labels} for one in of_kind(manifests, "NetworkPolicy"))
        assert all(
            one["labelSelector"]["matchLabels"] == labels for one in template["spec"]["topologySpreadConstraints"]
        )
        assert template["spec"]["serviceAccountName"] == next(of_kind(manifests, "ServiceAccount"))["metadata"]["name"]
        target = next(of_kind(manifests, "HorizontalPodAutoscaler"))["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
        ports = {port["name"] for port in container["ports"]}
        used = [part.get("targetPort", part.get("port")) for part in every(manifests) if "port" in part]
        assert {port for port in used if isinstance(port, str)} == ports


def test_prometheus_finds_the_pods_under_the_name_of_the_rules(manifests: list[Manifest]) -> None:
    """The ServiceMonitor takes the name of the job from a label of the Service, which has the name in the rules."""
    monitor, service = next(of_kind(manifests, "ServiceMonitor")), next(of_kind(manifests, "Service"))
    labels = service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    rules = (ROOT / "deploy/prometheus/attention.rules.yml").read_text()
    assert set(re.findall(r'job="([^"]*)"', rules)) == {labels[monitor["spec"]["jobLabel"]]}
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_the_adapter_gives_the_metric_of_the_autoscaler(manifests: list[Manifest], tmp_path: Path) -> None:
    """The rule of the Prometheus adapter has the autoscaler's metric, and its query is PromQL once it is filled in."""
    folder = KUBERNETES / "components/autoscale-in-flight"
    rule = yaml.safe_load((folder / "adapter.yaml").read_text())["rules"]["custom"][0]
    metrics = {
        metric["pods"]["metric"]["name"]
        for autoscaler in of_kind(manifests, "HorizontalPodAutoscaler")
        for metric in autoscaler["spec"]["metrics"]
        if metric["type"] == "Pods"
    }
    assert metrics == {rule["seriesQuery"].split("{")[0]}
    query = rule["metricsQuery"]
    for placeholder, value in {"Series": metrics.pop(), "LabelMatchers": 'pod=~"a|b"', "GroupBy": "pod"}.items():
        query = query.replace(f"<<.{placeholder}>>", value)
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [{"record": "r", "expr": query}]}]}))
    promtool("check", "rules", path)


def test_kserve_calls_the_model_by_its_name() -> None:
    """The runtime serves the model with the InferenceService's name, on the port that KServe scrapes and calls."""
    service, runtime = KSERVE
    container = runtime["spec"]["containers"][0]
    assert "--model={{.Name}}" in container["args"]
    port = container["ports"][0]["containerPort"]
    assert f"--port={port}" in container["args"]
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(port)
    wanted, offered = service["spec"]["predictor"]["model"]["modelFormat"], runtime["spec"]["supportedModelFormats"]
    assert wanted in [{part: one[part] for part in ("name", "version")} for one in offered]
    assert service["spec"]["predictor"]["model"]["protocolVersion"] in runtime["spec"]["protocolVersions"]
