"""The LSTM layer, which XLA can compile in training."""

from typing import Any

import tensorflow as tf
from keras import layers


class LSTM(layers.LSTM):  # type: ignore[misc]  # Keras ships no types
    """Keras's LSTM, compiled by XLA in training: same weights and states, less than half of the time.

    XLA needs a fixed number of timesteps and the shape of each loop variable; Keras's loop declares neither. In
    inference the layer runs Keras's loop, which the lowering converts to one operator.
    """

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:  # noqa: FBT001, FBT002 - Keras passes these by name
        if not training:
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        cell = self.cell
        states = unrolled(
            sequences, *(tf.convert_to_tensor(one.value) for one in (cell.kernel, cell.recurrent_kernel, cell.bias))
        )
        return states if self.return_sequences else states[:, -1]


def unrolled(sequences: tf.Tensor, kernel: tf.Tensor, recurrent_kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Return the hidden states of an LSTM with initial state zero.

    Args:
        sequences: `(batch, timesteps, features)`, of static shape.
        kernel: `(features, 4 * units)`, in Keras's order: input gate, forget gate, candidate, output gate.
        recurrent_kernel: `(units, 4 * units)`.
        bias: `(4 * units,)`.

    Returns:
        `(batch, timesteps, units)`.
    """
    batch, timesteps, _ = sequences.shape
    units = recurrent_kernel.shape[0]
    # One product for all timesteps, as the inputs do not depend on the state.
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
