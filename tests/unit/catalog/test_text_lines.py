import io

import pytest

from cart.catalog import text_lines as module
from cart.catalog.text_lines import LINE_MAX_CHARS, NO_TEXT, text_lines


def lines(content: bytes, encoding: str = "utf-8") -> list[str | None]:
    return list(text_lines(io.BytesIO(content), encoding))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 18])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\n\r\nb", ["a", "", "b"]),
        (b"a\rb\rc", ["a", "b", "c"]),
        (b"a\r\rb\r\nc\nd\r", ["a", "", "b", "c\nd"]),
        (b"a\nb\rc\nd", ["a", "b\rc", "d"]),
        (b"a\r", ["a"]),
        (b"a\r\r\nb", ["a", "", "b"]),
        (b"a\x00b\n\x85\xc2\x85\n", ["a\x00b", f"{NO_TEXT}\x85"]),
        ("é\u2028é\n".encode(), ["é\u2028é"]),
        ("\ufeffé\nb".encode(), ["é", "b"]),
        ("\ufeffé\r\nb".encode("utf-16-le"), ["é", "b"]),
        ("\ufeffé\r\nb".encode("utf-16-be"), ["é", "b"]),
    ],
)
def test_lines_are_the_same_however_the_file_is_read(
    content: bytes, expected: list[str], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(io.BytesIO):
        """Gives the mark, and what is longer, in pieces."""

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(max(4, chunk) if self.tell() == 0 else chunk)

    assert list(text_lines(Slow(content))) == expected


def test_bytes_that_are_no_text_are_marked_and_the_next_line_is_sound() -> None:
    assert lines(b"a\xff\xfeb\nc\xc3\n\xe9") == [f"a{NO_TEXT}{NO_TEXT}b", f"c{NO_TEXT}", NO_TEXT]
    assert lines(b"\xff\xfea\x00\x00\xd8b\x00\n\x00c\x00x") == [f"a{NO_TEXT}b", f"c{NO_TEXT}"]
    assert lines(b"\xe9\x81", "cp1252") == [f"é{NO_TEXT}"]


def test_a_line_that_is_too_long_is_skipped_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 1 << 16)
    long = b"x" * (3 * LINE_MAX_CHARS)
    assert lines(b"a\n" + long + b"\nb\n") == ["a", None, "b"]
    assert lines(long) == [None]
    assert lines(b"a\n" + b"x" * (LINE_MAX_CHARS + 1) + b"\n" + b"x" * LINE_MAX_CHARS) == [
        "a",
        None,
        "x" * LINE_MAX_CHARS,
    ]
