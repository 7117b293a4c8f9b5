"""Line numbers of keys in TOML of every form."""

from __future__ import annotations

import pytest

from gateway.config.source_lines import KeyPath, format_key_path, line_index

TEXT = '''# a comment = 1
plain = 1
"quo.ted" = 'x' # "not a = key"
long = """
[not.a.table]
"\\""" and two quotes at the end"""""

raw = \'\'\'
# no comment\'\'\'
  [ table . "inner one" ]  # spaces everywhere
dotted.key.path = [1,
  "two, ]", # a comment with ]
  { three = 3, four = { five = [] } },
]
when = 2026-11-27 09:00:00+01:00
[[list]]
name = "a"
[list.sub]
x = 1
[[list.deeper]]
[[list.deeper]]
y = -1e3
[[list]]
name = "b"
[list.deeper]
z = 1
'''


@pytest.mark.parametrize(
    ("key_path", "line"),
    [
        (("plain",), 2),
        (("quo.ted",), 3),
        (("long",), 4),
        (("raw",), 8),
        (("table",), 10),
        (("table", "inner one"), 10),
        (("table", "inner one", "dotted", "key", "path"), 11),
        (("table", "inner one", "dotted", "key", "path", 0), 11),
        (("table", "inner one", "dotted", "key", "path", 1), 12),
        (("table", "inner one", "dotted", "key", "path", 2, "four", "five"), 13),
        (("table", "inner one", "when"), 15),
        (("list",), 16),
        (("list", 0), 16),
        (("list", 0, "sub", "x"), 19),
        (("list", 0, "deeper", 0), 20),
        (("list", 0, "deeper", 1, "y"), 22),
        (("list", 1, "name"), 24),
        (("list", 1, "deeper", "z"), 26),
    ],
)
def test_keys_and_elements_have_the_line_of_their_first_character(key_path: KeyPath, line: int) -> None:
    assert line_index(TEXT)[key_path] == line


def test_crlf_is_one_line_end() -> None:
    assert line_index("a = 1\r\n\r\n[b]\r\nc = 2\r\n") == {("a",): 1, ("b",): 3, ("b", "c"): 4}


def test_a_key_path_is_one_line_of_text() -> None:
    assert format_key_path(("limits", 0, "quota")) == "limits[0].quota"
    assert format_key_path(("breaker", "pay\nment")) == 'breaker."pay\\nment"'
