from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.resp import encode_command

ARGS = st.text(max_size=40) | st.binary(max_size=40) | st.integers() | st.floats(allow_nan=False)


@given(st.lists(ARGS, min_size=1, max_size=20).map(tuple))
def test_commands_are_encoded_as_hiredis_encodes_them(command: tuple[Any, ...]) -> None:
    assert encode_command(command) == hiredis.pack_command(command)


@pytest.mark.parametrize("length", [0, 1, 1023, 1024, 1025, 70_000])
def test_arguments_have_any_length(length: int) -> None:
    command: Any = ("SET", "key", b"x" * length)
    assert encode_command(command) == hiredis.pack_command(command)


@pytest.mark.parametrize("arg", [None, [], object()])
def test_an_argument_of_another_type_is_an_error(arg: Any) -> None:
    with pytest.raises(TypeError):
        encode_command(("SET", arg))
