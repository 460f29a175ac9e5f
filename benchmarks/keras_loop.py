"""Fit the default job with the script that it comes from, in Keras's own loop.

The output is JSON: the seconds of the fit, and the accuracy.

Source: github.com/philipperemy/keras-attention-mechanism, as described by a 2020 post on attention in Keras.
"""

import json
import sys
import time

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

SEQUENCES, HELD_OUT, TIMESTEPS, FEATURES, UNITS, MARKED = 300_000, 30_000, 20, 2, 32, 10


def sequences(n: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return random sequences `(n, timesteps, features)`, and labels `(n, 1)` that are written into one timestep."""
    x = rng.standard_normal((n, TIMESTEPS, FEATURES))
    y = rng.integers(0, 2, (n, 1))
    x[:, MARKED, :] = y
    return x, y


def attention_after_lstm() -> keras.Model:
    """Return the default model as that script builds it."""
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states = layers.LSTM(UNITS, return_sequences=True)(inputs)
    weights = layers.Permute((2, 1))(states)
    weights = layers.Dense(TIMESTEPS, activation="softmax")(weights)
    weights = layers.Permute((2, 1), name="attention_vec")(weights)
    weighted = layers.Flatten()(layers.multiply([states, weights]))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(weighted))


def main() -> None:
    """Fit once."""
    seed = int(sys.argv[1])
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = sequences(SEQUENCES, rng)
    model = attention_after_lstm()
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()
    model.fit(x, y, epochs=1, batch_size=128, validation_split=0.1, verbose=0)
    seconds = time.perf_counter() - began
    _, accuracy = model.evaluate(*sequences(HELD_OUT, rng), batch_size=1024, verbose=0)
    print(json.dumps({"seconds": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
