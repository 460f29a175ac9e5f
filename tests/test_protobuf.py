"""Protocol buffers are read as the protobuf package writes them, and nothing else passes for one."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import attr_value_pb2

from service.artifact.protobuf import fields, messages, strings


@given(st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, width=32), st.booleans())
def test_every_kind_of_field_is_read(text: str, number: int, fraction: float, flag: bool) -> None:  # noqa: FBT001
    """Strings, numbers in their two's complement, fixed ones as bytes."""
    message = attr_value_pb2.AttrValue.ListValue(s=[text.encode()], i=[number], f=[fraction], b=[flag])
    content = memoryview(message.SerializeToString())
    assert list(strings(content, 2)) == [text]
    packed = {number: value for number, value in fields(content) if number != 2}
    assert set(packed) == {3, 4, 5}
    again = attr_value_pb2.AttrValue.ListValue.FromString(bytes(content))
    assert (list(again.i), list(again.b)) == ([number], [flag])


def test_a_field_of_another_kind_is_refused() -> None:
    """A number where a message is expected."""
    content = attr_value_pb2.AttrValue(i=3).SerializeToString()
    with pytest.raises(ValueError, match="field 3 is a number"):
        list(messages(content, 3))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_raise_nothing_but_value_errors(content: bytes) -> None:
    """Whatever they are."""
    with suppress(ValueError):
        for _, value in fields(memoryview(content)):
            assert isinstance(value, int) or len(value) <= len(content)
