"""The command `import`, and imported models over HTTP."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from service.app import create_app
from service.settings import Settings
from tests.conftest import connect
from tests.foreign import (
    FEATURES,
    TIMESTEPS,
    Attention,
    context_model,
    examples,
    imported,
    labels,
    served,
    text_classifier,
    transformer,
)
from tests.server import execute
from training.__main__ import main

X = examples()


# Keras converts its variables to arrays in a way that NumPy will not support.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_command_publishes_a_version_and_checks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary says where the model and its attention are from; `check` says that it would be served."""
    model, _ = transformer()
    model.save(tmp_path / "encoder.keras")
    np.savez(tmp_path / "examples.npz", x=X, y=X[:, 0, 0])
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["import", "encoder.keras", "--data", "examples.npz", "--name", "encoder"],
        ["check", "artifacts/encoder"],
    ):
        monkeypatch.setattr(sys, "argv", ["attention-training", *arguments])
        main()
    shown = capsys.readouterr().out
    assert "imported from encoder.keras, for sequences of 6 × 2" in shown
    assert "(head 2, query 6)" in shown
    assert "of the original program" in shown
    assert "artifacts/encoder/1: model 'encoder' would be served" in shown


def test_a_refusal_is_one_line_without_traceback(tmp_path: Path) -> None:
    """The process ends with the message alone."""
    with pytest.raises(AssertionError, match=r"error: nowhere\.keras: no such file or directory") as error:
        execute(
            [sys.executable, "-m", "training", "import", "nowhere.keras", "--data", "x.npz", "--name", "x"], tmp_path
        )
    assert "Traceback" not in str(error.value)


def test_check_says_why_a_version_would_not_be_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed file is named."""
    version = imported(context_model(), X, tmp_path)
    (version / "assets.extra/model.onnx").write_bytes(b"changed")
    monkeypatch.setattr(sys, "argv", ["attention-training", "check", str(version)])
    with pytest.raises(SystemExit, match=r"error: .*model\.onnx is not what was published"):
        main()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x/other/1", "names the model 'mine', its folder 'other': rename one"),
        ("x/mine/01", "expected a number without leading zeros as the name of a version"),
        ("x", r"expected the directory of a version or of a model, got no assets\.extra in it"),
    ],
)
def test_check_refuses_what_the_service_passes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    """A copy below another name is not served, and the message says what was expected."""
    version = imported(context_model(), X, tmp_path)
    for name in ("other/1", "mine/01"):
        shutil.copytree(version, tmp_path / "x" / name)
    monkeypatch.setattr(sys, "argv", ["attention-training", "check", str(tmp_path / path)])
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        main()


@pytest.mark.anyio
async def test_one_head_of_an_imported_transformer_over_http(tmp_path: Path) -> None:
    """The answer has the prediction and the head's attention of the original program."""
    model, both = transformer()
    imported(model, X, tmp_path, task="regression")
    prediction, first, second = both.predict(X, verbose=0)
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        asked = {"sequences": X.tolist(), "attention": {"layer": 1, "head": 1}}
        answers = (await client.post("/predict", json=asked)).json()["predictions"]
        mean = (await client.post("/predict", json={"sequences": X.tolist()})).json()["predictions"]
    np.testing.assert_allclose([one["prediction"] for one in answers], prediction[:, 0], rtol=0, atol=1e-5)
    np.testing.assert_allclose([one["attention"] for one in answers], second[:, 1].mean(axis=1), rtol=0, atol=1e-5)
    expected = np.concatenate([first, second], axis=1).mean(axis=(1, 2))
    np.testing.assert_allclose([one["attention"] for one in mean], expected, rtol=0, atol=1e-5)


@pytest.mark.anyio
async def test_tokens_over_http(tmp_path: Path) -> None:
    """Sequences may be short lists of tokens or words; a token that the model does not have is named."""
    model, both = text_classifier(masked=True)
    (tmp_path / "words.txt").write_text("\n".join(f"w{i}" for i in range(20)))
    tokens = np.random.default_rng(0).integers(1, 20, (30, 8))
    imported(model, tokens, tmp_path / "artifacts", vocabulary=tmp_path / "words.txt", classes=["no", "yes"])
    prediction, weights = both(np.array([[3, 17, 5]]))
    async with connect(create_app(Settings(artifacts=tmp_path / "artifacts"))) as client:
        for sequence in ([3, 17, 5], ["w3", "w17", "w5"]):
            (answer,) = (await client.post("/predict", json={"sequence": sequence})).json()["predictions"]
            assert answer["prediction"] == pytest.approx(float(prediction[0, 1]), abs=1e-5)
            np.testing.assert_allclose(answer["attention"], weights[0, :, 0], rtol=0, atol=1e-5)
        refused = await client.post("/predict", json={"sequence": [3, 20]})
    assert refused.status_code == 422
    assert "from 0 to 19" in refused.json()["detail"]


class Subclass(keras.Model):  # type: ignore[misc]
    """A model of one's own, which Keras builds when it is called, and which it cannot write down."""

    def __init__(self, something: object) -> None:
        super().__init__()
        self.something = something
        self.states, self.attend, self.out = layers.LSTM(4, return_sequences=True), Attention(), layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.out(self.attend(self.states(x)))


def with_states(states: Any, **options: Any) -> keras.Model:
    """Return a model with attention over the states that a function computes from the sequence."""
    inputs = keras.Input((TIMESTEPS, FEATURES))
    return keras.Model(inputs, layers.Dense(1, **options)(Attention(**options)(states(inputs))))


def normalized() -> Any:
    layer = layers.Normalization()
    layer.adapt(X)
    return layer


def half(name: str) -> keras.Model:
    """Return a model that computes in half precision, except for attention and output."""
    return with_states(layers.LSTM(4, return_sequences=True, dtype=name), dtype="float32")


def exact_gelu(x: Any) -> Any:
    return ops.gelu(x, approximate=False)


MODELS: dict[str, Callable[[], keras.Model]] = {
    "subclass": lambda: Subclass(object()),
    "sequential": lambda: keras.Sequential(
        [keras.Input((TIMESTEPS, FEATURES)), layers.Dense(4), Attention(), layers.Dense(1)]
    ),
    "nested": lambda: keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), with_states(layers.Dense(4))]),
    "exact GELU": lambda: with_states(layers.Dense(4, activation=exact_gelu)),
    "Normalization": lambda: with_states(normalized()),
    "Conv1D": lambda: with_states(layers.Conv1D(4, 2, padding="causal")),
    "BatchNormalization": lambda: with_states(
        keras.Sequential([layers.BatchNormalization(), layers.LayerNormalization()])
    ),
    "dropout": lambda: with_states(keras.Sequential([layers.Dense(4), layers.Dropout(0.5)])),
    "bfloat16": lambda: half("mixed_bfloat16"),
    "float16": lambda: half("mixed_float16"),
}


@pytest.mark.parametrize("name", MODELS)
def test_many_kinds_of_models_are_served(tmp_path: Path, name: str) -> None:
    """Attention is found inside a layer that does not return it. Half precision may differ by 0.001."""
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    answers = served(imported(model, X, tmp_path, task="regression", y=labels() / 7), X)
    tolerance = 1e-3 if "float16" in name else 1e-5
    np.testing.assert_allclose(answers.prediction, model.predict(X, verbose=0), rtol=0, atol=tolerance)
    np.testing.assert_allclose(answers.attention.sum(axis=1), 1, atol=1e-5)
    assert answers.attention_vec.shape == (len(X), TIMESTEPS, 1)
