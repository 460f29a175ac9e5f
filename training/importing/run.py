"""One import, from a model and examples to a published version."""

from collections.abc import Collection, Iterable, Iterator
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
from service.artifact.card import AttentionSource, Lowering, ModelCard, Origin, Tokens
from service.artifact.gate import differences, open_verified
from service.artifact.graphs import check_onnx
from service.artifact.tensors import ATTENTION_VEC, PREDICTION, SEQUENCE, Array
from service.artifact.version import Artifact
from service.engines import opener
from service.problems import in_plain_words
from training import TrainingError
from training.data import Dataset, LabelledSequences, baseline_of
from training.export import GOLDEN_SEQUENCES, write_card, write_golden
from training.importing.attention import NONE, Evidence, chosen_attention, weights
from training.importing.conditions import check_alone, check_digits
from training.importing.distributions import STEP, Distribution, distribution, may_attend, number_of_examples
from training.importing.evaluation import evaluated
from training.importing.feeding import Feeding, present
from training.importing.onnx_program import OnnxProgram, with_all_outputs
from training.importing.original import BATCH_SIZE, TOLERANCE, Opened, Original, Values
from training.importing.padding import Compute, ignores_padding
from training.importing.reading import Reading, class_indices, reading_of
from training.importing.sample import Sample, other_shape
from training.importing.tokens import tokens_of, typical_tokens
from training.importing.wrapping import operator_of, opset_of, wrapped
from training.options import Import

#: Largest number of bytes of the attention in the golden example.
MOST_GOLDEN_BYTES: Final = 2**24


@dataclass(frozen=True)
class Imported:
    """A model in the contract.

    Attributes:
        tolerance: how far its graph may differ from the original program.
        feeding: how a sequence becomes the model's inputs. The value for padding is None if all sequences are whole.
        reading: how the model's output becomes the prediction.
        sources: the model's tensors that are attention.
        tokens: the range of its tokens; None if it takes other numbers.
        compute: returns tensors by name: as the original program computes them, or, for tensors inside that conversion
            made or gave the name of another one, as the converted graph does.
        graph: the graph of the contract.
    """

    tolerance: float
    feeding: Feeding
    reading: Reading
    sources: tuple[Distribution, ...]
    tokens: Tokens | None
    compute: Compute
    graph: onnx.ModelProto

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
        raise TrainingError(f"--data {options.data}: expected at least 2 examples, got {len(sample.x)}")
    try:
        imported, sample = _imported(opened, sample, options)
    except ValidationError as invalid:  # of the target or the tokens
        raise TrainingError(in_plain_words(invalid.errors()[0], "card")) from invalid
    error = _compared(imported, sample.x)
    card = _card(imported, sample, options, origin, error)
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
    values = np.concatenate([original.run(filling.values(x), [prediction])[prediction] for x in _split(sample.x)])
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

    parts = (filling, reading, sources)
    feeding = filling if ignores_padding(opened, original, compute, parts, sample.x[:examples]) else filling.without_pad
    tokens = tokens_of(graph, feeding, sample, options)
    sample = _padded(sample, feeding, tokens, options)
    complete = wrapped(graph, feeding, reading, sources)
    try:
        check_onnx(complete.SerializeToString())
    except ValueError as error:
        raise TrainingError(f"the model {error}") from error
    return Imported(original.tolerance, feeding, reading, sources, tokens, compute, complete), sample


def _padded(sample: Sample, feeding: Feeding, tokens: Tokens | None, options: Import) -> Sample:
    """Return the sample with missing values only where the imported model allows them.

    Tokens at the end that only fill up a sequence are missing values in the contract.
    """
    if feeding.pad is not None:
        if tokens is None:
            return sample
        fills = np.isnan(sample.x) | (sample.x == feeding.pad)
        at_end = np.logical_and.accumulate(fills.all(axis=2)[:, ::-1], axis=1)[:, ::-1]  # (n, timesteps)
        at_end[:, 0] = False  # a sequence has at least one timestep
        first = np.where(np.isnan(sample.x[:, :1]), np.float32(feeding.pad), sample.x[:, :1])
        x = np.concatenate([first, sample.x[:, 1:]], axis=1)
        return replace(sample, x=np.where(at_end[..., np.newaxis], np.float32(np.nan), x))
    if sample.longest < feeding.timesteps:
        raise other_shape(f"--data {options.data}", sample.feeding, (len(sample.x), sample.longest, feeding.features))
    return replace(sample, x=np.where(np.isnan(sample.x), np.float32(options.pad), sample.x))


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


