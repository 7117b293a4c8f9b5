import sys
from pathlib import Path

import pytest

from benchmarks.peers.servers import SOURCES, Peer, PeerMissing, Program, cache_folder, install_once


def requirements(folder: Path, text: str = "fastapi==1.0\n") -> Path:
    file = folder / "requirements.txt"
    file.write_text(text)
    return file


def test_peers_are_installed_below_the_users_cache_folder(tmp_path: Path) -> None:
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "peakgate-bench"
    assert cache_folder({}) == cache_folder({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache/peakgate-bench"


def test_a_peer_is_installed_once_for_each_version_of_its_requirements_and_each_runtime(tmp_path: Path) -> None:
    installed: list[Path] = []
    cache = tmp_path / "cache"

    first = install_once("peer", requirements(tmp_path), installed.append, cache=cache, runtime="3.11")
    again = install_once("peer", requirements(tmp_path), installed.append, cache=cache, runtime="3.11")
    newer = install_once(
        "peer", requirements(tmp_path, "fastapi==2.0\n"), installed.append, cache=cache, runtime="3.11"
    )
    other = install_once(
        "peer", requirements(tmp_path, "fastapi==2.0\n"), installed.append, cache=cache, runtime="3.12"
    )

    assert first == again
    assert installed == [first, newer, other]
    assert len(set(installed)) == 3


def test_an_incomplete_installation_is_removed(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise PeerMissing("no network")

    with pytest.raises(PeerMissing, match="no network"):
        install_once("peer", requirements(tmp_path), fail, cache=tmp_path, runtime="3.11")
    folder = install_once("peer", requirements(tmp_path), lambda _: None, cache=tmp_path, runtime="3.11")

    assert not (folder / "half").exists()


def test_a_cache_folder_that_cannot_be_written_makes_the_peer_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(PeerMissing, match="cannot be installed"):
        install_once("peer", requirements(tmp_path), lambda _: None, cache=tmp_path / "file", runtime="3.11")


def test_a_peer_that_does_not_start_is_missing_with_the_reason_from_its_log(tmp_path: Path) -> None:
    peer = Peer("broken", lambda _site: Program([sys.executable, "-c", "raise SystemExit('no such module')"]))

    with (
        pytest.raises(PeerMissing, match="no such module"),
        peer.serving(store_socket=tmp_path / "store.sock", upstream_port=1),
    ):
        pass


def test_dependencies_of_peers_are_pinned() -> None:
    files = list(SOURCES.glob("*requirements.txt"))
    assert len(files) == 2
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert all("==" in line for line in lines if not line.startswith("#"))
    assert '"^' not in (SOURCES / "package.json").read_text()
