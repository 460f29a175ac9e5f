"""The gate: the checks that a version must pass before it answers requests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard, Target
from service.artifact.engine import Engine, TensorType
from service.artifact.golden import Golden
from service.artifact.graphs import check_onnx, check_saved_model
from service.artifact.layout import CARD, GOLDEN, LOWERING, SAVED_MODEL, VERSION_PATTERN
from service.artifact.missing import absent, refused
from service.artifact.signatures import SignatureDefinition, read_signatures, signatures_of
from service.artifact.tensors import ATTENTION_VEC, PREDICTION, SEQUENCE, SIGNATURES, Array, shape_of
from service.artifact.version import Contents
from service.errors import ArtifactError

T = TypeVar("T")

#: Opens the engine of a version, from its contents and its card.
OpenEngine = Callable[[Contents, ModelCard], Engine]

#: Relative and absolute tolerance of a replayed output. Rounding on another processor stays below, and other weights
#: go beyond.
RTOL, ATOL = 1e-4, 1e-5
#: Tolerance of predicted numbers for float32 rounding, relative to the largest of them: about eight rounding steps.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Verified:
    """A version that has passed the gate.

    Attributes:
        card: its card.
        golden: its golden example.
        signatures: the signature definitions of its SavedModel, by name; without one, those of its lowering.
        engine: runs its graph.
        digests: the SHA-256 of each of its files, by name.
    """

    card: ModelCard
    golden: Golden
    signatures: Mapping[str, SignatureDefinition]
    engine: Engine
    digests: Mapping[str, str] = field(default_factory=dict)


def open_verified(contents: Contents, open_engine: OpenEngine) -> Verified:
    """Open a version, after checks that it is harmless, matches its card and computes the same as at export.

    Raises:
        ArtifactError: the version must not be served.
    """
    card, golden = contents.card(), contents.golden()
    _check_golden(contents, card, golden)
    if contents.has_saved_model or LOWERING not in contents.files:
        _apply(check_saved_model, contents, SAVED_MODEL)
    if LOWERING in contents.files:  # even if the engine will run the SavedModel
        _apply(check_onnx, contents, LOWERING)
    signatures = _apply(read_signatures, contents, SAVED_MODEL) if contents.has_saved_model else None
    engine = open_engine(contents, card)
    _check_signatures(contents, golden, engine)
    if signatures is None:
        signatures = signatures_of(engine.signatures["attention"])
    _replay(contents, card, golden, engine)
    return Verified(card, golden, signatures, engine, contents.digests)


def check_names(card: ModelCard, directory: Path) -> None:
    """Check that the directory of a version has a version's name, in the folder of the model that its card names.

    Raises:
        ArtifactError: the service passes over the directory, or rejects it.
    """
    if not VERSION_PATTERN.fullmatch(directory.name):
        raise ArtifactError(f"{directory}: expected a number without leading zeros as the name of a version")
    if card.name != directory.parent.name:
        raise ArtifactError(
            f"{directory / CARD} names the model {card.name!r}, its folder {directory.parent.name!r}: rename one"
        )


def _check_golden(contents: Contents, card: ModelCard, golden: Golden) -> None:
    """Check that the golden example has the shapes that the card describes."""
    if golden.sequence.shape[1:] != (card.timesteps, card.features) or not len(golden.sequence):
        raise ArtifactError(
            f"{contents.directory / GOLDEN}: expected sequences of shape (n, {card.timesteps}, {card.features}), "
            f"got {golden.sequence.shape}"
        )
    _check_missing(contents, card, golden)
    if card.target.outputs not in (None, golden.prediction.shape[-1]):
        raise ArtifactError(
            f"{contents.directory / CARD} describes a {card.target.task} target with {card.target.outputs} output(s), "
            f"{contents.directory / GOLDEN} has {golden.prediction.shape[-1]}"
        )
    if card.target.steps != golden.sizes.get("steps"):
        raise ArtifactError(
            f"{contents.directory / CARD} describes a target with steps {card.target.steps}, "
            f"{contents.directory / GOLDEN} has {golden.sizes.get('steps')}"
        )

    if (card.attention is None) != (golden.attention_vec is None):
        described = "no attention" if card.attention is None else "attention"
        raise ArtifactError(
            f"{contents.directory / CARD} describes {described}, {contents.directory / GOLDEN} has "
            f"{'no' if golden.attention_vec is None else 'an'} {ATTENTION_VEC}"
        )
    units = sum(source.units for source in card.attention_from)
    if card.attention_from and units != golden.sizes["units"]:
        raise ArtifactError(
            f"{contents.directory / CARD} describes {units} unit(s) in attention_from, {contents.directory / GOLDEN} "
            f"has {golden.sizes['units']}"
        )


def _check_missing(contents: Contents, card: ModelCard, golden: Golden) -> None:
    """Check that values are missing only where the card allows it, and that absent timesteps have no attention."""
    path = contents.directory / GOLDEN
    wrong = refused(golden.sequence, card)
    if wrong.any():
        tokens = "" if card.tokens is None else f", tokens {card.tokens.least} to {card.tokens.most}"
        raise ArtifactError(
            f"{path}: expected values that the card allows (variable_length {card.variable_length}, missing_values "
            f"{card.missing_values}{tokens}), got {golden.sequence[wrong][0]} at {SEQUENCE}{_first(wrong)}"
        )
    without_value = absent(golden.sequence)
    empty = np.all(without_value, axis=1)
    if empty.any():
        raise ArtifactError(
            f"{path}: expected at least one value in each sequence, got none in {SEQUENCE}{_first(empty)}"
        )
    if golden.attention_vec is None:
        return
    attended = without_value[:, :, np.newaxis] & (golden.attention_vec != 0)
    if attended.any():
        raise ArtifactError(
            f"{path}: expected no attention at a timestep without any value, got "
            f"{golden.attention_vec[attended][0]:.2g} at {ATTENTION_VEC}{_first(attended)}"
        )


def _first(wrong: NDArray[np.bool_]) -> str:
    """Return the index of the first true entry, as in `[3][1]`."""
    return "".join(f"[{index}]" for index in np.argwhere(wrong)[0])


def _apply(read: Callable[[bytes], T], contents: Contents, name: str) -> T:
    """Read a file with a function that raises ValueError, and name the file in the error."""
    try:
        return read(contents.file(name))
    except ValueError as error:
        raise ArtifactError(f"{contents.directory / name} {error}") from error


def _check_signatures(contents: Contents, golden: Golden, engine: Engine) -> None:
    """Check that the graph has the inputs and outputs of the contract, of the shapes in the golden example."""
    for name, signature in engine.signatures.items():
        inputs = {SEQUENCE: shape_of(SEQUENCE, golden.sizes)}
        outputs = {output: shape_of(output, golden.sizes) for output in SIGNATURES[name] if output in golden.outputs}
        for kind, got, expected in (("input", signature.inputs, inputs), ("output", signature.outputs, outputs)):
            if got.keys() != expected.keys():
                raise ArtifactError(
                    f"{contents.directory}: signature {name} on engine {engine.name}: expected {kind}s "
                    f"{', '.join(expected)}, got {', '.join(got)}"
                )
            for tensor, shape in expected.items():
                if not _fits(got[tensor], shape):
                    raise ArtifactError(
                        f"{contents.directory}: signature {name} on engine {engine.name}: expected {kind} {tensor} of "
                        f"float32 {shape}, got {got[tensor].dtype} {got[tensor].shape}"
                    )


def _fits(tensor: TensorType, shape: tuple[int | None, ...]) -> bool:
    """Whether a tensor is float32 of a shape. An axis of size None must be open, and any other axis may be."""
    return (
        tensor.dtype == "float32"
        and len(tensor.shape) == len(shape)
        and all(got in (None, expected) for got, expected in zip(tensor.shape, shape, strict=True))
    )


def _replay(contents: Contents, card: ModelCard, golden: Golden, engine: Engine) -> None:
    """Check that the engine computes the recorded prediction and attention."""
    recorded = golden.outputs
    try:
        replayed = engine.run(golden.sequence, recorded)
    except Exception as error:  # runtimes raise many kinds; each means that the graph cannot run
        raise ArtifactError(
            f"{contents.directory}: engine {engine.name} cannot run the golden example: {str(error).strip()}"
        ) from error
    for output, expected in recorded.items():
        got = replayed[output]
        if got.shape != expected.shape:
            raise ArtifactError(
                f"{contents.directory} does not replay its golden example on engine {engine.name}: "
                f"{output} has shape {got.shape}, expected {expected.shape}"
            )
        distance = differences(output, got, expected, card.target)
        size = 1.0 if _are_numbers(output, card.target) else np.abs(expected)
        if not np.all(distance <= ATOL + RTOL * size):
            raise ArtifactError(
                f"{contents.directory} does not replay its golden example on engine {engine.name}: "
                f"{output} differs by {np.max(distance):.2g}"
            )


def differences(output: str, got: Array, expected: Array, target: Target) -> Array:
    """Return the absolute differences of an output `(n, …)` from its expected value.

    Predicted numbers may have any magnitude. Their differences are therefore reduced by the float32 rounding error
    and divided by their standard deviation.
    """
    distance: Array = np.abs(got - expected)
    if not _are_numbers(output, target):
        return distance
    rounding = ROUNDING * np.abs(expected).max(axis=0)
    deviation = expected.std(axis=0)
    in_deviations: Array = np.maximum(distance - rounding, 0) / np.where(deviation > 0, deviation, 1)
    return in_deviations


def _are_numbers(output: str, target: Target) -> bool:
    """Whether an output has numbers of any magnitude, rather than shares or probabilities."""
    return output == PREDICTION and target.task == "regression"
