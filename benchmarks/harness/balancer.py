"""HAProxy in front of gateways: health checks on `/readyz`, and no request is ever repeated on another gateway."""

import csv
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.harness.gateway_process import HarnessError, await_port, start_child, stop_child
from benchmarks.harness.ports import free_port

CHECK_EVERY_MS: Final = 200
PROGRAM: Final = "haproxy"
# `retries 0`: a connection that a gateway refuses or resets is a failure that the client sees.
_CONFIGURATION: Final = """
global
    stats socket {socket} mode 600
    nbthread 1
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout check {check_timeout_s}s
    retries 0
    option http-keep-alive
frontend shop
    bind 127.0.0.1:{port}
    maxconn 10000
    default_backend gateways
backend gateways
    balance roundrobin
    http-reuse safe
    option httpchk GET /readyz
    http-check expect status 200
{servers}
"""
_SERVER: Final = "    server {name} 127.0.0.1:{port} check inter {every_ms}ms fall {fall} rise 1"


class Balancer:
    """A running HAProxy; each gateway has a name, and is up while its `/readyz` says 200."""

    def __init__(self, port: int, socket_path: Path) -> None:
        self.port = port
        self._socket_path = socket_path

    def rows(self) -> list[Mapping[str, str]]:
        """The statistics of the gateways, a row each (`show stat`, management guide of HAProxy, 9.1)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket_path))
            connection.sendall(b"show stat\n")
            with connection.makefile() as lines:
                text = lines.read().removeprefix("# ").strip()
        rows = csv.DictReader(text.splitlines())
        return [row for row in rows if row["pxname"] == "gateways" and row["svname"] != "BACKEND"]

    def up(self) -> set[str]:
        """The gateways that get new requests."""
        return {row["svname"] for row in self.rows() if row["status"].startswith("UP")}

    def errors(self) -> dict[str, int]:
        """Refused or failed connections, and connections that ended before the response did, of all gateways together."""
        columns = {"connections": "econ", "responses": "eresp", "5xx": "hrsp_5xx"}
        rows = self.rows()
        return {name: sum(int(row[column] or 0) for row in rows) for name, column in columns.items()}


def has_balancer() -> bool:
    """Whether HAProxy is installed."""
    return shutil.which(PROGRAM) is not None


@contextmanager
def balancing(folder: Path, ports: Mapping[str, int], *, fall: int = 1, check_timeout_s: int = 2) -> Iterator[Balancer]:
    """Run HAProxy before the gateways on these ports, by name. Raises HarnessError if it is not installed or does not start."""
    if not has_balancer():
        raise HarnessError("haproxy is not installed (Debian: apt-get install haproxy)")
    port, socket_path, log_path = free_port(), folder / "haproxy.sock", folder / "haproxy.log"
    configuration = folder / "haproxy.cfg"
    servers = _servers(ports, fall)
    configuration.write_text(
        _CONFIGURATION.format(port=port, socket=socket_path, servers=servers, check_timeout_s=check_timeout_s)
    )
    with log_path.open("wb") as log:
        process = start_child([PROGRAM, "-db", "-f", str(configuration)], log=log)
    try:
        _await_port(process, port, log_path)
        yield Balancer(port, socket_path)
    finally:
        stop_child(process)


def _servers(ports: Mapping[str, int], fall: int) -> str:
    rows: Sequence[str] = [
        _SERVER.format(name=name, port=port, every_ms=CHECK_EVERY_MS, fall=fall) for name, port in ports.items()
    ]
    return "\n".join(rows)


def _await_port(process: "subprocess.Popen[bytes]", port: int, log_path: Path) -> None:
    try:
        await_port(process, port)
    except HarnessError as error:
        raise HarnessError(f"haproxy does not start: {log_path.read_text(errors='replace').strip()}") from error
