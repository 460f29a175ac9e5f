"""The continuation of a published version: its options, its contract, and its weights."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard, Target, TrainingRecord
from service.artifact.layout import discover, versions_of
from service.artifact.tensors import Array
from service.artifact.version import Artifact, Contents
from service.problems import did_you_mean
from training import TrainingError
from training.data import Dataset, Indices, LabelledSequences, Scale, SequenceStore, as_published
from training.options import SYNTHETIC, Options

#: Options that shape the graph. They are always those of the version.
SHAPING: Final = ("architecture", "units", "cell", "layers", "bidirectional", "dropout", "shared_attention", "loss")
#: Options that decide which sequences of the same data are held out.
DIVIDING: Final = ("seed", "test_split", "test_data", "group_column")
#: What `data` is in the options of a training with a frame or arrays, which no file holds.
IN_MEMORY: Final = ("frame", "arrays")
#: Options that are not taken from the version.
NOT_TAKEN: Final = {"name", "continue_", "resume", "tensorboard", "repeats", "cross_validate"}


@dataclass(frozen=True)
class _AsPublished:
    """The sequences of a store with the timesteps and the indices of categories of a card, changed on access."""

    store: SequenceStore
    categories: Mapping[str, tuple[str, ...]]
    card: ModelCard

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.store), self.card.timesteps, self.card.features)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, rows: Indices | slice) -> Array:
        return as_published(self.store[rows], self.categories, self.card)


def with_published(options: Options) -> Options:
    """Return options with those of the version that `--continue` names, where the person gave none.

    Without `--continue`, and for options that were returned before, the options are the same.

    Raises:
        TrainingError: there is no such version, it cannot be continued, or an option contradicts its graph.
        ArtifactError: a file of the version is missing or was changed.
    """
    if options.continue_ is None:
        return options
    where, card = _version(options)
    record = _record(where, card)
    recorded = {name: value for name, value in record.options.items() if name in Options.model_fields}
    recorded["architecture"] = card.architecture
    recorded["task"] = {"regression": "regression", "multilabel": "multilabel"}.get(card.target.task, "classification")
    given = {name: getattr(options, name) for name in options.model_fields_set}
    if card.architecture == "minirocket":
        raise TrainingError(f"{where}: a minirocket model is fitted at once: train again with all data")
    if record.scaling is None and recorded.get("data") not in SYNTHETIC:
        raise TrainingError(f"{where}: an earlier release published it without its scaling: train again with all data")
    if "data" not in given and recorded.get("data") in IN_MEMORY:
        raise TrainingError(f"{where}: it was trained on data in memory, which are not kept: expected data")
    if "data" not in given and card.cross_validation is not None:
        raise TrainingError(f"{where}: it was fitted on all its data: expected other --data, to judge it on")
    if "data" in given:
        recorded.pop("test_data", None)
    for name in SHAPING if "data" in given else (*SHAPING, *DIVIDING):
        expected = recorded.get(name, Options.model_fields[name].default)
        if given.get(name, expected) != expected:
            why = "which held out what the version was not fitted on" if name in DIVIDING else "as the version has"
            raise TrainingError(f"{where}: expected {name} {expected!r}, {why}, got {given[name]!r}")
    taken = {name: value for name, value in recorded.items() if name not in NOT_TAKEN}
    return Options.from_keywords({**taken, **given, "continue_": where.partition(" ")[2]})


def published_classes(options: Options) -> tuple[str, ...]:
    """Return the classes of the version that `--continue` names; none without it, or if it predicts numbers."""
    return () if options.continue_ is None else _version(options)[1].target.classes or ()


def as_continued(dataset: Dataset, options: Options) -> Dataset:
    """Return a dataset with the target, the categories and the scaling of the version that `--continue` names.

    Without `--continue`, the dataset is the same.

    Raises:
        TrainingError: the data do not fit the version. The message says what was expected and what came.
    """
    if options.continue_ is None:
        return dataset
    where, card = _version(options)
    _check_sequences(where, dataset, card)
    classes = _indices_of_classes(where, dataset.target, card.target)
    padded = dataset.train.x.shape[1] < card.timesteps
    changed = padded or dict(dataset.categories) != dict(card.categories)

    def fitting(some: LabelledSequences) -> LabelledSequences:
        x: SequenceStore = _AsPublished(some.x, dataset.categories, card) if changed else some.x
        # sequences in memory stay there
        return replace(
            some, x=x[:] if isinstance(some.x, np.ndarray) else x, y=some.y if classes is None else classes[some.y]
        )

    scaling = _record(where, card).scaling
    hint = (
        f"the metrics hold only if {options.continue_} was not fitted on the held-out sequences: the data must be new "
        "to it, or the same with the same --seed and --test-split"
    )
    return replace(
        dataset,
        train=fitting(dataset.train),
        test=fitting(dataset.test),
        target=card.target,
        timestep_labels=card.timestep_labels if padded else dataset.timestep_labels,
        variable_length=card.variable_length,
        missing_values=card.missing_values,
        scale=Scale(np.array(scaling.mean), np.array(scaling.deviation)) if scaling else None,
        categories=card.categories,
        published_scale=(
            Scale(np.array(scaling.target_mean), np.array(scaling.target_deviation))
            if scaling and scaling.target_mean
            else None
        ),
        hints=(*dataset.hints, hint),
    )


def set_published_weights(model: Any, options: Options) -> None:
    """Give a new model of Keras the weights of the version that `--continue` names.

    Raises:
        TrainingError: the weights have other shapes.
        ArtifactError: a file of the version is missing or was changed.
    """
    import tensorflow as tf

    where, contents = _contents(options)
    expected = [tuple(weight.shape) for weight in model.weights]
    # export.py saves the weights as a list
    names = [f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE" for index in range(len(expected))]
    with tempfile.TemporaryDirectory(prefix="attention-training-") as private:
        contents.write_saved_model(Path(private))
        reader = tf.train.load_checkpoint(str(Path(private, "variables", "variables")))
        saved = [reader.get_tensor(name) for name in names if reader.has_tensor(name)]
    if [one.shape for one in saved] != expected:
        raise TrainingError(f"{where}: another release made its graph, with other weights: train again with all data")
    model.set_weights(saved)


def _contents(options: Options) -> tuple[str, Contents]:
    """Return the name of the version in error messages, `--continue MODEL/VERSION`, and its files."""
    name, _, number = str(options.continue_).partition("/")
    home = options.artifacts / name
    numbers = versions_of(home) if home.is_dir() else []
    if not numbers:
        hint = did_you_mean(name, discover(options.artifacts).models)
        raise TrainingError(f"--continue: no model {name!r} in {options.artifacts}{hint}")
    if number and int(number) not in numbers:
        raise TrainingError(f"--continue: expected a version of {name}, {', '.join(map(str, numbers))}, got {number}")
    version = home / (number or str(numbers[-1]))
    return f"--continue {name}/{version.name}", Artifact(version).read()


def _version(options: Options) -> tuple[str, ModelCard]:
    where, contents = _contents(options)
    return where, contents.card()


def _record(where: str, card: ModelCard) -> TrainingRecord:
    if card.training is None:
        raise TrainingError(f"{where}: expected a version that was trained here, got an imported one")
    return card.training


def _check_sequences(where: str, dataset: Dataset, card: ModelCard) -> None:
    """Refuse sequences of other features or timesteps."""
    _check_same(f"{where}: feature", card.feature_labels, dataset.feature_labels)
    _check_same(f"{where}: static feature", card.static_labels, dataset.static_labels)
    _check_same(f"{where}: category", sorted(card.categories), sorted(dataset.categories))
    for label, values in dataset.categories.items():
        if unknown := [value for value in values if value not in card.categories[label]]:
            raise TrainingError(
                f"{where}: feature {label!r}: expected values of {', '.join(card.categories[label])}, got {unknown[0]}"
            )
    timesteps = dataset.train.x.shape[1]
    if timesteps > card.timesteps or (timesteps < card.timesteps and not card.variable_length):
        most = "at most " if card.variable_length else ""
        raise TrainingError(f"{where}: expected {most}{card.timesteps} timesteps, got {timesteps}")
    if card.table is None or card.table.timestep_column is None:  # times are labels that may change
        _check_same(f"{where}: timestep", card.timestep_labels[:timesteps], dataset.timestep_labels)
    if dataset.variable_length and not card.variable_length:
        raise TrainingError(f"{where}: expected {card.timesteps} timesteps in each sequence, got shorter ones")
    if dataset.missing_values and not card.missing_values:
        raise TrainingError(f"{where}: expected no missing values, got some")


def _check_same(what: str, expected: Sequence[str], got: Sequence[str]) -> None:
    for index, (one, other) in enumerate(zip_longest(expected, got, fillvalue="nothing")):
        if one != other:
            raise TrainingError(f"{what} {index + 1}: expected {one!r}, got {other!r}")


def _indices_of_classes(where: str, got: Target, expected: Target) -> NDArray[np.int64] | None:
    """Return the published index of each class; None if the target is the same or has no classes to choose from."""
    may_lack_classes = {"binary", "multiclass"}
    if got.task != expected.task and not {got.task, expected.task} <= may_lack_classes:
        raise TrainingError(f"{where}: expected a {expected.task} target, got {got.task}")
    _check_same(f"{where}: target", expected.names or (), got.names or ())
    if expected.classes is None or got.classes is None:
        return None
    if expected.task == "multilabel":
        _check_same(f"{where}: class", expected.classes, got.classes)
        return None
    if unknown := [name for name in got.classes if name not in expected.classes]:
        raise TrainingError(f"{where}: expected classes of {', '.join(expected.classes)}, got {unknown[0]}")
    return np.array([expected.classes.index(name) for name in got.classes])
