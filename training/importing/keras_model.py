"""A Keras model: from a file, or in memory."""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from training import TrainingError
from training.importing.distributions import Distribution, distribution, may_attend
from training.importing.original import HALF_TOLERANCE, ModelInput, Original, Values, name_of_place
from training.importing.tensorflow_program import traced
from training.layers import layers_of

#: What Keras says about a class that it does not know.
UNKNOWN: Final = re.compile(
    r"Could not locate (?:class|function) '(\w+)'|Unknown (?:layer|object|function)[^']*'(\w+)'"
)
#: Codes of colours in Keras's messages, and most characters of a message.
COLOUR: Final = re.compile("\x1b\\[[0-9;]*m")
LONGEST_MESSAGE: Final = 300
#: Data types of half precision. Converters to ONNX do not know how to keep them apart from float32.
HALF: Final = frozenset({"float16", "bfloat16"})
#: Largest number of values of a layer's output for each example that is looked at.
MOST_VALUES: Final = 2**22


class KerasModel:
    """A Keras model.

    Args:
        model: the model.
    """

    libraries = ("keras", "tensorflow", "tf2onnx")

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.layers = layers_of(model)
        #: Layers and other operations of a functional or sequential model by name; a subclass has none.
        self._layers = dict(_outputs_of_layers(model)) if getattr(model, "inputs", None) else {}

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        """The model's inputs; none if the model is a subclass, which is built on examples."""
        return tuple(
            ModelInput(one.name, str(keras.backend.standardize_dtype(one.dtype)), tuple(one.shape))
            for one in (getattr(self._model, "inputs", None) or ())
        )

    def trace(self, examples: Values, named: Sequence[str], timesteps: int) -> Original:
        """Return the model with the sizes of the examples, as `Opened.trace` documents it."""
        names = list(examples)
        try:
            if not self._layers:
                outputs = self._called(examples)
                return traced(self._called, examples, list(outputs), ())
            own = self._own_outputs()
            further = self._distributions(examples, named, timesteps, own)
            probe = keras.Model(self._model.inputs, {**own, **further})
            single = in_single_precision(probe)
        except TrainingError:
            raise
        except Exception as error:  # the author's layers may raise anything
            raise TrainingError(
                f"Keras cannot run the model on the examples: {_one_line(error)[:LONGEST_MESSAGE]}"
            ) from error

        def call(model: keras.Model, values: Mapping[str, Any]) -> Mapping[str, Any]:
            outputs: Mapping[str, Any] = model([values[name] for name in names], training=False)
            return outputs

        original = traced(partial(call, probe), examples, list(own), list(further))
        if single is None:
            return original
        lowered = traced(partial(call, single), examples, list(own), list(further))
        return replace(original, convert=lowered.convert, tolerance=HALF_TOLERANCE)

    def _own_outputs(self) -> dict[str, Any]:
        """Return the outputs of a functional model by name: their keys, or the names of their layers."""
        if not isinstance(self._model, keras.Sequential) and isinstance(self._model.output, Mapping):
            return dict(self._model.output)
        names = {id(tensor): name for name, tensors in self._layers.items() for tensor in tensors}
        listed = self._model.outputs
        found = [names.get(id(tensor), f"output_{place}") for place, tensor in enumerate(listed)]
        unique = found if len(set(found)) == len(found) else [f"{name}_{place}" for place, name in enumerate(found)]
        return dict(zip(unique, listed, strict=True))

    def _distributions(
        self, examples: Values, named: Sequence[str], timesteps: int, own: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the outputs of layers that are distributions over time, or that were named."""
        given = {id(tensor) for tensor in self._model.inputs}
        wanted = {
            f"{name}:{place}": tensor
            for name, tensors in self._layers.items()
            for place, tensor in enumerate(tensors)
            if id(tensor) not in given and (_may_be_over_time(tensor, timesteps) or name in named)
        }
        wanted = _computed(self._model.inputs, wanted)
        values = keras.Model(self._model.inputs, wanted)(list(examples.values()), training=False) if wanted else {}
        count = len(next(iter(examples.values())))
        known = {id(tensor) for tensor in own.values()}
        found: dict[str, Any] = {}
        for key, tensor in wanted.items():
            name = key.rpartition(":")[0]
            array = keras.ops.convert_to_numpy(keras.ops.cast(values[key], "float32"))
            one = distribution(name, array, count, timesteps)
            attends = isinstance(one, Distribution) and may_attend(one)
            if id(tensor) not in known and name not in own and (attends or (name in named and name not in found)):
                found[name] = tensor
        return found

    def _called(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Call a subclass, and return its outputs by name."""
        is_list = list(values) == [name_of_place(place) for place in range(len(values))]
        given: Any = list(values.values()) if is_list else dict(values)
        if len(values) == 1:
            (given,) = values.values()
        outputs = self._model(given, training=False)
        if isinstance(outputs, Mapping):
            return dict(outputs)
        if isinstance(outputs, list | tuple):
            return {f"output_{place}": output for place, output in enumerate(outputs)}
        return {"output": outputs}


def open_file(path: Path, custom: str | None) -> KerasModel:
    """Open a `.keras` or `.h5` file.

    Args:
        path: the file.
        custom: the module with the code of the author's own layers, if any.

    Raises:
        TrainingError: the file is damaged, or needs code that is not there.
    """
    try:
        known = {} if path.suffix == ".keras" else _layers_of_keras_2()
        with keras.saving.custom_object_scope({**known, **_objects_of(custom)}):  # reaches layers within layers, too
            model = keras.models.load_model(path, compile=False)
    except Exception as error:
        text = _one_line(error)
        if "ambda" in text:
            raise TrainingError(
                f"{path} needs the code of its Lambda layer, which is not opened from a file: export the model "
                "(model.export) where that code is, or put a layer of your own in its place"
            ) from error
        if unknown := UNKNOWN.search(text):
            raise TrainingError(
                f"{path} needs the code of its layer {unknown[1] or unknown[2]}: say --custom MODULE, or export the "
                "model (model.export) where that code is"
            ) from error
        raise TrainingError(
            f"{path} cannot be opened by Keras {keras.__version__}: {text[:LONGEST_MESSAGE]}"
        ) from error
    return KerasModel(model)


def in_single_precision(model: keras.Model) -> keras.Model | None:
    """Return a model with the same weights that computes in float32.

    None if the model itself does, or has a layer that Keras cannot build again; its graph is changed then.
    """
    if not any(getattr(layer, "compute_dtype", "") in HALF for layer in model.layers):
        return None

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if "dtype" in config and not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    try:
        single = keras.models.clone_model(model, clone_function=clone)
        single.set_weights(model.get_weights())
    except (NotImplementedError, TypeError, ValueError):  # no get_config, or one without all arguments
        return None
    return single


def _objects_of(custom: str | None) -> dict[str, Any]:
    """Return the classes and functions of a module by name. Importing it also registers what it registers."""
    if custom is None:
        return {}
    try:
        module = importlib.import_module(custom)
    except Exception as error:  # the author's module may raise anything
        raise TrainingError(f"--custom {custom}: {_one_line(error) or type(error).__name__}") from error
    return {name: one for name, one in vars(module).items() if inspect.isclass(one) or inspect.isfunction(one)}


def _layers_of_keras_2() -> dict[str, Any]:
    """Return layers by name that pass over `time_major`, which Keras 2 wrote and Keras 3 does not know."""
    kinds = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN, keras.layers.Bidirectional)
    return {kind.__name__: _passing_over_time_major(kind) for kind in kinds}


