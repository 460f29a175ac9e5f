"""The tokens of imported models: their range for each input, and their words."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from service.app import create_app
from service.artifact.card import Tokens
from service.artifact.version import Artifact
from service.settings import Settings
from tests.conftest import connect
from tests.foreign import examples, imported, text_classifier
from training import TrainingError

TIMESTEPS = 6
IDS = np.random.default_rng(0).integers(1, 40, (30, TIMESTEPS))
FLAGS = np.random.default_rng(1).integers(0, 2, (30, TIMESTEPS))
pytestmark = pytest.mark.anyio


def attending(inputs: Any, states: Any, mask: Any = None) -> keras.Model:
    """Return a classifier with attention over states."""
    scores = layers.Dense(1)(states)
    if mask is not None:
        scores = scores - 1e9 * (1 - ops.cast(mask, "float32"))[..., None]
    context = ops.sum(layers.Softmax(axis=1)(scores) * states, axis=1)
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(context))


def ids(name: str = "ids") -> Any:
    return keras.Input((TIMESTEPS,), dtype="int32", name=name)


def card_tokens(model: keras.Model, given: Any, folder: Path, **options: Any) -> Tokens:
    """Import a model and return the tokens of its card."""
    tokens = Artifact(imported(model, given, folder, **options)).read().card().tokens
    assert tokens is not None
    return tokens


@pytest.mark.parametrize("shift", ["plus", "times"])
async def test_the_model_answers_the_ends_of_the_range(tmp_path: Path, shift: str) -> None:
    """Arithmetic before the table makes the range smaller than the table."""
    given = ids()
    model = attending(given, layers.Embedding(51, 4)(given + 1 if shift == "plus" else given * 1 + 1))
    tokens = card_tokens(model, IDS, tmp_path)
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        for token in (tokens.least, tokens.most):
            answer = await client.post("/predict", json={"sequence": [token] * TIMESTEPS})
            assert answer.status_code == 200
        refused = await client.post("/predict", json={"sequence": [50] * TIMESTEPS})
    assert refused.status_code == 422


async def test_inputs_have_ranges_of_their_own(tmp_path: Path) -> None:
    """A table of 50 words beside one of 2 segments: a segment of 2 is refused with its range."""
    words, segments = ids(), ids("segments")
    model = attending([words, segments], layers.Embedding(50, 4)(words) + layers.Embedding(2, 4)(segments))
    tokens = card_tokens(model, {"ids": IDS, "segments": FLAGS}, tmp_path)
    assert (tokens.least, tokens.most) == (0, 49)
    assert {label: (one.least, one.most) for label, one in tokens.ranges.items()} == {"segments": (0, 1)}
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        right = await client.post("/predict", json={"sequence": [[49, 1]] * TIMESTEPS})
        wrong = await client.post("/predict", json={"sequence": [[49, 2]] * TIMESTEPS})
    assert right.status_code == 200
    assert wrong.status_code == 422
    assert "from 0 to 1" in wrong.json()["detail"]


def test_an_input_without_a_table_has_the_range_of_its_examples(tmp_path: Path) -> None:
    """A mask is 0 or 1, whatever the tokens beside it are."""
    words, mask = ids(), ids("mask")
    model = attending([words, mask], layers.Embedding(50, 4)(words), mask)
    tokens = card_tokens(model, {"ids": IDS, "mask": np.maximum(FLAGS, np.eye(30, TIMESTEPS, dtype=int))}, tmp_path)
    assert (tokens.least, tokens.most) == (0, 49)
    assert {label: (one.least, one.most) for label, one in tokens.ranges.items()} == {"mask": (0, 1)}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_vocabulary_has_one_word_a_line(tmp_path: Path, ending: str) -> None:
    """Only an end of line ends a word; a byte order mark belongs to none."""
    words = ["[PAD]", "[UNK]", "a\u2028b", "c\x85d", "e\x1cf", *map(str, range(15))]
    (tmp_path / "words.txt").write_bytes(b"\xef\xbb\xbf" + "".join(word + ending for word in words).encode())
    model, _ = text_classifier(masked=True, timesteps=TIMESTEPS)
    tokens = card_tokens(model, IDS % 20, tmp_path, vocabulary=tmp_path / "words.txt")
    assert tokens.vocabulary == {word: token for token, word in enumerate(words)}


def test_a_vocabulary_of_a_model_without_tokens_is_refused(tmp_path: Path) -> None:
    """It would be of no use."""
    (tmp_path / "words.txt").write_text("a\nb\n")
    inputs = keras.Input((TIMESTEPS, 2))
    with pytest.raises(TrainingError, match=r"^--vocabulary .*words.txt: expected a model of tokens, got one of other"):
        imported(attending(inputs, inputs), examples(), tmp_path, vocabulary=tmp_path / "words.txt")


@pytest.mark.parametrize(
    ("pad", "message"),
    [
        (0.5, "--pad: expected a token, which is an integer, got 0.5"),
        (99, "--pad: expected a token from 0 to 19, .* got 99"),
    ],
)
def test_padding_that_is_no_token_is_refused(tmp_path: Path, pad: float, message: str) -> None:
    """The message names the option."""
    with pytest.raises(TrainingError, match=message):
        imported(text_classifier(masked=True)[0], IDS % 20, tmp_path, pad=pad)


def test_a_model_that_splits_text_is_refused(tmp_path: Path) -> None:
    """The message says which part of it can be imported."""
    split = layers.TextVectorization(output_sequence_length=TIMESTEPS)
    split.adapt(np.array(["good film", "bad film"]))
    text = keras.Input((), dtype="string", name="text")
    model = attending(text, layers.Embedding(20, 4)(split(text)))
    with pytest.raises(
        TrainingError, match=r"input text: .*got text: import the model that follows its TextVectorization"
    ):
        imported(model, np.array(["good film"] * 8), tmp_path)
