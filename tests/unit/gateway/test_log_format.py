from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.config.options import LogFormat
from gateway.log_format import MAX_LINE_BYTES, JsonLines, TextLines, configure, is_json
from primitives.tracing.spans import SERVER, enter
from primitives.tracing.tracer import Tracer

CARD = "4111111111111111"
HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) peakgate\[\d+\]: ")


def record(message: str, *arguments: object, error: BaseException | None = None, **more: Any) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("peakgate", logging.WARNING, "file.py", 1, message, arguments, exc_info)
    made.__dict__.update(more)
    return made


def raised(message: str) -> Exception:
    with pytest.raises(ValueError, match=r".*") as failed:
        fail(message)
    return failed.value


def fail(message: str) -> None:
    raise ValueError(message)


def descend(left: int) -> None:
    """Alternates with another, because a traceback shows a frame that repeats itself only three times."""
    if not left:
        fail("é" * 300 + "the end")
    descend_further(left)


def descend_further(left: int) -> None:
    descend(left - 1)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_text_line_has_time_level_process_and_message() -> None:
    line = TextLines().format(record("upstream %s is away", "shop"))
    assert HEAD.match(line)
    assert line.endswith("upstream shop is away")
    assert " WARNING " in line


def test_lines_within_a_recorded_trace_name_it_and_the_span() -> None:
    tracer = Tracer(share=1.0, slow_s=1.0)
    root = tracer.begin("root", SERVER, parent=None)
    enter(root)
    try:
        text, line = TextLines().format(record("x")), json.loads(JsonLines().format(record("x")))
        tracer.end(root)
        after = TextLines().format(record("x"))
    finally:
        enter(None)
    assert text.endswith(f"x trace_id={root.trace_id} span_id={root.span_id}")
    assert (line["trace_id"], line["span_id"]) == (root.trace_id, root.span_id)
    assert after.endswith(": x")


def test_a_card_number_in_the_trace_id_of_a_client_is_masked() -> None:
    tracer = Tracer(share=1.0, slow_s=1.0)
    enter(tracer.begin("root", SERVER, parent=None, trace_id=f"{'ab' * 8}{CARD}"))
    try:
        lines = (TextLines().format(record("x")), JsonLines().format(record("x")))
    finally:
        enter(None)
    assert not any(CARD in line for line in lines)


def test_a_json_line_has_the_same() -> None:
    line = json.loads(JsonLines().format(record("upstream %s is away", "shop")))
    assert set(line) == {"time", "level", "message", "process"}
    assert (line["level"], line["message"]) == ("warning", "upstream shop is away")


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
@pytest.mark.parametrize(
    "text",
    ["a\n2026-11-27T12:00:00.000Z ERROR peakgate[1]: forged", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\x85b", "\udcf8"],
)
def test_no_text_of_a_client_begins_a_line(formatter: logging.Formatter, text: str) -> None:
    line = formatter.format(record("path %s", text))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert line.encode()


@pytest.mark.parametrize("text", ["x\n2026-11-27T12:00:00.000Z ERROR peakgate[1]: forged", "x\r2026 ERROR", "\u2028x"])
def test_a_traceback_is_indented_or_in_its_field(text: str) -> None:
    head, *lines = TextLines().format(record("it failed", error=raised(text))).splitlines()
    assert HEAD.match(head)
    assert lines
    assert all(line.startswith("    ") for line in lines)
    line = JsonLines().format(record("it failed", error=raised(text)))
    assert len(line.splitlines()) == 1
    assert "ValueError" in json.loads(line)["traceback"]


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
@pytest.mark.parametrize("card", [CARD, "4111 1111 1111 1111", "4111%201111%2D1111-1111", "%34" + CARD[1:]])
def test_card_numbers_are_masked_in_messages_tracebacks_and_facts(formatter: logging.Formatter, card: str) -> None:
    written = record("%s /pay/%s?q=%s", "GET", card, card, error=raised(f"bad path /pay/{card}"), facts={"what": card})
    line = formatter.format(written)
    assert card not in line
    assert "[card number]" in line


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_a_long_traceback_keeps_its_end_and_fits_into_one_write(formatter: logging.Formatter) -> None:
    with pytest.raises(ValueError, match="the end") as failed:
        descend(200)
    line = formatter.format(record("it failed", error=failed.value))
    assert "the end" in line
    assert len(line.encode()) < MAX_LINE_BYTES


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_a_record_that_cannot_be_formatted_is_a_line_all_the_same(formatter: logging.Formatter) -> None:
    assert "%d of %s" in formatter.format(record("%d of %s", "x"))
    assert "it failed" in formatter.format(record("it failed", error=Unprintable()))
    assert "quoting" in formatter.format(record("quoting %s", Unprintable()))


@pytest.fixture
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    root.handlers[:] = before
    logging.captureWarnings(False)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_every_logger_uses_the_format(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configure("text", "error")
    configure(log_format, "info")
    assert is_json() is (log_format == "json")
    logging.getLogger("peakgate").info("ours")
    logging.getLogger("checkout.worker").info("ours too")
    logging.getLogger("checkout.worker").debug("too detailed")
    logging.getLogger("asyncio").info("of a library")
    logging.getLogger("asyncio").error("an error of a library")
    sys.excepthook(ValueError, raised("not handled"), None)
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("    ")]
    messages = [json.loads(line)["message"] if log_format == "json" else HEAD.sub("", line) for line in lines]
    assert messages == [
        "ours",
        "ours too",
        "an error of a library",
        "this process ends because of an error that nothing handles",
    ]
