"""Sequences in rows or in columns, as clients of TensorFlow Serving, KServe and MLflow post them."""

from collections.abc import Mapping
from itertools import starmap
from typing import Any, Final

from pydantic import BaseModel, Field

from service.api.codecs.array_writer import dumps, dumps_rows
from service.api.codecs.padding import Lengths, PaddedSequences
from service.api.codecs.predictions import row_template
from service.api.codecs.sequences import SequenceFields, decode_sequences
from service.artifact.card import ModelCard
from service.artifact.tensors import OVER_TIME, SEQUENCE, SIGNATURES, Array
from service.errors import InvalidInput
from service.problems import kind_of

DEFAULT_SIGNATURE: Final = "serving_default"


class Instances(SequenceFields):
    """Sequences in rows (`instances`) or in columns (`inputs`), not both."""

    instances: Any = Field(
        None,
        description="One entry a sequence: the sequence, as `POST /predict` takes it, its features by name or not, or "
        '`{"sequence": …}`.',
        examples=[[[[0.1, -0.2]] * 20]],
    )
    inputs: Any = Field(
        None,
        description='All sequences, or `{"sequence": […]}`.',
        examples=[{SEQUENCE: [[[0.1, -0.2]] * 20]}],
    )

    def decode(self, card: ModelCard, limit: int) -> PaddedSequences:
        """Return the sequences, as `SequenceFields.decode` says; the body has one of the two forms."""
        instances, inputs = self.instances, self.inputs
        if instances is None and inputs is None:
            raise InvalidInput("Missing 'inputs' or 'instances' key")
        if instances is not None and inputs is not None:
            raise InvalidInput("expecting only one of 'inputs' or 'instances' keys to exist, got both")
        if isinstance(inputs, dict):
            return decode_sequences(_input_of(inputs, "inputs"), card, limit, f"inputs.{SEQUENCE}[{{}}]")
        if inputs is not None:
            return decode_sequences(inputs, card, limit, "inputs[{}]")
        if isinstance(instances, list) and instances and isinstance(instances[0], dict):
            instances = [_input_of(instance, f"instances[{index}]") for index, instance in enumerate(instances)]
            return decode_sequences(instances, card, limit, f"instances[{{}}].{SEQUENCE}")
        return decode_sequences(instances, card, limit, "instances[{}]")

    def encode(self, lengths: Lengths, outputs: Mapping[str, Array]) -> bytes:
        """Return outputs `(n, …)` as JSON, in rows or in columns as the sequences; a single output without its name.

        Raises:
            InvalidInput: the answer to a sequence is not finite, as its values are too large.
        """
        columns = [(output, lengths if name in OVER_TIME else None) for name, output in outputs.items()]
        if len(columns) == 1:
            return dumps(*columns[0])
        template = row_template(*outputs)
        if self.inputs is not None:
            return template % tuple(starmap(dumps, columns))
        rows = zip(*starmap(dumps_rows, columns), strict=True)
        return b"[%b]" % b",".join(template % values for values in rows)


def _input_of(named: object, where: str) -> object:
    if not isinstance(named, dict) or named.keys() != {SEQUENCE}:
        got = f"the keys {', '.join(map(repr, named))[:80]}" if isinstance(named, dict) else kind_of(named)
        raise InvalidInput(f"{where}: expected an object with the key {SEQUENCE!r} and no other, got {got}")
    return named[SEQUENCE]


class SignatureChoice(BaseModel):
    """The signature to answer."""

    signature_name: str = Field(
        DEFAULT_SIGNATURE,
        description="`serving_default` answers the prediction; `attention` answers the attention, too.",
        examples=["attention"],
    )

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of the signature.

        Raises:
            InvalidInput: there is no such signature.
        """
        signature = self.signature_name or DEFAULT_SIGNATURE
        if signature not in SIGNATURES:
            raise InvalidInput(f'Serving signature name: "{signature[:80]}" not found in signature def')
        return SIGNATURES[signature]
