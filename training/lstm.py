"""The LSTM: as Keras exports it, and as XLA compiles it while it is trained."""

from typing import Any

import tensorflow as tf
from keras import layers


class LSTM(layers.LSTM):  # type: ignore[misc]  # Keras ships no types
    """Keras's LSTM whose training XLA can compile: same weights, same states, less than half of the time.

    XLA needs to know the number of timesteps and the shape of everything that the loop carries, which Keras's own loop
    does not tell. In inference the layer is Keras's, from which the lowering makes one operator.
    """

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras looks for these names
        if not training:
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        cell = self.cell
        states = unrolled(
            sequences, *(tf.convert_to_tensor(one.value) for one in (cell.kernel, cell.recurrent_kernel, cell.bias))
        )
        return states if self.return_sequences else states[:, -1]


def unrolled(sequences: tf.Tensor, kernel: tf.Tensor, recurrent_kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """The hidden states of an LSTM that starts from zero.

    Args:
        sequences: `(batch, timesteps, features)`, all of them known.
        kernel: `(features, 4 * units)`: input gate, forget gate, candidate, output gate, as Keras orders them.
        recurrent_kernel: `(units, 4 * units)`.
        bias: `(4 * units,)`.

    Returns:
        `(batch, timesteps, units)`.
    """
    batch, timesteps, _ = sequences.shape
    units = recurrent_kernel.shape[0]
    # What does not depend on the state is one product for all timesteps.
    inputs = tf.transpose(tf.tensordot(sequences, kernel, 1) + bias, (1, 0, 2))  # (timesteps, batch, 4 * units)
    zero = tf.zeros((batch, units), sequences.dtype)

    def step(t: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, states: tf.TensorArray) -> tuple[Any, ...]:
        in_, forget, candidate, out = tf.split(inputs[t] + hidden @ recurrent_kernel, 4, axis=1)
        cell = tf.sigmoid(forget) * cell + tf.sigmoid(in_) * tf.tanh(candidate)
        hidden = tf.sigmoid(out) * tf.tanh(cell)
        return t + 1, hidden, cell, states.write(t, hidden)

    states = tf.TensorArray(sequences.dtype, size=timesteps, element_shape=(batch, units))
    *_, states = tf.while_loop(lambda t, *_: t < timesteps, step, (0, zero, zero, states), maximum_iterations=timesteps)
    return tf.transpose(states.stack(), (1, 0, 2))
