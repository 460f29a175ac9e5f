"""Settings that hosting platforms give by environment variables of their own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

#: SageMaker starts an image with this word, and unpacks the model into this folder.
SERVE: Final = "serve"
SAGEMAKER_MODELS: Final = Path("/opt/ml/model")
SAGEMAKER_PORT: Final = "SAGEMAKER_BIND_TO_PORT"
VERTEX_PORT: Final = "AIP_HTTP_PORT"
#: Vertex AI's variables with paths, and the setting of each.
VERTEX_ROUTES: Final[Mapping[str, str]] = {
    "AIP_PREDICT_ROUTE": "vertex_predict_route",
    "AIP_HEALTH_ROUTE": "vertex_health_route",
}
ALL_INTERFACES: Final = "0.0.0.0"  # noqa: S104 - a platform's container is asked from outside


class PlatformSettings(PydanticBaseSettingsSource):
    """The settings that follow from the variables of SageMaker and Vertex AI."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for variable in (SAGEMAKER_PORT, VERTEX_PORT):
            if port := os.environ.get(variable):
                found |= {"host": ALL_INTERFACES, "port": port}
        if SAGEMAKER_PORT in os.environ and SAGEMAKER_MODELS.is_dir():
            found["artifacts"] = SAGEMAKER_MODELS
        return found | {
            name: os.environ[variable] for variable, name in VERTEX_ROUTES.items() if os.environ.get(variable)
        }


def without_serve(arguments: Sequence[str]) -> Sequence[str]:
    """Return arguments without a first `serve`, which stands for SageMaker's port unless it is set."""
    if arguments[:1] != [SERVE]:
        return arguments
    os.environ.setdefault(SAGEMAKER_PORT, "8080")
    return arguments[1:]


def advice() -> str | None:
    """Return why models that the platform names are not there; None if it names none."""
    uri = os.environ.get("AIP_STORAGE_URI")
    return f"AIP_STORAGE_URI ({uri}) is not read: copy the models into the image, to /artifacts" if uri else None
