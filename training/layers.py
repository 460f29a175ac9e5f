"""The layers of a Keras model, for its diagram."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from service.artifact.card import Layer


def layers_of(model: keras.Model) -> tuple[Layer, ...]:
    """Return the layers and other operations of a functional or sequential model, each after those it computes from.

    A subclass has none, since its graph is Python code, and neither has a model with layers whose code gives no
    configuration.
    """
    if not getattr(model, "inputs", None):
        return ()
    try:
        configuration = model.get_config()
    except Exception:  # noqa: BLE001 - the author's layers may raise anything, and a diagram is no reason to fail
        return ()
    found = {layer.name: layer for layer in getattr(model, "operations", None) or model.layers}
    sources = _sources(configuration["layers"]) if "input_layers" in configuration else _in_a_row(model)
    return tuple(_layer(found[name], inputs) for name, inputs in _sorted(sources) if name in found)


def _layer(layer: Any, inputs: tuple[str, ...]) -> Layer:
    weights = layer.count_params() if isinstance(layer, keras.layers.Layer) and layer.built else 0
    return Layer(name=layer.name, kind=type(layer).__name__, shape=_shape(layer), inputs=inputs, weights=weights)


def _shape(layer: Any) -> tuple[int | None, ...]:
    """Return the shape of the first output of a layer; of one that is used twice, there is none."""
    try:
        first = keras.tree.flatten(layer.output)[0]
    except (AttributeError, ValueError, IndexError):
        return ()
    return tuple(first.shape)


def _in_a_row(model: keras.Model) -> dict[str, tuple[str, ...]]:
    """Return the layer before each layer of a sequential model."""
    names = [layer.name for layer in getattr(model, "operations", None) or model.layers]
    return {name: tuple(names[index - 1 : index]) if index else () for index, name in enumerate(names)}


def _sources(layers: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return the names of the layers that each layer of a configuration computes from."""
    return {layer["name"]: tuple(dict.fromkeys(_names(layer["inbound_nodes"]))) for layer in layers}


def _names(part: Any) -> Iterator[str]:
    """Yield the names of the layers that the tensors in a part of a configuration come from."""
    if isinstance(part, Mapping):
        history = part.get("keras_history")
        if history is not None:
            yield str(history[0])
            return
        part = list(part.values())
    if isinstance(part, list | tuple):
        for inner in part:
            yield from _names(inner)


def _sorted(sources: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each layer after those that it computes from."""
    left = dict(sources)
    while left:
        ready = [name for name, inputs in left.items() if not set(inputs) & (left.keys() - {name})]
        for name in ready or list(left)[:1]:  # a layer that is used twice may compute from what computes from it
            yield name, left.pop(name)
