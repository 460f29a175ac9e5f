"""One import, from a model and examples to a published version."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import ValidationError

from service.artifact import publishing
from service.artifact.card import AttentionSource, Lowering, ModelCard, Origin, Tokens, varying
from service.artifact.gate import differences, open_verified
from service.artifact.graphs import check_onnx
from service.artifact.missing import absent
from service.artifact.tensors import ATTENTION_VEC, PREDICTION, SEQUENCE, Array
from service.artifact.version import Artifact
from service.engines import opener
from service.problems import in_plain_words
from training import TrainingError
from training.data import Dataset, LabelledSequences, baseline_of
from training.export import GOLDEN_SEQUENCES, write_card, write_golden
from training.importing.attention import NONE, Evidence, chosen_attention
from training.importing.conditions import check_alone, check_digits
from training.importing.distributions import STEP, Distribution, distribution, may_attend, number_of_examples
from training.importing.evaluation import evaluated
from training.importing.feeding import Feeding
from training.importing.hints import hints_on_attention, hints_on_classes, hints_on_length
from training.importing.interpretation import Interpretation
from training.importing.onnx_program import OnnxProgram, with_all_outputs
from training.importing.original import TOLERANCE, Opened, Original, Values, batches
from training.importing.padding import Compute, effect_of_padding
from training.importing.reading import class_indices, reading_of
from training.importing.sample import Sample, other_shape
from training.importing.tokens import token_ranges, tokens_of, typical_tokens
from training.importing.wrapping import operator_of, opset_of, wrapped
from training.options import Import

#: Largest number of bytes of the attention in the golden example.
MOST_GOLDEN_BYTES: Final = 2**24


@dataclass(frozen=True)
class Imported:
    """A model in the contract.

    Attributes:
        tolerance: how far its graph may differ from the original program.
        interpretation: which of its tensors are those of the contract.
        tokens: the range of its tokens; None if it takes other numbers.
        compute: returns tensors by name: as the original program computes them, or, for tensors inside that conversion
            made or gave the name of another one, as the converted graph does.
        graph: the graph of the contract.
        hints: what the person should know of it.
    """

    tolerance: float
    interpretation: Interpretation
    tokens: Tokens | None
    compute: Compute
    graph: onnx.ModelProto
    hints: tuple[str, ...]

    @cached_property
    def program(self) -> OnnxProgram:
        """Runs the graph of the contract."""
        return OnnxProgram(self.graph)


def run(opened: Opened, origin: Origin, sample: Sample, options: Import) -> Path:
    """Import a model: find its attention, wrap its graph, compare both on every example, and publish it.

    Return the directory of the published version.

    Raises:
        TrainingError: the model cannot be imported. Nothing is published.
        OSError: the version cannot be written.
    """
    if len(sample.x) < 2:
        raise TrainingError(f"{sample.where}: expected at least 2 examples, got {len(sample.x)}")
    try:
        imported, sample = _imported(opened, sample, options)
    except ValidationError as invalid:  # of the target or the tokens
        raise TrainingError(in_plain_words(invalid.errors()[0], "card")) from invalid
    error = _compared(imported, sample.x)
    card = _card(imported, sample, options, origin, error).model_copy(update={"layers": opened.layers})
    return _publish(imported, card, sample, options.artifacts / options.name)


def _imported(opened: Opened, sample: Sample, options: Import) -> tuple[Imported, Sample]:
    """Return the model in the contract, and the sample with the padding of the contract."""
    timesteps = sample.feeding.timesteps
    filling = replace(sample.feeding, pad=options.pad)
    examples = min(number_of_examples(timesteps), len(sample.x))
    some = filling.values(sample.x[:examples])
    original = opened.trace(some, options.attention, timesteps)
    outputs = original.run(some, original.outputs)
    _check_outputs(original, outputs, original.run(some, original.outputs), examples)
    check_alone(original, some, outputs)
    prediction = _prediction(original, outputs, options, examples, timesteps)
    values = original.run(filling.values(sample.x), [prediction])[prediction]
    graph = original.convert()
    reading = reading_of(prediction, values, operator_of(graph, prediction), sample, options)
    check_digits(original, filling, reading, sample)
    inner = OnnxProgram(with_all_outputs(graph))
    steps = values.shape[1] if values.ndim == 3 else None
    tensors = _floats(graph, inner.run(some, inner.outputs))
    sequence = next(part.name for part in filling.parts if part.kind == "sequence")
    x_some = np.nan_to_num(sample.x[:examples], nan=options.pad)
    evidence = Evidence(tensors, original.exposed, original.outputs, prediction, x_some, sequence, steps)
    if not options.attention:
        evidence = replace(evidence, others=_of_other_axes(opened, filling, evidence))
    sources = chosen_attention(evidence, options.attention)
    converted = _of_conversion(original, some, sources, tensors)

    def compute(x: Array, names: Collection[str]) -> dict[str, NDArray[Any]]:
        own = original.run(filling.values(x), [name for name in names if name not in converted])
        missing = [name for name in names if name not in own]  # conversion made these tensors
        return own | (inner.run(filling.values(x), missing) if missing else {})

    interpretation = Interpretation(filling, reading, sources)
    ranges = token_ranges(graph, inner, interpretation, sample)
    cut = _without_padding(sample.x, options.pad)
    effect = effect_of_padding(opened, original, compute, interpretation, cut[:examples])
    feeding = filling if effect is None else filling.without_pad
    interpretation = replace(interpretation, feeding=feeding)
    tokens = tokens_of(ranges, feeding, sample, options.vocabulary)
    if feeding.pad is not None and ranges:  # other numbers may be the same as the padding
        sample = replace(sample, x=cut)
    _check_missing(sample, feeding, effect)
    complete = wrapped(graph, interpretation)
    try:
        check_onnx(complete.SerializeToString())
    except ValueError as error:
        raise TrainingError(f"the model {error}") from error
    hints = [*hints_on_attention(interpretation)]
    if ranges or any(None in one.shape[1:2] for one in opened.inputs):  # shorter sequences may be expected
        hints += hints_on_length(interpretation, effect, options.pad)
    return Imported(original.tolerance, interpretation, tokens, compute, complete, tuple(hints)), sample


def _without_padding(x: Array, pad: float) -> Array:
    """Return sequences with NaN in place of the values at the end that only fill them up."""
    filled = np.all(np.isnan(x) | (x == pad), axis=2)
    return np.where(_at_end(filled), np.float32(np.nan), x)


def _check_missing(sample: Sample, feeding: Feeding, effect: str | None) -> None:
    """Check that values are missing only where the imported model allows it: at the end of shorter sequences."""
    if feeding.pad is None and sample.longest < feeding.timesteps:
        raise other_shape(sample.where, sample.feeding, (len(sample.x), sample.longest, feeding.features))
    missing = np.isnan(sample.x)
    allowed = f"no missing values, as {effect}"
    if feeding.pad is not None:
        missing &= ~_at_end(absent(sample.x))
        allowed = "missing values at the end of shorter sequences alone"
    if missing.any():
        place = "".join(f"[{index}]" for index in np.argwhere(missing)[0])
        raise TrainingError(f"{sample.where}: the model allows {allowed}: got NaN at x{place}")


def _at_end(empty: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `(n, timesteps, 1)`: which of the empty timesteps `(n, timesteps)` are behind all others.

    The first timestep is not, as a sequence has at least one.
    """
    at_end = np.logical_and.accumulate(empty[:, ::-1], axis=1)[:, ::-1]
    at_end[:, 0] = False
    return at_end[..., np.newaxis]


