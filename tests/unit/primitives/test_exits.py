from __future__ import annotations

import signal

import pytest

from primitives.exits import exit_text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with status 0"),
        (70, "ended with status 70"),
        (-signal.SIGKILL, "was killed by SIGKILL"),
        (-250, "was killed by signal 250"),
    ],
)
def test_the_end_of_a_process_is_said_in_words(code: int, text: str) -> None:
    assert exit_text(code) == text
