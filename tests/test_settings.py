"""Settings come from one declaration: flags, environment, help."""

import re
from pathlib import Path

import pytest

from service.settings import Settings


def test_flags_win_over_the_environment_and_that_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """One declaration gives all three."""
    monkeypatch.setenv("SERVICE_MAX_BATCH", "64")
    monkeypatch.setenv("SERVICE_PORT", "9000")
    settings = Settings.from_command_line(["--port", "9001", "--artifacts", "elsewhere", "--access-log"])
    assert (settings.max_batch, settings.port, settings.engine) == (64, 9001, "auto")
    assert settings.artifacts == Path("elsewhere")
    assert settings.access_log


def test_settings_do_not_change() -> None:
    """The app runs with the settings that it was built with."""
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings(), "port", 1)  # noqa: B010 - mypy knows better than to allow the plain way


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "http"], 'error: port: expected an integer, got "http"'),
        (["--engine", "onx"], "error: engine: expected 'auto', 'onnx' or 'tensorflow', got \"onx\""),
        (["--workers", "0"], 'error: workers: expected a number of at least 1, got "0"'),
        (["--max-queue", "5", "--max-sequences", "6"], r"max_sequences: expected at most max_queue \(5\), got 6"),
        (["--pin", "x"], "pin: expected MODEL=VERSION, or"),
        (["--pin", "x=y"], "pin: expected MODEL=VERSION, such as x=3, got x=y"),
        (["--pin", "x=1_0"], "pin: expected MODEL=VERSION, such as x=3, got x=1_0"),
        (["--timeout", "inf"], 'timeout: expected a finite number, got "inf"'),
        (["--drain-delay", "inf"], "drain_delay: expected a number of at most 86400"),
        (["--root-path", "/v1"], "root_path: expected a path that does not begin as those of the protocols, got '/v1'"),
        (["--root-path", "x"], "error: root_path: expected a path such as /models-of-ours, got 'x'"),
        (["--trusted-proxies", "::1,1.2"], "trusted_proxies: expected addresses and networks, or \\*; got '1.2'"),
        (["--open-routes", "probes,control"], "open_routes: expected some of probes, page, .*, got 'control'"),
        (["--allowed-hosts", "*.example.org,a*"], "allowed_hosts: expected names such as example.org or .*got 'a\\*'"),
        (["--tls-key", "key.pem"], "tls_cert: expected a certificate, as other settings of TLS are given, got none"),
        (["--cors-origins", "x"], "cors_origins: expected origins such as https://example.org, or \\*; got 'x'"),
    ],
)
def test_a_wrong_flag_is_reported_in_one_line(arguments: list[str], message: str) -> None:
    """The line names the setting, the expected value, the actual value and the help."""
    with pytest.raises(SystemExit) as caught:
        Settings.from_command_line(arguments)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
    assert "python -m service --help" in str(caught.value)


def test_a_wrong_variable_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables have the same rules."""
    monkeypatch.setenv("SERVICE_TIMEOUT", "-1")
    with pytest.raises(SystemExit, match=r'error: timeout: expected a number above 0\.0, got "-1"'):
        Settings.from_command_line([])


def test_an_empty_variable_does_not_switch_protection_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other empty variables are ignored."""
    monkeypatch.setenv("SERVICE_MODEL", "")
    assert Settings.from_command_line([]).model is None
    monkeypatch.setenv("SERVICE_KEYS", "")
    with pytest.raises(SystemExit, match="error: SERVICE_KEYS: expected a file, got nothing"):
        Settings.from_command_line([])


def test_help_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """The help has the name, meaning and default of each setting."""
    with pytest.raises(SystemExit) as caught:
        Settings.from_command_line(["--help"])
    assert caught.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"--{name.replace('_', '-')}" in printed
        # argparse breaks lines after hyphens, too
        assert field.description.replace("- ", "-") in printed.replace("- ", "-")