def _floats(graph: onnx.ModelProto, found: Values) -> Values:
    """Return the tensors of floats in the order of the graph."""
    names = (name for node in graph.graph.node for name in node.output)
    return {name: found[name] for name in names if name in found and found[name].dtype.kind == "f"}


def _check_outputs(original: Original, first: Values, second: Values, examples: int) -> None:
    for name in original.outputs:
        if first[name].shape[:1] != (examples,):
            raise TrainingError(
                f"output {name}: expected one entry for each of {examples} examples, got the shape {first[name].shape}"
            )
        if first[name].dtype.kind == "f" and np.abs(first[name] - second[name]).max(initial=0) > original.tolerance:
            raise TrainingError(
                f"output {name} differs from run to run on the same examples: export the model for inference, without "
                "dropout and sampling"
            )


def _of_other_axes(opened: Opened, feeding: Feeding, evidence: Evidence) -> frozenset[str]:
    """Return the names of tensors that only by chance have an axis as long as the sequences.

    They are no distribution over the timesteps of shorter sequences. A model of a fixed length cannot be asked that.
    """
    length, names = evidence.timesteps - 1, [one.name for one in evidence.found()]
    declared = {one.name: one.shape for one in opened.inputs}.get(evidence.sequence, (None, None))
    if declared[1] is not None or length < 2 or not names:
        return frozenset()
    short = replace(feeding, timesteps=length).values(evidence.x[:, :length])
    try:
        values = opened.trace(short, names, length).run(short, names)
    except (TrainingError, ValueError):  # other layers need this number of timesteps
        return frozenset()
    count = len(evidence.x)
    return frozenset(name for name, one in values.items() if isinstance(distribution(name, one, count, length), str))


