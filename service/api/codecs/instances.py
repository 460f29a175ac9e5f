"""Sequences in rows or in columns, as clients of TensorFlow Serving, KServe and MLflow post them."""

from collections.abc import Mapping
from itertools import starmap
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from service.api.codecs.array_writer import dumps, dumps_rows
from service.api.codecs.padding import Lengths, PaddedSequences
from service.api.codecs.predictions import row_template
from service.api.codecs.sequences import decode_sequences, kind_of
from service.artifact.card import ModelCard
from service.artifact.tensors import OVER_TIME, SEQUENCE, SIGNATURES, Array
from service.errors import InvalidInput

DEFAULT_SIGNATURE: Final = "serving_default"

SignatureName = Annotated[
    str,
    Field(
        description="`serving_default` answers the prediction; `attention` answers the attention, too.",
        examples=["attention"],
    ),
]


class Instances(BaseModel):
    """Sequences in rows (`instances`) or in columns (`inputs`), not both."""

    instances: Any = Field(
        None,
        description='One entry a sequence: the sequence, as `POST /predict` takes it, or `{"sequence": …}`.',
        examples=[[[[0.1, -0.2]] * 20]],
    )
    inputs: Any = Field(
        None,
        description='All sequences, or `{"sequence": […]}`.',
        examples=[{SEQUENCE: [[[0.1, -0.2]] * 20]}],
    )


def sequences_of(body: Instances, card: ModelCard, limit: int) -> PaddedSequences:
    """Return the sequences of a body in either form.

    Args:
        body: the body.
        card: the card of the model.
        limit: most sequences.

    Raises:
        TooLarge: more than `limit` sequences.
        InvalidInput: the body has both forms or neither, or an element is wrong. The message names the first.
    """
    if body.instances is None and body.inputs is None:
        raise InvalidInput("Missing 'inputs' or 'instances' key")
    if body.instances is not None and body.inputs is not None:
        raise InvalidInput("expecting only one of 'inputs' or 'instances' keys to exist, got both")
    if isinstance(body.inputs, dict):
        return decode_sequences(_input_of(body.inputs, "inputs"), card, limit, f"inputs.{SEQUENCE}[{{}}]")
    if body.inputs is not None:
        return decode_sequences(body.inputs, card, limit, "inputs[{}]")
    instances = body.instances
    if isinstance(instances, list) and instances and isinstance(instances[0], dict):
        instances = [_input_of(instance, f"instances[{index}]") for index, instance in enumerate(instances)]
        return decode_sequences(instances, card, limit, f"instances[{{}}].{SEQUENCE}")
    return decode_sequences(instances, card, limit, "instances[{}]")


def _input_of(named: object, where: str) -> object:
    if not isinstance(named, dict) or named.keys() != {SEQUENCE}:
        got = f"the keys {', '.join(map(repr, named))[:80]}" if isinstance(named, dict) else kind_of(named)
        raise InvalidInput(f"{where}: expected an object with the key {SEQUENCE!r} and no other, got {got}")
    return named[SEQUENCE]


def outputs_of(signature: str) -> tuple[str, ...]:
    """Return the outputs of a signature.

    Raises:
        InvalidInput: there is no such signature.
    """
    signature = signature or DEFAULT_SIGNATURE
    if signature not in SIGNATURES:
        raise InvalidInput(f'Serving signature name: "{signature[:80]}" not found in signature def')
    return SIGNATURES[signature]


def encode_outputs(body: Instances, lengths: Lengths, outputs: Mapping[str, Array]) -> bytes:
    """Return outputs as JSON, in rows or in columns as the sequences were posted; a single output without its name.

    Args:
        body: the body.
        lengths: how many timesteps each sequence was posted with.
        outputs: `(n, …)` each.

    Raises:
        InvalidInput: the answer to a sequence is not finite, as its values are too large.
    """
    columns = [(output, lengths if name in OVER_TIME else None) for name, output in outputs.items()]
    if len(columns) == 1:
        return dumps(*columns[0])
    template = row_template(*outputs)
    if body.instances is None:
        return template % tuple(starmap(dumps, columns))
    rows = zip(*starmap(dumps_rows, columns), strict=True)
    return b"[%b]" % b",".join(template % values for values in rows)
