"""Commands over a worker's socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control.commands import CommandFailed, serve_commands
from gateway.control.runtime_directory import RuntimeDirectory, runtime_directory
from store import Reason, StoreUnavailable


async def add(arguments: dict[str, Any]) -> Any:
    return arguments["a"] + arguments["b"]


async def refuse(_facts: dict[str, Any]) -> Any:
    raise CommandFailed("not today")


async def unspeakable(_facts: dict[str, Any]) -> Any:
    return object()


async def ask_the_store(_facts: dict[str, Any]) -> Any:
    raise StoreUnavailable("the store is away", reason=Reason.UNREACHABLE)


COMMANDS = {"add": add, "refuse": refuse, "unspeakable": unspeakable, "ask_the_store": ask_the_store}


@pytest.fixture
async def path() -> AsyncIterator[Path]:
    with runtime_directory() as runtime:
        async with serve_commands(runtime.socket_of("0a"), COMMANDS):
            yield runtime.socket_of("0a")


async def say(path: Path, *lines: bytes) -> list[Any]:
    """Replies to lines that are all sent at once on one connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"".join(line + b"\n" for line in lines))
    replies = [json.loads(await reader.readline()) for _ in lines]
    writer.close()
    await writer.wait_closed()
    return replies


async def test_a_command_gets_its_facts_and_gives_its_value(path: Path) -> None:
    assert await say(path, b'{"command": "add", "a": 2, "b": 3}') == [{"value": 5}]


async def test_commands_on_one_connection_get_replies_in_order(path: Path) -> None:
    lines = [json.dumps({"command": "add", "a": each, "b": 0}).encode() for each in range(5)]
    assert await say(path, *lines) == [{"value": each} for each in range(5)]


async def test_a_command_that_fails_replies_with_the_reason(path: Path) -> None:
    assert await say(path, b'{"command": "refuse"}', b'{"command": "fly"}', b'{"command": 7}', b"{}") == [
        {"error": "not today"},
        {"error": "unknown command 'fly'"},
        {"error": "unknown command 7"},
        {"error": "unknown command None"},
    ]


async def test_a_command_that_fails_is_logged_and_leaves_the_connection(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failed, unspeakable, after = await say(
        path, b'{"command": "add"}', b'{"command": "unspeakable"}', b'{"command": "add", "a": 1, "b": 1}'
    )
    assert failed == {"error": "add failed: KeyError: 'a'"}
    assert unspeakable["error"].startswith("unspeakable failed: TypeError")
    assert after == {"value": 2}
    assert "the command add failed" in caplog.text


async def test_a_command_whose_dependency_is_away_says_so_in_one_line(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (reply,) = await say(path, b'{"command": "ask_the_store"}')
    assert reply == {"error": "the store is away", "is_unavailable": True}
    assert "the command ask_the_store failed: the store is away" in caplog.text
    assert "Traceback" not in caplog.text


async def test_bytes_that_are_not_json_are_not_a_command(path: Path) -> None:
    (reply,) = await say(path, b"hello")
    assert reply["error"].startswith("not a command")


async def test_long_lines_pass_both_ways(path: Path) -> None:
    long = "x" * 1_000_000
    reader, writer = await asyncio.open_unix_connection(path, limit=2_000_000)
    writer.write(json.dumps({"command": "add", "a": long, "b": "y"}).encode() + b"\n")
    assert json.loads(await reader.readline())["value"] == long + "y"
    writer.close()
    await writer.wait_closed()


async def test_the_socket_of_a_crashed_worker_is_replaced() -> None:
    with runtime_directory() as runtime:
        path = runtime.socket_of("0a")
        path.touch()
        async with serve_commands(path, COMMANDS):
            assert await say(path, b'{"command": "add", "a": 1, "b": 1}') == [{"value": 2}]
        assert not path.exists()


async def test_the_end_ends_open_connections() -> None:
    with runtime_directory() as runtime:
        async with serve_commands(runtime.socket_of("0a"), COMMANDS):
            reader, writer = await asyncio.open_unix_connection(runtime.socket_of("0a"))
            writer.write(b'{"command": "add", "a": 1, "b": 1}\n')
            await reader.readline()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


def test_the_folder_is_private_and_removed_at_the_end() -> None:
    with runtime_directory() as runtime:
        assert runtime.path.stat().st_mode & 0o777 == 0o700
        assert len(str(runtime.socket_of("255b"))) < 108
        kept = runtime.path
    assert not kept.exists()


def test_a_long_temporary_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with runtime_directory() as runtime:
        assert len(str(runtime.socket_of("255b"))) < 108
    assert list(deep.iterdir()) == []


def test_files_that_were_never_written_are_empty(tmp_path: Path) -> None:
    runtime = RuntimeDirectory(tmp_path)
    assert (runtime.children, runtime.switch_overrides, runtime.reloads) == ([], {}, {})


async def test_a_connection_that_is_open_at_the_end_is_closed_and_is_no_fault() -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    with runtime_directory() as runtime:
        path = runtime.socket_of("0a")
        async with serve_commands(path, COMMANDS):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b'{"command": "add", "a": 2, "b": 3}\n')
            await reader.readline()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert faults == []
