"""Edit rendered header lines: remove fields, and read lists that have several lines."""

from __future__ import annotations

from typing import Final

_VARY: Final = b"Vary: "


def add_vary(header_block: bytes, name: bytes) -> bytes:
    """The block with one more request field in the `Vary` that layers add."""
    if _VARY not in header_block:
        return b"%bVary: %b\r\n" % (header_block, name)
    return header_block.replace(_VARY, b"Vary: %b, " % name, 1)


def without_lines(header_block: bytes, starts: tuple[bytes, ...]) -> bytes:
    """The block without the lines that begin with one of these, in lower case: names with their colon, or prefixes."""
    lines = [line + b"\r\n" for line in header_block.split(b"\r\n") if line and not line.lower().startswith(starts)]
    return b"".join(lines)


def only_lines(header_block: bytes, starts: tuple[bytes, ...]) -> bytes:
    """The lines of the block that begin with one of these; see `without_lines`."""
    return b"".join([line + b"\r\n" for line in header_block.split(b"\r\n") if line.lower().startswith(starts)])


def values_of(header_block: bytes, start: bytes) -> list[bytes]:
    """The values of all lines of a field; `start` is its name with the colon, in lower case."""
    length = len(start)
    lines = header_block.split(b"\r\n")
    return [line[length:].strip(b" \t") for line in lines if line[:length].lower() == start]


def unique_members(values: list[bytes]) -> list[bytes]:
    """The members of a list without quoted strings, each once, whatever its case."""
    found: dict[bytes, bytes] = {}
    for member in b",".join(values).split(b","):
        stripped = member.strip(b" \t")
        if stripped:
            found.setdefault(stripped.lower(), stripped)
    return [*found.values()]
