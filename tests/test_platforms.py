"""Settings from the variables of SageMaker and Vertex AI."""

import os
from pathlib import Path

import pytest

from service import platforms
from service.app import create_app_or_exit
from service.settings import Settings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the variables that a test sets, and that `serve` sets."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_serve_is_sagemakers_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It stands for its port, its folder if there is one, and all interfaces."""
    settings = Settings.from_command_line(["serve"])
    assert (settings.host, settings.port, settings.artifacts) == ("0.0.0.0", 8080, Path("artifacts"))  # noqa: S104
    monkeypatch.setattr(platforms, "SAGEMAKER_MODELS", tmp_path)
    assert Settings.from_command_line(["serve"]).artifacts == tmp_path
    os.environ["SAGEMAKER_BIND_TO_PORT"] = "8090"
    assert Settings.from_command_line(["serve"]).port == 8090
    assert Settings.from_command_line(["serve", "--port", "1", "--artifacts", "x"]).port == 1


def test_vertex_ai_chooses_port_and_routes() -> None:
    """The service's own variables and flags win over these, and these over those of an image."""
    os.environ |= {"AIP_HTTP_PORT": "8081", "AIP_PREDICT_ROUTE": "/v1/endpoints/7:predict", "AIP_HEALTH_ROUTE": "/up"}
    os.environ |= {"SERVICE_DEFAULT_PORT": "8000", "SERVICE_DEFAULT_ARTIFACTS": "/artifacts"}
    settings = Settings.from_command_line([])
    assert (settings.host, settings.port, settings.artifacts) == ("0.0.0.0", 8081, Path("/artifacts"))  # noqa: S104
    assert settings.vertex_predict_route == "/v1/endpoints/7:predict"
    assert settings.vertex_health_route == "/up"
    os.environ |= {"SERVICE_PORT": "9000", "SERVICE_HOST": "127.0.0.1"}
    settings = Settings.from_command_line(["--vertex-health-route", "/ready"])
    assert (settings.host, settings.port, settings.vertex_health_route) == ("127.0.0.1", 9000, "/ready")


def test_without_a_platform_the_defaults_stay() -> None:
    """Nothing else changes them."""
    settings = Settings.from_command_line([])
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.vertex_predict_route is settings.vertex_health_route is None


@pytest.mark.parametrize("route", ["predict", "/predict/{model}"])
def test_a_wrong_route_is_refused(route: str) -> None:
    """A route is a path without parameters."""
    os.environ["AIP_PREDICT_ROUTE"] = route
    with pytest.raises(SystemExit, match="vertex_predict_route: expected text that matches"):
        Settings.from_command_line([])


def test_models_in_a_bucket_are_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so where there are no models."""
    os.environ["AIP_STORAGE_URI"] = "gs://bucket/model"
    with pytest.raises(SystemExit):
        create_app_or_exit(Settings(artifacts=tmp_path))
    assert "AIP_STORAGE_URI (gs://bucket/model) is not read: copy the models into the image" in caplog.text
