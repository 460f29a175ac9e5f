"""docs/operations.md names settings that exist, and its commands make what it says."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import yaml

from service.settings import Settings
from tests.server import ROOT

DOC = (ROOT / "docs/operations.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


def test_every_setting_has_a_purpose() -> None:
    """The table of purposes has every setting and no other."""
    table = DOC.partition("## Settings by purpose")[2].partition("\n## ")[0]
    named = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]*)", table)}
    assert named == set(Settings.model_fields)


def written(folder: Path, command: str) -> None:
    """Run the block with a command in a folder that has the project's deploy/."""
    (folder / "deploy").symlink_to(ROOT / "deploy")
    block = next(block for block in BLOCKS if command in block)
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    bash = shutil.which("bash")
    assert bash
    subprocess.run([bash, "-ec", block], cwd=folder, env={**os.environ, "PATH": places}, timeout=60, check=True)


def test_an_overlay_becomes_a_chart(tmp_path: Path) -> None:
    """The chart has the manifests of the overlay, and nothing that Helm would take for a template."""
    written(tmp_path, "Chart.yaml")
    assert yaml.safe_load((tmp_path / "chart/Chart.yaml").read_text()).keys() == {"apiVersion", "name", "version"}
    manifests = (tmp_path / "chart/templates/attention-service.yaml").read_text()
    assert "{{" not in manifests
    assert "Deployment" in {manifest["kind"] for manifest in yaml.safe_load_all(manifests)}


def test_the_rules_become_objects_of_the_operator(tmp_path: Path) -> None:
    """Each has the groups of one file of rules."""
    written(tmp_path, "PrometheusRule")
    rules = list(yaml.safe_load_all((tmp_path / "prometheus-rules.yaml").read_text()))
    assert {rule["kind"] for rule in rules} == {"PrometheusRule"}
    for rule in rules:
        path = ROOT / f"deploy/prometheus/{rule['metadata']['name']}.rules.yml"
        assert rule["spec"] == yaml.safe_load(path.read_text())