def _of_conversion(
    original: Original, some: Values, sources: Iterable[Distribution], tensors: Values
) -> frozenset[str]:
    """Return the names of tensors inside the original program that are others in the converted graph.

    Conversion folds transposes, and keeps the names of the tensors before them.
    """
    inside = {source.name for source in sources} - {*original.outputs, *original.exposed}
    own = original.run(some, inside) if inside else {}  # without names, ONNX Runtime computes all outputs

    def same(name: str) -> bool:
        pair = own[name], tensors[name]
        return pair[0].shape == pair[1].shape and bool(np.abs(pair[0] - pair[1]).max() <= original.tolerance)

    return frozenset(name for name in own if not same(name))


def _prediction(original: Original, outputs: Values, options: Import, examples: int, timesteps: int) -> str:
    """Return the name of the output that is the prediction: the only one that is no attention."""
    shapes = ", ".join(f"{name} {('n', *outputs[name].shape[1:])}".replace("'", "") for name in original.outputs)
    if options.prediction is not None:
        if options.prediction not in original.outputs:
            raise TrainingError(f"--prediction {options.prediction}: expected one of the model's outputs, {shapes}")
        return options.prediction
    left = [name for name in original.outputs if name not in options.attention]
    if len(left) > 1 and options.attention != (NONE,):
        left = [name for name in left if not _attends(outputs[name], examples, timesteps)]
    if len(left) != 1:
        raise TrainingError(f"--prediction: say which of the model's outputs is the prediction: {shapes}")
    return left[0]


def _attends(values: NDArray[Any], examples: int, timesteps: int) -> bool:
    one = distribution("", values, examples, timesteps)
    return isinstance(one, Distribution) and may_attend(one)


def _compared(imported: Imported, x: Array) -> float:
    """Return the largest difference of the imported graph from the original program, over all examples.

    Raises:
        TrainingError: it is larger than the original's tolerance.
    """
    interpretation, reading = imported.interpretation, imported.interpretation.reading
    expected, got, attended = [], [], [0.0]
    for some in batches({SEQUENCE: x}):  # attention of all sequences may not fit into memory
        own = imported.compute(some[SEQUENCE], interpretation.names)
        outputs = imported.program.run(some, imported.program.outputs)
        expected.append(reading.prediction(own[reading.output]))
        got.append(outputs[PREDICTION])
        if interpretation.sources:
            attention = interpretation.attention_vec(own, some[SEQUENCE])
            attended.append(float(np.abs(outputs[ATTENTION_VEC] - attention).max()))
    predicted = _differences(np.concatenate(got), np.concatenate(expected), imported)
    error = max(float(np.max(predicted)), *attended)
    if not error <= imported.tolerance:
        is_half = imported.tolerance > TOLERANCE
        reason = ": half precision may round so much, so export the model in float32" if is_half else ""
        raise TrainingError(
            f"the imported graph differs from the original program by {error:.2g}, expected at most "
            f"{imported.tolerance:g}{reason}"
        )
    return error


