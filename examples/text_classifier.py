"""A text classifier of Keras, whose requests may contain words.

Run it, then `attention-service --model reviews` and post `{"sequence": ["a", "good", "film"]}`.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

import training

WORDS = ["", "[UNK]", "a", "the", "film", "plot", "was", "good", "great", "bad", "dull", "very"]
LENGTH = 8


def classifier() -> keras.Model:
    """Return a bidirectional LSTM with attention. Token 0 fills up short texts, and gets no attention."""
    tokens = keras.Input((None,), dtype="int32")
    states = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(
        layers.Embedding(len(WORDS), 8, mask_zero=True)(tokens)
    )
    scores = layers.Dense(1)(states) - 1e9 * ops.cast(ops.equal(tokens, 0), "float32")[..., None]
    weights = layers.Identity(name="attention")(ops.softmax(scores, axis=1))
    return keras.Model(tokens, layers.Dense(1, activation="sigmoid")(ops.sum(weights * states, axis=1)))


rng = np.random.default_rng(0)
texts = rng.integers(1, len(WORDS), (1000, LENGTH))
for text, length in zip(texts, rng.integers(3, LENGTH + 1, len(texts)), strict=True):
    text[length:] = 0
good = np.isin(texts, [WORDS.index("good"), WORDS.index("great")]).sum(axis=1)
bad = np.isin(texts, [WORDS.index("bad"), WORDS.index("dull")]).sum(axis=1)
labels = np.where(good > bad, "positive", "negative")

model = classifier()
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
model.fit(texts[200:], labels[200:] == "positive", epochs=8, verbose=0)

Path("words.txt").write_text("\n".join(WORDS))
result = training.publish(model, examples=texts[:200], y=labels[:200], vocabulary="words.txt", name="reviews")
print(result)  # noqa: T201 - the summary is for people
