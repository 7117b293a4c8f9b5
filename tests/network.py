"""Networks of a test's own, whose links can be cut: a cluster of store servers with two of them.

Each server has a network namespace. One link leads to the other servers, one to the clients, so that each can be cut alone. The
namespaces have no names: all is gone when the test has ended. Servers are commanded through Unix sockets, which no cut reaches.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import redis

from benchmarks.harness.gateway_process import start_child
from benchmarks.harness.store_cluster import ClusterServer, StoreCluster
from benchmarks.harness.store_pair import PATIENCE_S, await_condition

_CLONE_NEWNET: Final = 0x40000000
_OWN_NAMESPACE: Final = Path("/proc/thread-self/ns/net")
# Of all addresses of servers, and of that of the clients.
_SERVERS, _CLIENTS = "10.77.0", "10.77.1"
_CLIENT: Final = f"{_CLIENTS}.1"
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace without a name, which ends when it is closed and its processes have ended."""

    def __init__(self) -> None:
        before = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc.unshare(_CLONE_NEWNET))
            self._file = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _checked(_libc.setns(before, _CLONE_NEWNET))
            os.close(before)
        self.ip("link", "set", "lo", "up")

    @property
    def path(self) -> str:
        """Its file, for `ip`."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and the threads and processes that it starts, are in the namespace for the length of the block."""
        before = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc.setns(self._file, _CLONE_NEWNET))
            yield
        finally:
            _checked(_libc.setns(before, _CLONE_NEWNET))
            os.close(before)

    def ip(self, *words: str) -> None:
        """Run `ip` in it. Raises `OSError`."""
        with self.entered():
            done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def close(self) -> None:
        """Let it end."""
        os.close(self._file)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Switch:
    """A namespace that joins links of others; the links can be cut in it."""

    def __init__(self) -> None:
        self._namespace = Namespace()
        self._namespace.ip("link", "add", "bridge", "type", "bridge")
        self._namespace.ip("link", "set", "bridge", "up")

    def connect(self, namespace: Namespace, name: str, port: str) -> None:
        """A link of the namespace, under a name there and another here."""
        self._namespace.ip(
            *("link", "add", port, "type", "veth", "peer", "name", name, "netns", namespace.path),
        )
        self._namespace.ip("link", "set", "dev", port, "master", "bridge")
        self._namespace.ip("link", "set", "dev", port, "up")
        namespace.ip("link", "set", "dev", name, "up")

    def cut(self, port: str) -> None:
        """Nothing passes this link."""
        self._namespace.ip("link", "set", "dev", port, "down")

    def heal(self, port: str) -> None:
        """The link passes all again."""
        self._namespace.ip("link", "set", "dev", port, "up")

    def close(self) -> None:
        """End it and its links."""
        self._namespace.close()


class Networks:
    """The two networks: between the servers, and between them and the clients."""

    def __init__(self) -> None:
        self.servers, self.clients = Switch(), Switch()
        self.client = Namespace()
        self.clients.connect(self.client, "servers", "clients")
        self.client.ip("address", "add", f"{_CLIENT}/24", "dev", "servers")
        self.client.ip("route", "add", f"{_SERVERS}.0/24", "dev", "servers")
        self._namespaces: list[Namespace] = []

    def add(self) -> tuple[str, Namespace, str]:
        """The address of one more server, its namespace, and the name of its links in the switches."""
        number = len(self._namespaces) + 1
        address, port = f"{_SERVERS}.{number}", f"port{number}"
        namespace = Namespace()
        self._namespaces.append(namespace)
        self.servers.connect(namespace, "servers", port)
        self.clients.connect(namespace, "clients", port)
        namespace.ip("address", "add", f"{address}/32", "dev", "lo")
        namespace.ip("route", "add", f"{_SERVERS}.0/24", "dev", "servers", "src", address)
        namespace.ip("route", "add", f"{_CLIENTS}.0/24", "dev", "clients", "src", address)
        return address, namespace, port

    def close(self) -> None:
        """End them."""
        for namespace in (*self._namespaces, self.client):
            namespace.close()
        self.servers.close()
        self.clients.close()


class NetworkedServer(ClusterServer):
    """A server of a cluster in a namespace of its own."""

    def __init__(self, folder: Path, *options: str, networks: Networks) -> None:
        self._networks = networks
        self.host, self._namespace, self._link = networks.add()
        # Nobody but the test can come to its address.
        super().__init__(folder, "--protected-mode", "no", *options)

    def start(self) -> None:
        """See `StoreServer.start`."""
        with self._namespace.entered():
            self._process = start_child([*self._command_line(), "--unixsocket", self._socket])
        await_condition(self._serves)

    def client(self) -> redis.Redis:
        """See `StoreServer.client`."""
        return redis.Redis(unix_socket_path=self._socket, socket_timeout=PATIENCE_S)

    @property
    def _socket(self) -> str:
        return str(self.folder / "socket")

    def cut_from_servers(self) -> None:
        """Its clients reach it, other servers do not."""
        self._networks.servers.cut(self._link)

    def cut_from_clients(self) -> None:
        """Other servers reach it, clients do not."""
        self._networks.clients.cut(self._link)

    def cut_off(self) -> None:
        """Nobody reaches it."""
        self.cut_from_servers()
        self.cut_from_clients()

    @property
    def misses_the_cluster(self) -> bool:
        """Whether it refuses calls, because it does not hear from most primaries."""
        return "cluster_state:fail" in self.text("CLUSTER INFO")

    def heal(self) -> None:
        """Everybody reaches it."""
        self._networks.servers.heal(self._link)
        self._networks.clients.heal(self._link)


class NetworkedCluster(StoreCluster):
    """A cluster whose servers have links that can be cut; its clients must be in the namespace `networks.client`."""

    def __init__(self, folder: Path, *options: str, networks: Networks) -> None:
        self.networks = networks
        super().__init__(folder, *options)

    def _new_server(self, folder: Path) -> ClusterServer:
        return NetworkedServer(folder, *self._options, networks=self.networks)

    def heal(self) -> None:
        """Everybody reaches everybody."""
        for server in self.servers:
            assert isinstance(server, NetworkedServer)
            server.heal()


@contextmanager
def networked_cluster(folder: Path, *options: str) -> Iterator[NetworkedCluster]:
    """Such a cluster; this thread is in the namespace of its clients. Skips the test where namespaces cannot be made."""
    try:
        networks = Networks()
    except (OSError, AttributeError) as error:
        pytest.skip(f"no network namespaces can be made and linked here: {error}")
    try:
        cluster = NetworkedCluster(folder, *options, networks=networks)
        try:
            with networks.client.entered():
                yield cluster
        finally:
            cluster.stop()
    finally:
        networks.close()
