"""The units in deploy/systemd are valid, harden the service, and fit its settings."""

import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from service.settings import Settings
from tests.server import ROOT

UNITS = ROOT / "deploy/systemd"
SERVICE = UNITS / "attention-service.service"
#: Where the units expect the program.
PROGRAM = "/opt/attention-service/bin/attention-service"


def systemd_analyze(*arguments: str | Path) -> str:
    """Run systemd-analyze and return its output; fail if it fails."""
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: apt-get install systemd"
    outcome = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout + outcome.stderr


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units, whose program exists."""
    program = tmp_path / "attention-service"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in UNITS.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, str(program)))
    return tmp_path


def options() -> dict[str, str]:
    """Return the options of the service. Of those that are given several times, the last one counts."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # as the documentation of configparser does
    parser.read(SERVICE)
    return dict(parser["Service"])


def test_the_units_are_valid(units: Path) -> None:
    """No warning and no error comes from systemd."""
    assert systemd_analyze("verify", units / SERVICE.name, units / "attention-service.socket") == ""


def test_a_wrong_unit_is_found(units: Path) -> None:
    """An option that does not exist is reported."""
    path = units / SERVICE.name
    path.write_text(path.read_text().replace("NoNewPrivileges", "NewPrivileges"))
    assert "NewPrivileges" in systemd_analyze("verify", path, units / "attention-service.socket")


def test_the_service_is_hardened(units: Path) -> None:
    """Its exposure is at most 1.5 of 10, where 0 would be a service without a network."""
    systemd_analyze("security", "--offline=true", "--threshold=15", units / SERVICE.name)
    hardened = {"DynamicUser": "yes", "ProtectSystem": "strict", "NoNewPrivileges": "yes", "CapabilityBoundingSet": ""}
    assert options().items() >= hardened.items()


def test_the_service_has_the_time_to_drain() -> None:
    """All variables are settings, and systemd waits longer than the service needs to drain."""
    variables = dict(pair.split("=") for pair in options()["Environment"].split())
    assert {name.removeprefix("SERVICE_").lower() for name in variables} <= set(Settings.model_fields)
    assert int(options()["TimeoutStopSec"]) == int(variables["SERVICE_DRAIN_TIMEOUT"]) + 10


def test_reload_replaces_the_processes() -> None:
    """It sends SIGHUP, which the service answers by replacing its processes without losing a connection."""
    assert options()["ExecReload"] == "/bin/kill -HUP $MAINPID"
