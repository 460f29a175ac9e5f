"""The layers of a Keras model, for its diagram."""

from collections.abc import Sequence
from typing import Any

import keras

from service.artifact.card import Layer


def layers_of(model: keras.Model) -> tuple[Layer, ...]:
    """Return the layers and other operations of a functional or sequential model, each after those it computes from.

    A layer that is used several times has the shape and the inputs of its first use. A subclass has no layers here, as
    its graph is Python code.
    """
    if not getattr(model, "inputs", None):
        return ()
    operations = getattr(model, "operations", None) or model.layers
    sources = {id(tensor): one.name for one in operations for tensor in _tensors(one, "output")}

    def layer(one: Any) -> Layer:
        names = dict.fromkeys(sources.get(id(tensor), one.name) for tensor in _tensors(one, "input"))
        first = _tensors(one, "output")[:1]
        return Layer(
            name=one.name,
            kind=type(one).__name__,
            shape=tuple(first[0].shape) if first else (),
            inputs=tuple(name for name in names if name != one.name),
            weights=one.count_params() if isinstance(one, keras.layers.Layer) and one.built else 0,
        )

    return tuple(map(layer, operations))


def _tensors(operation: Any, side: str) -> Sequence[Any]:
    """Return the tensors that an operation takes or gives; none if it was never used."""
    try:
        return list(keras.tree.flatten(getattr(operation, side)))
    except (AttributeError, ValueError):
        return []
