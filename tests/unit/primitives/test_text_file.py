import pytest

from primitives.text_file import decode, encoding_of

TEXT = 'name = "Smørrebrød"\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_reads_the_same_in_every_encoding_that_says_its_name(encoding: str) -> None:
    assert decode(TEXT.encode(encoding)) == TEXT


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xfe\xff", "utf-16-be"), (b"\x00\x00\xfe\xff", "utf-32-be")])
def test_big_endian_text_reads_the_same(mark: bytes, encoding: str) -> None:
    assert decode(mark + TEXT.encode(encoding)) == TEXT


def test_only_the_first_mark_is_one() -> None:
    assert decode("\ufeff\ufeffa".encode()) == "\ufeffa"


def test_text_in_another_encoding_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode("Smørrebrød".encode("cp1252"))


def test_a_file_without_a_mark_has_the_default_encoding() -> None:
    assert encoding_of(b"", "cp1252") == ("cp1252", 0)
    assert encoding_of(b"\xef\xbb", "utf-8") == ("utf-8", 0)