def _passing_over_time_major(kind: Any) -> Any:
    class OfKeras2(kind):  # type: ignore[misc]
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return super().from_config(_without_time_major(config))

    OfKeras2.__name__ = kind.__name__  # Bidirectional copies its layer by this name
    return OfKeras2


def _without_time_major(config: Any) -> Any:
    if not isinstance(config, Mapping):
        return config
    return {name: _without_time_major(value) for name, value in config.items() if name != "time_major"}


def _outputs_of_layers(model: keras.Model) -> Iterator[tuple[str, list[Any]]]:
    """Yield the outputs of the first call of each layer."""
    for layer in getattr(model, "operations", None) or model.layers:
        try:
            outputs = keras.tree.flatten(layer.output)
        except (AttributeError, ValueError):  # used twice, or not at all
            continue
        yield layer.name, outputs


def _computed(inputs: Sequence[Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors that the inputs of a model lead to.

    A model inside of it, and a layer that another model used before, have the output of an earlier call.
    """
    try:
        keras.Model(inputs, tensors)
    except ValueError:  # some tensor is of another call
        if len(tensors) == 1:
            return {}
        return {name: one for name, tensor in tensors.items() for one in _computed(inputs, {name: tensor}).values()}
    return tensors


def _may_be_over_time(tensor: Any, timesteps: int) -> bool:
    """Return whether a tensor may be a distribution over the timesteps, from its declared shape."""
    sizes = tuple(tensor.shape[1:])
    if "float" not in str(tensor.dtype) or not {timesteps, None}.intersection(sizes):
        return False
    return int(np.prod([size or timesteps for size in sizes])) <= MOST_VALUES


def _one_line(error: Exception) -> str:
    """Return a message of Keras in one line, without colours."""
    return " ".join(COLOUR.sub("", str(error)).split())
