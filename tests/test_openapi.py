"""The whole service, with valid and invalid requests generated from its OpenAPI document."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from service.app import create_app
from service.settings import Settings

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
UNLOAD = "POST /v2/repository/models/{model}/unload"
#: Some of the requests name an existing model.
NAMED = st.sampled_from([{}, {"model": "three"}, {"model": "three", "version": "1"}])


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_documented(artifacts: Path, mode: GenerationMode) -> None:
    """There is no 5xx, and each status and answer is in the document."""
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", model_control=True))
    asked = set()
    for result in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr] # it raises where the document is wrong

        @given(case=operation.as_strategy(generation_mode=mode), named=NAMED)
        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        def ask(case: Any, named: dict[str, str]) -> None:
            case.path_parameters.update(named)
            if case.operation.label == UNLOAD:  # without its own model, /ping answers 503, as it should
                assume(case.path_parameters["model"] != "after-lstm")
            case.call_and_validate(checks=CHECKS)

        with suppress(Unsatisfiable):  # an operation without input, or with any text as input, has no invalid request
            ask()
            asked.add(operation.label)
    paths = app.openapi()["paths"].items()
    everything = {
        (f"{method.upper()} {path}", "requestBody" in one) for path, ones in paths for method, one in ones.items()
    }
    expected = {name for name, takes_body in everything if takes_body or mode is GenerationMode.POSITIVE}
    assert asked >= expected
