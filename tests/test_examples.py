"""The scripts in examples/ run, and their models are served."""

import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from service.artifact.card import ModelCard
from service.artifact.version import Artifact
from tests.server import ROOT, execute


def card_of(script: str, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    """Run a script in a folder, and return the card of its model."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert f"attention-service --model {model}" in execute([sys.executable, str(ROOT / "examples" / script)], folder)
    return Artifact(folder / "artifacts" / model / "1").read().card()


def test_the_transformer_is_served_with_all_its_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers of four heads, found without a name; the model is good."""
    card = card_of("transformer.py", "transformer", tmp_path, monkeypatch)
    assert [source.axes for source in card.attention_from] == [{"head": 4, "query": 20}] * 2
    assert card.metrics["accuracy"] > 0.9


def test_the_text_classifier_knows_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts may be short, and words have tokens."""
    card = card_of("text_classifier.py", "reviews", tmp_path, monkeypatch)
    assert card.variable_length
    assert card.tokens is not None
    assert (card.tokens.vocabulary or {})["good"] == 7
    assert card.metrics["accuracy"] > 0.9


def test_the_notebook_of_a_keras_model_publishes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own code runs from top to bottom, and the layer that it names is the attention."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "examples" / "keras_attention.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    card = Artifact(tmp_path / "artifacts" / "after-lstm" / "1").read().card()
    assert [source.tensor for source in card.attention_from] == ["attention_vec"]
    assert card.metrics["accuracy"] > 0.9
