from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from gateway.http.contained import FAILURES
from gateway.pipeline.log_writer import ATOMIC_BYTES, LogWriter


@pytest.fixture(autouse=True)
def _forget_failures() -> None:
    FAILURES.counts.clear()
    FAILURES.logged_kinds.clear()


async def test_lines_are_written_to_a_file_in_their_order(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path / "log"))
    for number in range(1000):
        writer.write(b"%d\n" % number)
    await writer.close()
    assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % number for number in range(1000))


async def test_a_pipe_gets_whole_lines_in_pieces_that_it_takes_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writers = [LogWriter(str(tmp_path / "pipe")) for _ in range(3)]
    lines = [[bytes([65 + number]) * 97 + b"\n"] * 500 for number in range(3)]
    for writer, own in zip(writers, lines, strict=True):
        for line in own:
            writer.write(line)
    received = bytearray()

    async def read() -> None:
        while len(received) < 3 * 500 * 98:
            try:
                received.extend(os.read(reading, 65536))
            except BlockingIOError:
                await asyncio.sleep(0)

    await asyncio.gather(read(), *(writer.close() for writer in writers))
    os.close(reading)
    assert sorted(received.splitlines(keepends=True)) == sorted(line for own in lines for line in own)
    assert ATOMIC_BYTES == 4096


async def test_a_log_that_cannot_be_written_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        writer = LogWriter("/dev/full")
        writer.write(b"line\n")
        await writer.close()
        assert (writer.written, writer.dropped) == (0, 1)
    assert FAILURES.counts["writing the access log"] == 3
    assert len(caplog.records) == 1