def _differences(got: Array, expected: Array, imported: Imported) -> Array:
    """Return the differences of predictions: those of the gate, but relative ones for numbers of half precision.

    Half precision has no more than three digits, so that its rounding may be large beside a small standard deviation,
    and beside a number that is the difference of large ones.
    """
    if imported.tolerance > TOLERANCE and imported.interpretation.reading.target.task == "regression":
        relative: Array = np.abs(got - expected) / max(1, np.abs(expected).max())
        return relative
    return differences(PREDICTION, got, expected, imported.interpretation.reading.target)


def _card(imported: Imported, sample: Sample, options: Import, origin: Origin, error: float) -> ModelCard:
    feeding, target = imported.interpretation.feeding, imported.interpretation.reading.target
    y = np.zeros(len(sample.x)) if sample.labels is None else class_indices(sample.labels, target)
    examples = LabelledSequences(sample.x, y, varying=varying(sample.feature_labels, sample.static_labels))
    dataset = Dataset(
        train=examples,
        test=examples,
        target=target,
        timestep_labels=sample.timestep_labels,
        feature_labels=sample.feature_labels,
        variable_length=feeding.pad is not None,
        missing_values=False,
        scale=None,
    )
    program, tokens = imported.program, imported.tokens
    baseline = (baseline_of(dataset) if tokens is None else typical_tokens(sample.x, tokens)).astype(np.float32)
    evaluation = evaluated(
        program,
        dataset,
        baseline,
        attends=bool(imported.interpretation.sources),
        labelled=sample.labels is not None,
    )
    try:
        return ModelCard.model_validate(
            {
                "name": options.name,
                "created": datetime.now(UTC),
                "architecture": "imported",
                "timesteps": feeding.timesteps,
                "features": feeding.features,
                "timestep_labels": sample.timestep_labels,
                "feature_labels": sample.feature_labels,
                "static_labels": sample.static_labels,
                "table": sample.table,
                "tokens": tokens,
                "variable_length": dataset.variable_length,
                "baseline": baseline.tolist(),
                "target": target,
                "attention_from": _sources(imported.interpretation),
                "origin": origin,
                "hints": (*imported.hints, *hints_on_classes(target, evaluation["metrics"], len(sample.x))),
                "lowering": Lowering(opset=opset_of(imported.graph), error=error),
                **evaluation,
            }
        )
    except ValidationError as invalid:
        raise TrainingError(in_plain_words(invalid.errors()[0], "card")) from invalid


def _sources(interpretation: Interpretation) -> list[AttentionSource]:
    """Return where the units of attention come from. The steps of a loop that was unrolled are one source."""
    sources, steps = interpretation.sources, interpretation.reading.target.steps
    if steps == len(sources) > 1 and not any(source.axes for source in sources):
        return [AttentionSource(tensor=sources[0].name, axes={STEP: steps})]
    return [AttentionSource(tensor=source.name, axes=source.axes) for source in sources]


def _publish(imported: Imported, card: ModelCard, sample: Sample, home: Path) -> Path:
    """Write a version, verify it as the service does, and publish it by one rename."""
    interpretation = imported.interpretation
    most = MOST_GOLDEN_BYTES // max(1, 4 * interpretation.units * interpretation.feeding.timesteps)
    golden = sample.x[: max(2, min(GOLDEN_SEQUENCES, most))]
    recorded = (PREDICTION, ATTENTION_VEC) if interpretation.sources else (PREDICTION,)
    outputs = imported.program.run({SEQUENCE: golden}, recorded)
    home.mkdir(parents=True, exist_ok=True)
    with publishing.staging(home) as staged:
        artifact = Artifact(staged)
        write_golden(artifact, {SEQUENCE: golden, **outputs})
        artifact.lowering_path.write_bytes(imported.graph.SerializeToString())
        write_card(artifact, card)
        artifact.write_sums()
        open_verified(artifact.read(), opener("onnx", threads=1))
        return publishing.publish(staged, home)
