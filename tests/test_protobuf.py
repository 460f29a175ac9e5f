"""The reader of protocol buffers agrees with the protobuf package, and refuses other bytes."""

import struct
from contextlib import suppress

import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from google.protobuf.wrappers_pb2 import FloatValue
from hypothesis import given
from hypothesis import strategies as st

from service.artifact.protobuf import fields, messages, strings


@given(st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.floats(min_value=1, width=32))
def test_every_kind_of_field_is_read(text: str, number: int, double: float, single: float) -> None:
    """Integers are read as their two's complement, and fixed numbers as bytes."""
    option = UninterpretedOption(identifier_value=text, negative_int_value=number, double_value=double)
    content = memoryview(FloatValue(value=single).SerializeToString() + option.SerializeToString())
    assert dict(fields(content)) == {
        1: struct.pack("<f", single),
        3: text.encode(),
        5: number % 2**64,
        6: struct.pack("<d", double),
    }
    assert list(strings(content, 3)) == [text]


def test_a_field_of_another_kind_is_refused() -> None:
    """A number is not a message."""
    content = UninterpretedOption(negative_int_value=3).SerializeToString()
    with pytest.raises(ValueError, match="field 5 is a number"):
        list(messages(content, 5))


@given(st.binary(max_size=60))
def test_other_bytes_raise_value_errors_only(content: bytes) -> None:
    """Fields that are read do not exceed the content."""
    with suppress(ValueError):
        for _, value in fields(memoryview(content)):
            assert isinstance(value, int) or len(value) <= len(content)
