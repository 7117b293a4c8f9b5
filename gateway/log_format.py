"""Log lines on standard error, as text or as JSON: one format for every process and every library.

Whatever text of clients a message quotes, it stays on its line, and card numbers are masked. docs/logs.md has the fields.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Any, Final

import orjson

from checkout.cards.masking import mask
from gateway.config.options import LogFormat, LogLevel
from gateway.http.log_text import escaped
from primitives.tracing.spans import current_span

# The loggers of these packages have the chosen level. At lower levels than warnings, libraries log what they send.
OWN_LOGGERS: Final = ("peakgate", "gateway", "cart", "checkout", "store", "primitives")
COMMAND_LOGGER: Final = "peakgate.command"
# Pipes keep lines of different processes apart up to this length (PIPE_BUF).
MAX_LINE_BYTES: Final = 4096
_MAX_MESSAGE: Final = 2000
_INDENT: Final = "    "
_log = logging.getLogger("peakgate")


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Log in this format from this level on. Exceptions that nobody handles and warnings become log lines too."""
    # A line that cannot be written is lost; it must not fail its caller.
    logging.raiseExceptions = False
    root, number = logging.getLogger(), getattr(logging, level.upper())
    for handler in [each for each in root.handlers if isinstance(each, _StandardError)]:
        root.removeHandler(handler)
    root.addHandler(_StandardError(JsonLines() if log_format == "json" else TextLines()))
    root.setLevel(max(number, logging.WARNING))
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(number)
    # Answers to whoever starts the command, such as that it is ready: they do not depend on the level.
    logging.getLogger(COMMAND_LOGGER).setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda failed: _log.critical(
        "a thread died", exc_info=(failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)
    )
    sys.unraisablehook = lambda failed: _log.error(
        "%s",
        failed.err_msg or "an exception could not be raised",
        exc_info=failed.exc_value or RuntimeError("unknown"),
    )


def is_json() -> bool:
    """Whether log lines are JSON now."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


class _StandardError(logging.Handler):
    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - such as a closed pipe: see `configure`
            self.handleError(record)


class TextLines(logging.Formatter):
    """`2026-11-27T12:00:00.000Z WARNING peakgate[4711]: message`; the lines of a traceback follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line feed."""
        head = f"{_time_of(record)} {record.levelname} peakgate[{record.process}]: {_message_of(record)}"
        open_span = current_span()
        if open_span is not None:
            head += f" trace_id={_clean(open_span.trace_id)} span_id={open_span.span_id}"
        traceback = _traceback_of(record)
        if not traceback:
            return head
        lines = [_INDENT + line for line in traceback]
        # The last lines name the error.
        while len(lines) > 1 and _size("\n".join((head, *lines))) > MAX_LINE_BYTES:
            del lines[0]
        return "\n".join((head, *lines))


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `message`, `process`, and where there are any, `traceback` and facts."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line feed."""
        line: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "message": _message_of(record),
            "process": record.process,
        }
        open_span = current_span()
        if open_span is not None:
            line |= {"trace_id": _clean(open_span.trace_id), "span_id": open_span.span_id}
        facts = getattr(record, "facts", None)
        if isinstance(facts, dict):
            line |= {name: _clean(value) if isinstance(value, str) else value for name, value in facts.items()}
        traceback = _traceback_of(record)
        if traceback:
            line["traceback"] = "\n".join(traceback)
        text = _encoded(line)
        while len(traceback) > 1 and _size(text) > MAX_LINE_BYTES:
            del traceback[0]
            line["traceback"] = "\n".join(traceback)
            text = _encoded(line)
        return text


def _encoded(line: dict[str, Any]) -> str:
    return orjson.dumps(line, default=repr).decode()


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace")) + 1


def _time_of(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.created % 1 * 1000):03d}Z"


def _message_of(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001 - a wrong format, or an argument that cannot be printed
        text = f"{record.msg} (its arguments cannot be formatted: {type(error).__name__})"
    text = _clean(text)
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"


def _traceback_of(record: logging.LogRecord) -> list[str]:
    """The lines of the traceback, none without an exception."""
    parts = []
    try:
        if record.exc_info and record.exc_info[0] is not None:
            parts.append(_PLAIN.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
    except Exception as error:  # noqa: BLE001 - an exception that cannot be printed
        parts.append(f"the traceback cannot be printed: {type(error).__name__}")
    # Masked as a whole: a card number may go on in the next line.
    return [escaped(line)[:_MAX_MESSAGE] for line in mask("\n".join(parts)).split("\n") if line.strip()]


def _clean(text: str) -> str:
    return escaped(mask(text))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _log.critical("this process ends because of an error that nothing handles", exc_info=(kind, error, trace))


_PLAIN: Final = logging.Formatter()
