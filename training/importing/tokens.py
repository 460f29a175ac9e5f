"""The tokens that a model takes: integers that it looks up in a table of weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnx

from service.artifact.card import TokenRange, Tokens
from service.artifact.tensors import Array
from training import TrainingError
from training.importing.feeding import Feeding, Part
from training.importing.interpretation import Interpretation
from training.importing.onnx_program import OnnxProgram
from training.importing.sample import Sample

#: Operators between an input and the lookup. Keras counts negative tokens from the end, which takes some of them.
KEEPING: Final = frozenset(
    "Add Cast Clip Flatten Identity Less Mul Not Reshape Slice Squeeze Transpose Unsqueeze Where".split()
)

#: The form of a vocabulary, for messages.
FORM: Final = 'words, as ["[PAD]", "[UNK]", "the"], or words with their tokens, as {"[UNK]": 1, "the": 2}'


class Range(NamedTuple):
    """The tokens of an input.

    Attributes:
        least: the smallest one.
        most: the largest one.
        is_of_table: whether the model takes no others. The range is that of the examples otherwise.
    """

    least: int
    most: int
    is_of_table: bool

    def including(self, token: int) -> "Range":
        """Return a range of examples with another token; a range of a table stays."""
        return self if self.is_of_table else Range(min(self.least, token), max(self.most, token), is_of_table=False)


def token_ranges(
    graph: onnx.ModelProto, program: OnnxProgram, interpretation: Interpretation, sample: Sample
) -> dict[str, Range]:
    """Return the range of tokens of each input of a model; none if it takes other numbers.

    It is that of the table of weights in which the model looks the input up, if the model runs on its ends and not
    beyond. Otherwise the model changes the tokens first, or has no table, and the range is that of the examples.

    Args:
        graph: the model's own graph.
        program: runs it.
        interpretation: which of its tensors are those of the contract; its feeding has the value for padding.
        sample: the examples.

    Raises:
        TrainingError: the model takes integers beside other numbers, whose range nothing would check, or the examples
            or the padding are no tokens.
    """
    feeding = interpretation.feeding
    sizes = _lookups(graph, [part.name for part in feeding.parts])
    values = sample.x[~np.isnan(sample.x)]
    fractions = values[values != np.round(values)]
    are_tokens = [
        np.dtype(part.dtype).kind in "iu" or (part.name in sizes and not fractions.size) for part in feeding.parts
    ]
    if not any(are_tokens):
        return {}
    if not all(are_tokens):
        name = feeding.parts[are_tokens.index(True)].name
        raise TrainingError(
            f"input {name} takes integers beside an input of other numbers, so that nothing would check their range: "
            "export the model with a column for each value (one-hot) instead"
        )
    if fractions.size:
        raise TrainingError(f"expected examples of integers, as the model's inputs take, got {fractions[0]}")
    pad = feeding.pad or 0.0
    if not pad.is_integer():
        raise TrainingError(f"--pad: expected a token, which is an integer, got {pad:g}")

    def runs(x: Array) -> bool:
        try:
            program.run(feeding.values(x), [interpretation.reading.output])
        except TrainingError:
            return False
        return True

    ranges = {part.name: _range(part, runs, sample, sizes.get(part.name)) for part in feeding.parts}
    for name, (least, most, is_of_table) in ranges.items():
        if is_of_table and not least <= pad <= most:
            raise TrainingError(
                f"--pad: expected a token from {least} to {most}, as input {name} of the model takes, got {pad:g}"
            )
    return ranges


def _range(part: Part, runs: Callable[[Array], bool], sample: Sample, size: int | None) -> Range:
    """Return the range of an input that is looked up in a table of so many rows, or in none.

    `runs` returns whether the model runs on sequences.
    """
    columns = slice(part.first, part.first + part.width)
    values = sample.x[:, :, columns]
    low, high = int(np.nanmin(values)), int(np.nanmax(values))
    if size is None:
        return Range(low, high, is_of_table=False)

    def takes(token: int) -> bool:
        x = sample.x[:1].copy()
        x[:, :, columns] = token
        return runs(x)

    if not takes(0) or not takes(size - 1) or takes(size):
        return Range(low, high, is_of_table=False)
    if low < 0 or high >= size:
        got = low if low < 0 else high
        raise TrainingError(f"expected examples of tokens from 0 to {size - 1}, as {part.name} takes, got {got}")
    return Range(0, size - 1, is_of_table=True)


def tokens_of(ranges: Mapping[str, Range], feeding: Feeding, sample: Sample, vocabulary: Path | None) -> Tokens | None:
    """Return the tokens that a model takes, from the ranges of its inputs; None if it takes other numbers.

    Raises:
        TrainingError: the vocabulary has other tokens, or the model takes none.
    """
    if not ranges:
        if vocabulary is not None:
            raise TrainingError(f"--vocabulary {vocabulary}: expected a model of tokens, got one of other numbers")
        return None
    pad = None if feeding.pad is None else int(feeding.pad)
    if pad is not None:
        ranges = {name: one.including(pad) for name, one in ranges.items()}
    least, most = min(one.least for one in ranges.values()), max(one.most for one in ranges.values())
    narrower = {
        sample.feature_labels[feature]: TokenRange(least=one.least, most=one.most)
        for part, one in zip(feeding.parts, ranges.values(), strict=True)
        for feature in range(part.first, part.first + part.width)
        if (one.least, one.most) != (least, most)
    }
    words = None if vocabulary is None else _vocabulary(vocabulary, least, most)
    return Tokens(least=least, most=most, ranges=narrower, pad=pad, vocabulary=words)


def typical_tokens(x: Array, tokens: Tokens) -> Array:
    """Return the sequence `(timesteps, features)` that replaces tokens to measure importance.

    It is the padding, or, without one, the commonest token of each feature.
    """
    if tokens.pad is not None:
        return np.full(x.shape[1:], tokens.pad, np.float32)
    commonest = [np.bincount(x[:, :, f].astype(np.int64).ravel() - tokens.least).argmax() for f in range(x.shape[2])]
    return np.tile(np.array(commonest, np.float32) + tokens.least, (x.shape[1], 1))


def _vocabulary(path: Path, least: int, most: int) -> dict[str, int]:
    """Return the tokens of words: of a JSON object, or of a text file with one word a line from token 0 on."""
    try:
        text = path.read_text("utf-8-sig")
        words: Any = json.loads(text) if path.suffix == ".json" else _lines(text)
    except OSError as error:
        raise TrainingError(f"--vocabulary {path}: {(error.strerror or 'it cannot be read').lower()}") from error
    except ValueError as error:
        raise TrainingError(f"--vocabulary {path}: {error}") from error
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        if len(set(words)) < len(words):
            twice = next(word for place, word in enumerate(words) if word in words[:place])
            raise TrainingError(f"--vocabulary {path}: expected each word once, got {twice!r} twice")
        words = {word: token for token, word in enumerate(words)}
    if not isinstance(words, Mapping) or not words or not all(map(_is_entry, words.items())):
        raise TrainingError(f"--vocabulary {path}: expected {FORM}")
    word, token = max(words.items(), key=lambda one: one[1])
    if token > most or min(words.values()) < least:
        raise TrainingError(
            f"--vocabulary {path}: expected tokens from {least} to {most}, as the model takes, got {token} of {word!r}"
        )
    return dict(words)


def _lines(text: str) -> list[str]:
    """Return the lines of a text. Other characters that end a line, such as U+2028, may be in a word."""
    return text.removesuffix("\n").split("\n") if text else []


def _is_entry(entry: tuple[Any, Any]) -> bool:
    word, token = entry
    return isinstance(word, str) and isinstance(token, int) and not isinstance(token, bool)


def _lookups(graph: onnx.ModelProto, inputs: list[str]) -> dict[str, int]:
    """Return the smallest number of rows of the tables in which the values of an input are looked up, by input."""
    tables = {one.name: one.dims[0] for one in graph.graph.initializer if one.dims}
    sizes: dict[str, int] = {}
    for name in inputs:
        reached = {name}
        for node in graph.graph.node:
            if node.op_type == "Gather" and node.input[1] in reached and node.input[0] in tables:
                sizes[name] = min(sizes.get(name, tables[node.input[0]]), tables[node.input[0]])
            elif node.op_type in KEEPING and reached.intersection(node.input):
                reached.update(node.output)
    return sizes
