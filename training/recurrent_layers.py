"""Recurrent layers of Keras as single nodes of ONNX, where conversion would make a loop of many nodes.

A GRU has no operation of TensorFlow that runs on any processor, and a mask makes a loop of an LSTM. A loop takes ten
times as long.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from keras import ops

#: The operation that stands for a GRU until the conversion. Its shapes are those of a GRU, and nothing runs it.
MARKER: Final = "BlockLSTMV2"
#: The implementation of an LSTM that computes all gates in one product, which conversion knows.
ONE_PRODUCT: Final = 2

# Keras and tf2onnx ship no types.
Tensor = Any


@contextmanager
def as_nodes() -> Iterator[None]:
    """Let all recurrent layers that are called meanwhile be traced for the conversion."""
    with ExitStack() as stack:
        for kind, run in ((keras.layers.LSTM, _run_lstm), (keras.layers.GRU, _run_gru)):
            stack.enter_context(_changed(kind, call=_lowered(kind.call, run)))
        yield


@contextmanager
def _changed(owner: Any, **values: Any) -> Iterator[None]:
    """Set attributes of an object or a class for a while."""
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def _lowered(plain: Callable[..., Any], run: Callable[..., Tensor | None]) -> Callable[..., Any]:
    """Return a layer's `call` that runs the layer on whole sequences, without a mask."""

    def call(
        layer: Any, sequences: Tensor, initial_state: Any = None, mask: Tensor | None = None, training: Any = None
    ) -> Any:
        states_given = initial_state is not None and mask is not None
        is_lstm = isinstance(layer, keras.layers.LSTM)
        needs_nothing = is_lstm and mask is None and layer.cell.implementation == ONE_PRODUCT
        if layer.stateful or states_given or (is_lstm and layer.return_state) or needs_nothing:
            return plain(layer, sequences, initial_state=initial_state, mask=mask, training=training)
        x = sequences[:, ::-1] if layer.go_backwards else sequences
        present = None if mask is None else ops.cast(mask[:, ::-1] if layer.go_backwards else mask, "int32")
        states = run(plain, layer, x if present is None else _first_to(present, x), initial_state)
        if states is None:
            return plain(layer, sequences, initial_state=initial_state, mask=mask, training=training)
        states = states if present is None else _back_from(present, states)
        last = states[:, -1]
        if present is not None and layer.zero_output_for_mask:
            states = states * ops.cast(present, states.dtype)[..., None]
        output = states if layer.return_sequences else last
        return [output, last] if layer.return_state else output

    return call


def _first_to(present: Tensor, x: Tensor) -> Tensor:
    """Move the present timesteps of `x (batch, timesteps, features)` to the beginning, by a product of matrices."""
    places = (ops.cumsum(present, axis=1) * present - 1)[:, None]  # (batch, 1, timesteps); -1 for absent ones
    order = ops.arange(present.shape[1], dtype="int32")[None, :, None]
    return ops.matmul(ops.cast(ops.equal(places, order), x.dtype), x)


def _back_from(present: Tensor, states: Tensor) -> Tensor:
    """Return the states at their own timesteps. An absent timestep has the state before it; the first ones have 0."""
    places = (ops.cumsum(present, axis=1) - 1)[..., None]  # (batch, timesteps, 1)
    order = ops.arange(present.shape[1], dtype="int32")[None, None]
    return ops.matmul(ops.cast(ops.equal(places, order), states.dtype), states)


def _run_lstm(plain: Callable[..., Any], layer: Any, x: Tensor, initial_state: Any) -> Tensor:
    """Return the states of an LSTM, `(batch, timesteps, units)`."""
    whole = _changed(layer, return_sequences=True, return_state=False, go_backwards=False)
    with whole, _changed(layer.cell, implementation=ONE_PRODUCT):
        return plain(layer, x, initial_state=initial_state)


def _run_gru(_: Callable[..., Any], layer: Any, x: Tensor, initial_state: Any) -> Tensor | None:
    """Return the states of a GRU, as the marker; None for a GRU with other functions than ONNX's."""
    if (layer.activation, layer.recurrent_activation) != (keras.activations.tanh, keras.activations.sigmoid):
        return None
    units = layer.units
    bias = layer.cell.bias if layer.use_bias else np.zeros((2, 3 * units), np.float32)
    state = initial_state[0] if isinstance(initial_state, list | tuple) else initial_state
    given = state if state is not None else tf.zeros((tf.shape(x)[0], units), x.dtype)
    outputs = getattr(tf.raw_ops, MARKER)(
        seq_len_max=tf.constant(x.shape[1], tf.int64),
        x=tf.transpose(x, (1, 0, 2)),
        cs_prev=given,
        h_prev=given,
        w=tf.convert_to_tensor(layer.cell.kernel),
        wci=tf.convert_to_tensor(layer.cell.recurrent_kernel),
        wcf=tf.convert_to_tensor(bias),
        wco=tf.zeros((1,), x.dtype),
        b=tf.zeros((4 * units,), x.dtype),
        cell_clip=1.0 if layer.reset_after else 0.0,
        use_peephole=state is not None,
    )
    states = tf.transpose(outputs.h, (1, 0, 2))
    states.set_shape((x.shape[0], x.shape[1], units))
    return states


def gru_node(context: Any, node: Any, name: str, _: Any) -> None:
    """Write a marker as ONNX's GRU. This is a handler of tf2onnx.

    Keras and ONNX have the gates in the same order: update, reset, new.
    """
    kernel, recurrent, bias = (node.inputs[place].get_tensor_value(as_list=False) for place in (4, 5, 6))
    bias = np.concatenate([bias, np.zeros_like(bias)]) if bias.ndim == 1 else bias
    weights = [
        context.make_const(f"{name}/{part}", value[np.newaxis].astype(np.float32)).output[0]
        for part, value in (("weights", kernel.T), ("recurrence", recurrent.T), ("bias", bias.ravel()))
    ]
    sequences, state = node.input[1], node.input[3]
    has_state, reset_after = bool(node.get_attr_value("use_peephole")), node.get_attr_value("cell_clip") > 0
    result, shape, dtype = node.output[-1], context.get_shape(node.output[-1]), context.get_dtype(node.output[-1])
    context.remove_node(name)
    first = []
    if has_state:
        axis = context.make_const(f"{name}/first", np.array([0]))
        first = ["", context.make_node("Unsqueeze", [state, axis.output[0]]).output[0]]
    attributes = {"hidden_size": recurrent.shape[0], "linear_before_reset": int(reset_after)}
    gru = context.make_node("GRU", [sequences, *weights, *first], attr=attributes, output_count=2, name=f"{name}/gru")
    direction = context.make_const(f"{name}/direction", np.array([1]))
    context.make_node(
        "Squeeze", [gru.output[0], direction.output[0]], outputs=[result], shapes=[shape], dtypes=[dtype], name=name
    )
