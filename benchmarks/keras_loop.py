"""The default job as the script that it comes from does it: Keras's own loop, step by step.

Prints the seconds of the fit and the accuracy as JSON.

Source: github.com/philipperemy/keras-attention-mechanism, as told by a 2020 post on attention in Keras.
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
    """Random sequences `(n, timesteps, features)` with their label `(n, 1)` written into one timestep."""
    x = rng.standard_normal((n, TIMESTEPS, FEATURES))
    y = rng.integers(0, 2, (n, 1))
    x[:, MARKED, :] = y
    return x, y


def attention_after_lstm() -> keras.Model:
    """The default model, in that script's words."""
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
