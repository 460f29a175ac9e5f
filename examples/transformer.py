"""A Transformer of Keras, served with the attention of each layer and head.

Run it, then `attention-service --model transformer`. A request may ask for one head:
`{"sequence": […], "attention": {"layer": 1, "head": 0}}`.
"""

import keras
import numpy as np
from keras import layers

import training

TIMESTEPS, FEATURES = 20, 2


def encoder(heads: int = 4, blocks: int = 2) -> keras.Model:
    """Return an encoder for two classes. Nothing in it returns attention."""
    inputs = keras.Input((TIMESTEPS, FEATURES))
    positions = layers.Embedding(TIMESTEPS, 16)(np.arange(TIMESTEPS))
    y = layers.Dense(16)(inputs) + positions
    for _ in range(blocks):
        y = layers.LayerNormalization()(y + layers.MultiHeadAttention(heads, 4)(y, y))
        y = layers.LayerNormalization()(y + layers.Dense(16)(layers.Dense(32, activation="gelu")(y)))
    pooled = layers.GlobalAveragePooling1D()(y)
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(pooled))


rng = np.random.default_rng(0)
x = rng.normal(size=(2000, TIMESTEPS, FEATURES)).astype("float32")
y = rng.integers(0, 2, 2000)
x[:, 10] += 4 * y[:, np.newaxis]  # the eleventh timestep decides
model = encoder()
model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
model.fit(x[200:], y[200:], epochs=5, verbose=0)

result = training.publish(model, examples=x[:200], y=y[:200], classes=["falls", "rises"], name="transformer")
print(result)  # noqa: T201 - the summary is for people
