"""The notebook in examples/ runs from top to bottom."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.server import ROOT


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    """Execute the notebook in an empty folder. Return the results of its cells, and the folder."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(ROOT / "examples" / "sensors.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    environment = {"PYTHONPATH": str(ROOT)}
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client.execute()
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output["data"] for output in found if "data" in output], folder


def test_the_notebook_publishes_a_model_that_finds_the_day(outputs: tuple[list[Any], Path]) -> None:
    """The model is good, and day 12 is the most important one."""
    from service.artifact.version import Artifact

    card = Artifact(outputs[1] / "artifacts" / "sensors" / "1").read().card()
    assert card.metrics["accuracy"] > 0.9
    assert card.agreement is not None
    assert card.timestep_labels[card.agreement.top[0]] == "12"


def test_the_notebook_shows_the_result_and_the_figure(outputs: tuple[list[Any], Path]) -> None:
    """The result is a summary with a chart, the explanation of a machine two charts; the plots are pictures."""
    shown = outputs[0]
    page, explanation = [data["text/html"] for data in shown if "<svg" in data.get("text/html", "")]
    assert "attention-service --model sensors" in page
    assert explanation.count("<title>sensors version 1, m003: failed</title>") == 2
    assert sum("image/svg+xml" in data for data in shown) == 2