def _split(x: Array) -> Iterator[Array]:
    return (x[start : start + BATCH_SIZE] for start in range(0, len(x), BATCH_SIZE))


def _compared(imported: Imported, x: Array) -> float:
    """Return the largest difference of the imported graph from the original program, over all examples.

    Raises:
        TrainingError: it is larger than the original's tolerance.
    """
    reading = imported.reading
    names = [reading.output, *(source.name for source in imported.sources)]
    expected, got, attended = [], [], [0.0]
    for some in _split(x):
        own = imported.compute(some, names)
        outputs = imported.program.run({SEQUENCE: some}, imported.program.outputs)
        expected.append(reading.prediction(own[reading.output]))
        got.append(outputs[PREDICTION])
        if imported.sources:
            attention = weights(imported.sources, own)
            if imported.feeding.pad is not None:
                attention = attention * present(some)[..., np.newaxis]
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
    if imported.tolerance > TOLERANCE and imported.reading.target.task == "regression":
        relative: Array = np.abs(got - expected) / max(1, np.abs(expected).max())
        return relative
    return differences(PREDICTION, got, expected, imported.reading.target)


def _card(imported: Imported, sample: Sample, options: Import, origin: Origin, error: float) -> ModelCard:
    target = imported.reading.target
    y = np.zeros(len(sample.x)) if sample.labels is None else class_indices(sample.labels, target)
    examples = LabelledSequences(sample.x, y)
    dataset = Dataset(
        train=examples,
        test=examples,
        target=target,
        timestep_labels=sample.timestep_labels,
        feature_labels=sample.feature_labels,
        variable_length=imported.feeding.pad is not None,
        missing_values=False,
        scale=None,
    )
    program, tokens, baseline = imported.program, imported.tokens, baseline_of(dataset)
    evaluation = evaluated(
        program,
        dataset,
        attends=bool(imported.sources),
        labelled=sample.labels is not None,
    )
    try:
        return ModelCard.model_validate(
            {
                "name": options.name,
                "created": datetime.now(UTC),
                "architecture": "imported",
                "timesteps": imported.feeding.timesteps,
                "features": imported.feeding.features,
                "timestep_labels": sample.timestep_labels,
                "feature_labels": sample.feature_labels,
                "static_labels": sample.static_labels,
                "table": sample.table,
                "tokens": tokens,
                "variable_length": dataset.variable_length,
                "baseline": (baseline if tokens is None else typical_tokens(sample.x, tokens)).tolist(),
                "target": target,
                "attention_from": _sources(imported),
                "origin": origin,
                "lowering": Lowering(opset=opset_of(imported.graph), error=error),
                **evaluation,
            }
        )
    except ValidationError as invalid:
        raise TrainingError(in_plain_words(invalid.errors()[0], "card")) from invalid


def _sources(imported: Imported) -> list[AttentionSource]:
    """Return where the units of attention come from. The steps of a loop that was unrolled are one source."""
    sources, steps = imported.sources, imported.reading.target.steps
    if steps == len(sources) > 1 and not any(source.axes for source in sources):
        return [AttentionSource(tensor=sources[0].name, axes={STEP: steps})]
    return [AttentionSource(tensor=source.name, axes=source.axes) for source in sources]


def _publish(imported: Imported, card: ModelCard, sample: Sample, home: Path) -> Path:
    """Write a version, verify it as the service does, and publish it by one rename."""
    units = sum(len(source.units) for source in imported.sources)
    most = MOST_GOLDEN_BYTES // max(1, 4 * units * imported.feeding.timesteps)
    golden = sample.x[: max(2, min(GOLDEN_SEQUENCES, most))]
    recorded = (PREDICTION, ATTENTION_VEC) if imported.sources else (PREDICTION,)
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
