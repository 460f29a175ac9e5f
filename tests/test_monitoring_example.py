"""The example of Prometheus and Grafana: its files fit each other, the service, the rules and the dashboards."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server import ROOT, execute

EXAMPLE = ROOT / "examples/monitoring"


def read(path: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text())


COMPOSE = read(EXAMPLE / "compose.yaml")


def mounts(service: str) -> dict[str, Path]:
    """Return the file or folder behind each path of a container."""
    pairs = [mount.split(":") for mount in COMPOSE["services"][service]["volumes"]]
    assert all(rights == "ro" for _, _, rights in pairs)
    return {inside: (EXAMPLE / outside).resolve(strict=True) for outside, inside, _ in pairs}


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    """Prometheus' own check finds the rules where the containers have them."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus"
    for inside, outside in mounts("prometheus").items():
        copy = tmp_path / Path(inside).relative_to("/etc/prometheus")
        (shutil.copytree if outside.is_dir() else shutil.copy)(outside, copy)
    printed = execute([program, "check", "config", str(tmp_path / "prometheus.yml")], tmp_path)
    assert printed.count("rules found") == 2


def test_prometheus_scrapes_the_service() -> None:
    """The target is a service of the included file on its port, and the job has the name that the rules use."""
    (included,) = COMPOSE["include"]
    services = read(EXAMPLE / included)["services"]
    (job,) = read(EXAMPLE / "prometheus.yml")["scrape_configs"]
    (reference,) = read(ROOT / "deploy/prometheus/prometheus.yml")["scrape_configs"]
    assert job["job_name"] == reference["job_name"]
    name, port = job["static_configs"][0]["targets"][0].split(":")
    assert services[name]["ports"] == [f"127.0.0.1:8000:{port}"]


def test_grafana_shows_the_dashboards() -> None:
    """Its provider reads the mounted folder, and its source is the Prometheus of the example."""
    inside = mounts("grafana")
    dashboards = read(inside["/etc/grafana/provisioning/dashboards/attention.yaml"])
    (provider,) = dashboards["providers"]
    shown = [json.loads(path.read_text())["uid"] for path in inside[provider["options"]["path"]].glob("*.json")]
    assert sorted(shown) == ["attention", "attention-operation"]
    (source,) = read(inside["/etc/grafana/provisioning/datasources/attention.yaml"])["datasources"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert COMPOSE["services"][host]["ports"] == [f"127.0.0.1:9090:{port}"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_nothing_is_open_to_other_machines(service: str) -> None:
    """Ports are those of this machine, and images have exact versions."""
    parts = COMPOSE["services"][service]
    assert all(port.startswith("127.0.0.1:") for port in parts["ports"])
    assert parts["image"].rpartition(":")[2].count(".") == 2
