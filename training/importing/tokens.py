"""The tokens that a model takes: integers that it looks up in a table of weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnx

from training import TrainingError
from training.importing.feeding import Feeding
from training.importing.sample import Sample

#: Operators between an input and the lookup that keep integers what they are.
KEEPING: Final = frozenset(
    {
        "Add",
        "Cast",
        "Clip",
        "Flatten",
        "Identity",
        "Less",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)


class Tokens(NamedTuple):
    """The integers of a sequence.

    Attributes:
        least: the smallest one.
        most: the largest one.
    """

    least: int
    most: int


def tokens_of(graph: onnx.ModelProto, feeding: Feeding, sample: Sample) -> Tokens | None:
    """Return the range of the tokens; None if the model takes other numbers.

    Raises:
        TrainingError: the model takes integers beside other numbers, whose range nothing would check.
    """
    sizes = _lookups(graph, [part.name for part in feeding.parts])
    values = sample.x[~np.isnan(sample.x)]
    whole = bool(np.all(values == np.round(values)))
    are_tokens = [np.dtype(part.dtype).kind in "iu" or (part.name in sizes and whole) for part in feeding.parts]
    if not any(are_tokens):
        return None
    if not all(are_tokens):
        name = feeding.parts[are_tokens.index(True)].name
        raise TrainingError(
            f"input {name} takes integers beside an input of other numbers, so that nothing would check their range: "
            "export the model with a column for each value (one-hot) instead"
        )
    if not whole:
        raise TrainingError(
            f"expected examples of integers, as the model's inputs take, got {values[values != np.round(values)][0]}"
        )
    if len(sizes) == len(feeding.parts):
        return Tokens(0, min(sizes.values()) - 1)
    return Tokens(int(values.min()), int(values.max()))


def read_vocabulary(path: Path, tokens: Tokens) -> dict[str, int]:
    """Return the tokens of words: of a JSON object, or of a text file with one word a line from token 0 on.

    Raises:
        TrainingError: the file cannot be read, or a token is outside the range.
    """
    try:
        text = path.read_text()
        words: Any = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise TrainingError(f"--vocabulary {path}: {error}") from error
    if isinstance(words, list):
        words = {word: token for token, word in enumerate(words)}
    wrong = [one for one in words.items() if not isinstance(one[1], int)] if isinstance(words, Mapping) else [("", "")]
    if wrong or not words:
        raise TrainingError(f"--vocabulary {path}: expected words with their tokens")
    word, token = max(words.items(), key=lambda one: one[1])
    if token > tokens.most or min(words.values()) < tokens.least:
        raise TrainingError(
            f"--vocabulary {path}: expected tokens from {tokens.least} to {tokens.most}, as the model takes, got {token} "
            f"of {word!r}"
        )
    return dict(words)


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
