import sys
from pathlib import Path

import pytest

from benchmarks.peers.servers import SOURCES, Peer, PeerMissing, Program, cache_folder, install_once


def listing(folder: Path, text: str = "fastapi==1.0\n") -> Path:
    file = folder / "requirements.txt"
    file.write_text(text)
    return file


def test_peers_are_installed_below_the_users_cache_folder(tmp_path: Path) -> None:
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "peakgate-bench"
    assert cache_folder({}) == cache_folder({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache/peakgate-bench"


def test_a_peer_is_installed_once_for_each_state_of_its_list_and_each_runtime(tmp_path: Path) -> None:
    installed: list[Path] = []
    cache = tmp_path / "cache"

    first = install_once("peer", listing(tmp_path), installed.append, cache=cache, runtime="3.11")
    again = install_once("peer", listing(tmp_path), installed.append, cache=cache, runtime="3.11")
    newer = install_once("peer", listing(tmp_path, "fastapi==2.0\n"), installed.append, cache=cache, runtime="3.11")
    other = install_once("peer", listing(tmp_path, "fastapi==2.0\n"), installed.append, cache=cache, runtime="3.12")

    assert first == again
    assert installed == [first, newer, other]
    assert len(set(installed)) == 3


def test_what_a_failed_installation_left_is_thrown_away(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise PeerMissing("no network")

    with pytest.raises(PeerMissing, match="no network"):
        install_once("peer", listing(tmp_path), fail, cache=tmp_path, runtime="3.11")
    folder = install_once("peer", listing(tmp_path), lambda _: None, cache=tmp_path, runtime="3.11")

    assert not (folder / "half").exists()


def test_a_cache_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(PeerMissing, match="cannot be installed"):
        install_once("peer", listing(tmp_path), lambda _: None, cache=tmp_path / "file", runtime="3.11")


def test_a_peer_that_does_not_start_is_missing_and_its_last_words_say_why(tmp_path: Path) -> None:
    peer = Peer("broken", lambda: Program([sys.executable, "-c", "raise SystemExit('no such module')"]))

    with pytest.raises(PeerMissing, match="no such module"), peer.serving(tmp_path / "store.sock"):
        pass


def test_what_peers_run_with_is_pinned() -> None:
    lines = (SOURCES / "requirements.txt").read_text().splitlines()

    assert all("==" in line for line in lines if not line.startswith("#"))
    assert '"^' not in (SOURCES / "package.json").read_text()
