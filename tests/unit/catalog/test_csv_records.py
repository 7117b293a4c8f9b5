"""A quote that never closes costs its own record, and a field over several lines is still read."""

from collections.abc import Iterator

import pytest

from cart.catalog.csv_records import (
    SPAN_MAX_CHARS,
    SPAN_MAX_LINES,
    TOO_LONG,
    UNCLOSED,
    BadRecord,
    CsvReader,
    Record,
    fields_of,
)


def read(text: str, width: int = 3) -> list[Record | BadRecord]:
    """The records of a file of numbers: sound are those that end with one."""
    return list(CsvReader(iter(text.split("\n"))).records(",", width, lambda fields: fields[-1].isdecimal()))


def test_a_record_may_span_lines() -> None:
    assert read('a,"one\ntwo\n\nfour",1\nb,c,2') == [
        Record(1, ["a", "one\ntwo\n\nfour", "1"]),
        Record(5, ["b", "c", "2"]),
    ]
    assert read('"a\nb","c ""d"",\ne",3\nf,g,4') == [Record(1, ["a\nb", 'c "d",\ne', "3"]), Record(4, ["f", "g", "4"])]


def test_an_unclosed_quote_costs_its_own_record() -> None:
    assert read('a,"open,1\nb,c,2\nd,"e ""f""",3\ng,"open,4\nh,i,5') == [
        BadRecord(1, UNCLOSED),
        Record(2, ["b", "c", "2"]),
        Record(3, ["d", 'e "f"', "3"]),
        BadRecord(4, UNCLOSED),
        Record(5, ["h", "i", "5"]),
    ]


def test_a_quote_that_another_broken_record_closes_swallows_nothing() -> None:
    """By the letter of RFC 4180 this is one record of three fields; but the lines in it are records themselves."""
    assert read('a,"open,1\nb,c,2\nd,closed",3') == [
        BadRecord(1, UNCLOSED),
        Record(2, ["b", "c", "2"]),
        Record(3, ["d", 'closed"', "3"]),
    ]


def test_a_field_that_holds_a_sound_record_is_a_quote_that_was_forgotten() -> None:
    assert read('a,"open,1\nb,c,2\nd",3') == [
        BadRecord(1, UNCLOSED),
        Record(2, ["b", "c", "2"]),
        BadRecord(3, "has 2 fields, the header has 3"),
    ]


def test_two_broken_records_beside_each_other_are_no_record() -> None:
    assert read('a,"open,1\nd,closed",3') == [BadRecord(1, UNCLOSED), Record(2, ["d", 'closed"', "3"])]


def test_the_end_of_a_long_name_may_look_like_a_record() -> None:
    assert read('a,"red,\nlarge, blue",1') == [Record(1, ["a", "red,\nlarge, blue", "1"])]


def test_a_quote_that_closes_with_another_number_of_fields_swallows_nothing() -> None:
    assert read('a,"open,1\nb,x\nd,e",f,3') == [
        BadRecord(1, UNCLOSED),
        BadRecord(2, "has 2 fields, the header has 3"),
        BadRecord(3, "has 4 fields, the header has 3"),
    ]


def test_what_follows_a_closing_quote_is_named() -> None:
    assert read('a,"b" c,1\nd,e,2') == [
        BadRecord(1, "',' expected after the closing quote, not 'c'"),
        Record(2, ["d", "e", "2"]),
    ]


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('12" plate,a,1', ['12" plate', "a", "1"]),
        ('a, "b, c" ,1', ["a", "b, c", "1"]),
        ('"",,""', ["", "", ""]),
        ('"""","a""b",""""""', ['"', 'a"b', '""']),
        ("a,b,", ["a", "b", ""]),
        ('a,"b",', ["a", "b", ""]),
        ("a\x00b,c,1", ["a\x00b", "c", "1"]),
    ],
)
def test_quotes_are_read_as_rfc_4180_has_them(line: str, fields: list[str]) -> None:
    assert read(line) == [Record(1, fields)]
    assert fields_of(line, ",") == fields


def test_blank_lines_are_passed_over() -> None:
    assert read("\n  \na,b,1\n,,\n , \t,\n\nc,d,2\n") == [Record(3, ["a", "b", "1"]), Record(7, ["c", "d", "2"])]


def test_another_number_of_fields_is_named() -> None:
    assert read("a,1\nb,c,2\nd,e,f,3") == [
        BadRecord(1, "has 2 fields, the header has 3"),
        Record(2, ["b", "c", "2"]),
        BadRecord(3, "has 4 fields, the header has 3"),
    ]


def test_a_line_that_is_too_long_ends_what_spans_it() -> None:
    lines = iter(['a,"open', None, 'b",1', "c,d,2"])
    assert list(CsvReader(lines).records(",", 3, lambda _: False)) == [
        BadRecord(1, UNCLOSED),
        BadRecord(2, TOO_LONG),
        BadRecord(3, "has 2 fields, the header has 3"),
        Record(4, ["c", "d", "2"]),
    ]


@pytest.mark.parametrize("line", ["a,b,1", "x" * 4096 + ",b,1"])
def test_a_quote_at_the_beginning_of_an_endless_file_reads_a_bounded_part_ahead(line: str) -> None:
    drawn = 0

    def endless() -> Iterator[str]:
        nonlocal drawn
        yield 'a,"open,1'
        while True:
            drawn += 1
            yield line

    records = CsvReader(endless()).records(",", 3, lambda _: True)
    assert next(records) == BadRecord(1, UNCLOSED)
    assert drawn <= SPAN_MAX_LINES
    assert drawn * len(line) <= SPAN_MAX_CHARS + len(line)
    assert next(records) == Record(2, line.split(","))
