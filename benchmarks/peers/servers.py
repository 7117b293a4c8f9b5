"""Servers of other makes that do what the gateway does, to compare with: installed into a cache folder, started, stopped."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.gateway_process import HarnessError, await_port, free_port, start_child, stop_child

SOURCES = Path(__file__).parent
_INSTALL_MOST_S = 300.0
_STAMP = "installed"


class PeerMissing(Exception):
    """A peer cannot be had on this machine; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Program:
    """How an installed peer is started; the port and the store's socket are added."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them. `installed` installs it unless it is, and raises `PeerMissing`."""

    name: str
    installed: Callable[[], Program]

    @contextmanager
    def serving(self, store_socket: Path) -> Iterator[tuple[int, int]]:
        """Install and run it on that store; its port and process. Raises `PeerMissing`."""
        program = self.installed()
        port = free_port()
        command = [*program.command, str(port), str(store_socket)]
        with tempfile.TemporaryFile() as log:
            process = start_child(command, log=log, environment=program.environment)
            try:
                try:
                    await_port(process, port)
                except HarnessError as error:
                    log.seek(0)
                    raise PeerMissing(_why(log.read()) or str(error)) from error
                yield port, process.pid
            finally:
                stop_child(process)


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where peers are installed: below the user's cache folder (the XDG Base Directory Specification)."""
    named = Path(environ.get("XDG_CACHE_HOME", ""))
    # The specification says that relative paths are invalid and to be ignored.
    return (named if named.is_absolute() else Path.home() / ".cache") / "peakgate-bench"


def install_once(name: str, listing: Path, install: Callable[[Path], None], *, cache: Path, runtime: str) -> Path:
    """The folder where what `listing` lists is installed for that runtime; `install` is called where it is not yet."""
    digest = hashlib.sha256(listing.read_bytes() + runtime.encode()).hexdigest()[:12]
    folder = cache / f"{name}-{digest}"
    if not (folder / _STAMP).exists():
        print(f"installing {name} into {folder} (once)", file=sys.stderr)
        try:
            # What an installation that was stopped left.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            install(folder)
            (folder / _STAMP).touch()
        except OSError as error:
            raise PeerMissing(f"it cannot be installed: {error}") from error
    return folder


def _fastify() -> Program:
    node, npm = _tool("node"), _tool("npm")

    def install(folder: Path) -> None:
        shutil.copy(SOURCES / "package.json", folder)
        _run([npm, "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"], folder)

    version = _run([node, "--version"], SOURCES)
    folder = install_once("fastify", SOURCES / "package.json", install, cache=cache_folder(), runtime=version)
    environment = {"NODE_PATH": str(folder / "node_modules"), "NODE_ENV": "production"}
    return Program([node, str(SOURCES / "fastify_cart.js")], environment)


def _fastapi() -> Program:
    listing = SOURCES / "requirements.txt"

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", "venv"], folder)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "install", "--only-binary", ":all:", "--requirement", str(listing)], folder)

    folder = install_once("fastapi", listing, install, cache=cache_folder(), runtime=sys.version)
    return Program([str(folder / "venv/bin/python"), str(SOURCES / "fastapi_cart.py")])


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise PeerMissing(f"{name} is not on PATH; on Debian and Ubuntu `apt install nodejs npm` brings it")
    return found


def _run(command: Sequence[str], folder: Path) -> str:
    """What the command printed. Raises `PeerMissing`."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=_INSTALL_MOST_S)
    except subprocess.CalledProcessError as error:
        raise PeerMissing(f"{command[0]} failed: {_why(error.stderr or error.stdout)}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerMissing(f"{command[0]} did not end within {_INSTALL_MOST_S:g} s") from error
    return done.stdout.decode(errors="replace").strip()


def _why(said: bytes) -> str:
    """The line of what a program said that tells most: the first that speaks of an error, else the last."""
    lines = said.decode(errors="replace").strip().splitlines() or [""]
    return next((line for line in lines if "error" in line.lower()), lines[-1]).strip()


FASTIFY = Peer("Fastify", _fastify)
FASTAPI = Peer("FastAPI", _fastapi)
