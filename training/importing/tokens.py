"""The tokens that a model takes: integers that it looks up in a table of weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from service.artifact.card import Tokens
from service.artifact.tensors import Array
from training import TrainingError
from training.importing.feeding import Feeding
from training.importing.sample import Sample
from training.options import Import

#: Operators between an input and the lookup. Keras counts negative tokens from the end, which takes some of them.
KEEPING: Final = frozenset(
    "Add Cast Clip Flatten Identity Less Mul Not Reshape Slice Squeeze Transpose Unsqueeze Where".split()
)


def tokens_of(graph: onnx.ModelProto, feeding: Feeding, sample: Sample, options: Import) -> Tokens | None:
    """Return the tokens that a model takes; None if it takes other numbers.

    Their range is that of the tables of weights, or, without one, that of the examples.

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
    least, most = 0, min(sizes.values(), default=0) - 1
    if len(sizes) < len(feeding.parts):
        least, most = int(values.min()), int(values.max())
    pad = None if feeding.pad is None else int(feeding.pad)
    if pad is not None and not least <= pad <= most:
        raise TrainingError(f"--pad: expected a token from {least} to {most}, as the model takes, got {feeding.pad:g}")
    if values.min() < least or values.max() > most:
        got = values[(values < least) | (values > most)][0]
        raise TrainingError(f"expected examples of tokens from {least} to {most}, as the model takes, got {got:g}")
    vocabulary = None if options.vocabulary is None else _vocabulary(options.vocabulary, least, most)
    return Tokens(least=least, most=most, pad=pad, vocabulary=vocabulary)


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
        text = path.read_text()
        words: Any = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise TrainingError(f"--vocabulary {path}: {error}") from error
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        if len(set(words)) < len(words):
            twice = next(word for place, word in enumerate(words) if word in words[:place])
            raise TrainingError(f"--vocabulary {path}: expected each word once, got {twice!r} twice")
        words = {word: token for token, word in enumerate(words)}
    if not isinstance(words, Mapping) or not words or not all(map(_is_entry, words.items())):
        raise TrainingError(f"--vocabulary {path}: expected words with their tokens")
    word, token = max(words.items(), key=lambda one: one[1])
    if token > most or min(words.values()) < least:
        raise TrainingError(
            f"--vocabulary {path}: expected tokens from {least} to {most}, as the model takes, got {token} of {word!r}"
        )
    return dict(words)


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
