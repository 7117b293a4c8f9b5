"""Other servers that do the same work as the gateway, for comparison: how they are found or installed, started and stopped."""

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
from typing import Final

from benchmarks.harness.gateway_process import HarnessError, await_port, start_child, stop_child
from benchmarks.harness.ports import free_port

SOURCES = Path(__file__).parent
_MAX_INSTALL_S = 300.0
_STAMP = "installed"


class PeerMissing(Exception):
    """A peer is not available on this machine; the text is one line with the reason."""


@dataclass(frozen=True, slots=True)
class Site:
    """The port of a peer, its store and upstream, and a folder for its files."""

    port: int
    store_socket: Path
    upstream_port: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Program:
    """The command that starts a peer as one process in the foreground."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to compare with. `program` installs it if need be, writes its configuration and raises `PeerMissing`.

    `cannot` has the reason for each kind of request that it cannot serve.
    """

    name: str
    program: Callable[[Site], Program]
    cannot: Mapping[str, str] = field(default_factory=dict, hash=False)

    @contextmanager
    def serving(self, *, store_socket: Path, upstream_port: int) -> Iterator[tuple[int, int]]:
        """Run it on that store and upstream; its port and process id. Raises `PeerMissing`."""
        with tempfile.TemporaryDirectory(prefix="peakgate-bench-") as folder:
            site = Site(free_port(), store_socket, upstream_port, Path(folder))
            program = self.program(site)
            with (site.folder / "log").open("w+b") as log:
                process = start_child(program.command, log=log, environment=program.environment)
                try:
                    try:
                        await_port(process, site.port)
                    except HarnessError as error:
                        log.seek(0)
                        raise PeerMissing(_error_line(log.read()) or str(error)) from error
                    yield site.port, process.pid
                finally:
                    stop_child(process)


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where peers are installed: below the user's cache folder (the XDG Base Directory Specification)."""
    configured = Path(environ.get("XDG_CACHE_HOME", ""))
    # The specification says that relative paths are invalid and to be ignored.
    return (configured if configured.is_absolute() else Path.home() / ".cache") / "peakgate-bench"


def install_once(name: str, requirements: Path, install: Callable[[Path], None], *, cache: Path, runtime: str) -> Path:
    """The folder with the installed `requirements` for that runtime; calls `install` the first time."""
    digest = hashlib.sha256(requirements.read_bytes() + runtime.encode()).hexdigest()[:12]
    folder = cache / f"{name}-{digest}"
    if not (folder / _STAMP).exists():
        print(f"installing {name} into {folder} (once)", file=sys.stderr)
        try:
            # An installation that was interrupted is incomplete.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            install(folder)
            (folder / _STAMP).touch()
        except OSError as error:
            raise PeerMissing(f"it cannot be installed: {error}") from error
    return folder


def program_on_path(name: str, packages: str) -> str:
    """The path of a program. Raises `PeerMissing` with the Debian packages that have it."""
    path = shutil.which(name)
    if path is None:
        raise PeerMissing(f"{name} is not on PATH; on Debian and Ubuntu `apt install {packages}` installs it")
    return path


def install_with_pip(name: str, requirements: Path) -> Path:
    """The virtual environment with the requirements, in the cache folder. Raises `PeerMissing`."""

    def install(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", "venv"], folder)
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "install", "--only-binary", ":all:", "--requirement", str(requirements)], folder)

    return install_once(name, requirements, install, cache=cache_folder(), runtime=sys.version) / "venv"


def install_with_npm(name: str, package: Path) -> Path:
    """The folder with the dependencies of that `package.json`, in the cache folder. Raises `PeerMissing`."""
    node, npm = program_on_path("node", "nodejs npm"), program_on_path("npm", "nodejs npm")

    def install(folder: Path) -> None:
        shutil.copy(package, folder)
        _run([npm, "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"], folder)

    return install_once(name, package, install, cache=cache_folder(), runtime=_run([node, "--version"], SOURCES))


def _fastify(site: Site) -> Program:
    folder = install_with_npm("fastify", SOURCES / "package.json")
    environment = {"NODE_PATH": str(folder / "node_modules"), "NODE_ENV": "production"}
    node = program_on_path("node", "nodejs npm")
    return Program([node, str(SOURCES / "fastify_cart.js"), str(site.port), str(site.store_socket)], environment)


def _fastapi(site: Site) -> Program:
    python = install_with_pip("fastapi", SOURCES / "requirements.txt") / "bin/python"
    return Program([str(python), str(SOURCES / "fastapi_cart.py"), str(site.port), str(site.store_socket)])


def _run(command: Sequence[str], folder: Path) -> str:
    """The output of the command. Raises `PeerMissing` if it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=_MAX_INSTALL_S)
    except subprocess.CalledProcessError as error:
        raise PeerMissing(f"{command[0]} failed: {_error_line(error.stderr or error.stdout)}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerMissing(f"{command[0]} did not end within {_MAX_INSTALL_S:g} s") from error
    return done.stdout.decode(errors="replace").strip()


def _error_line(output: bytes) -> str:
    """The first line that mentions an error, else the last line."""
    lines = output.decode(errors="replace").strip().splitlines() or [""]
    return next((line for line in lines if "error" in line.lower()), lines[-1]).strip()


FASTIFY: Final = Peer("Fastify", _fastify)
FASTAPI: Final = Peer("FastAPI", _fastapi)
