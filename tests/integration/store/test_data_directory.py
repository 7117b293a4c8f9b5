"""Who may read the data directory, and the files in it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cart.catalog.sqlite_search import SqliteSearch
from store import data_directory, open_client
from store.data_directory import prepare_data_directory
from store.embedded import EmbeddedServer
from tests.waiting import WITHIN_S


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    data_directory._warn_once.cache_clear()
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_others(directory: Path) -> dict[str, str]:
    """Everything that the group or others have a right to, with its mode."""
    modes = {}
    for path in (directory, *directory.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # of a rewrite that has just ended
            modes[str(path)] = mode(path)
    return {path: oct(each) for path, each in modes.items() if each & 0o077}


async def fill(data: Path) -> None:
    """Have the store and the search index write all their files."""
    server = EmbeddedServer(data)
    await asyncio.to_thread(server.start)
    try:
        client = await open_client(server.url, deadline_s=WITHIN_S)
        await client.execute("SET", "cart", "of Ada")
        await client.execute("BGREWRITEAOF")
        await client.close()
        search = SqliteSearch(data / "search.sqlite3")
        await search.open()
        await search.upsert([])
        assert open_to_others(data) == {}
        await search.close()
    finally:
        await asyncio.to_thread(server.stop)


async def test_only_its_user_can_read_a_new_data_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await fill(data)
    assert mode(data) == 0o700
    assert {mode(path) for path in data.rglob("*") if path.is_file()} == {0o600}
    assert open_to_others(data) == {}


async def test_a_data_directory_of_an_older_release_is_taken_from_other_users(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    await fill(data)
    for path in (data, *data.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with caplog.at_level(logging.INFO):
        await fill(data)
    assert open_to_others(data) == {}
    assert f"took the rights of other users from {data} (its mode was 755)" in caplog.text


def test_a_directory_that_others_use_too_stays_as_it_is_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "report.txt").write_text("of another program")
    (tmp_path / "report.txt").chmod(0o644)
    (tmp_path / "valkey.log").write_text("")
    (tmp_path / "valkey.log").chmod(0o644)
    for _ in range(2):
        prepare_data_directory(tmp_path)
    assert open_to_others(tmp_path) == {str(tmp_path): "0o755", str(tmp_path / "report.txt"): "0o644"}
    assert caplog.text.count("other users can read the data directory") == 1


def test_a_file_that_a_running_server_deletes_meanwhile_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "valkey.log").write_text("")
    (tmp_path / "valkey.log").chmod(0o644)
    seen = [tmp_path / "temp-rewriteaof-1.aof", tmp_path / "valkey.log"]
    monkeypatch.setattr(Path, "iterdir", lambda _path: iter(seen))
    prepare_data_directory(tmp_path)
    assert mode(tmp_path / "valkey.log") == 0o600


def test_links_are_not_followed_out_of_the_directory(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir(mode=0o700)
    elsewhere.write_text("")
    elsewhere.chmod(0o644)
    (data / "valkey.log").symlink_to(elsewhere)
    prepare_data_directory(data)
    assert mode(elsewhere) == 0o644


def test_a_private_directory_is_left_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        prepare_data_directory(tmp_path / "data")
        prepare_data_directory(tmp_path / "data")
    assert caplog.text == ""
