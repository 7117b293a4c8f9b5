"""A cluster of store servers on loopback ports: its primaries and replicas, changes of slots and roles.

Each change is waited for until all servers have the same view of it, so that nothing later is refused or reversed by one that has
not heard. Servers never fail over by themselves within a test unless it shortens the timeout between nodes: promotions are commands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.harness.gateway_process import HarnessError
from benchmarks.harness.ports import free_port
from benchmarks.harness.store_pair import PATIENCE_S, StoreServer, await_condition
from store.slots import SLOTS

NODE_TIMEOUT_MS: Final = 60_000
# Longer than a failover without votes goes on.
_FAILOVER_S: Final = 6.0
_BAD_FLAGS: Final = frozenset({"handshake", "noaddr", "fail", "fail?"})


class ClusterServer(StoreServer):
    """One server in cluster mode."""

    def __init__(self, folder: Path, *options: str, program: Path | None = None) -> None:
        self.bus_port = free_port()
        # A primary whose last slot has moved would become a replica by itself.
        cluster = ["--cluster-enabled", "yes", "--cluster-allow-replica-migration", "no"]
        cluster += ["--cluster-port", str(self.bus_port), "--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
        super().__init__(folder, *cluster, *options, program=program)
        self.id = self.command("CLUSTER", "MYID").decode()

    @property
    def is_primary(self) -> bool:
        """Whether it is one, by its own view."""
        return bool(self.info("replication")["role"] == "master")

    def view(self) -> list[list[str]]:
        """The lines of CLUSTER NODES, as words."""
        return [line.split(" ") for line in self.text("CLUSTER NODES").splitlines()]

    def text(self, command: str) -> str:
        """The reply as it is, which redis-py would parse."""
        with self.client() as client:
            client.response_callbacks.pop(command, None)
            reply: bytes = client.execute_command(command)
            return reply.decode()

    def insist(self, *words: Any) -> None:
        """Repeat a command of the administrator until the server accepts it."""

        def accepted() -> bool:
            with suppress(redis.exceptions.RedisError):
                self.command(*words)
                return True
            return False

        await_condition(accepted)


class StoreCluster:
    """Servers that know each other. `primaries` are made first, each with a replica if `replicas`."""

    def __init__(
        self, folder: Path, *options: str, primaries: int = 3, replicas: bool = True, program: Path | None = None
    ) -> None:
        self._folder = folder
        self._program = program
        self._options = options
        self.servers: list[ClusterServer] = []
        try:
            self._build(primaries, replicas)
        except BaseException:
            self.stop()
            raise

    def _build(self, primaries: int, replicas: bool) -> None:
        for number in range(primaries):
            server = self._start()
            server.command(
                "CLUSTER", "ADDSLOTSRANGE", SLOTS * number // primaries, SLOTS * (number + 1) // primaries - 1
            )
            server.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        following = [self._start() for _ in range(primaries if replicas else 0)]
        self._meet(self.servers[1:])
        for primary, replica in zip(self.servers, following, strict=False):
            replica.insist("CLUSTER", "REPLICATE", primary.id)
        self.settle()

    def _start(self) -> ClusterServer:
        server = self._new_server(self._folder / f"server-{len(self.servers)}")
        self.servers.append(server)
        return server

    def _new_server(self, folder: Path) -> ClusterServer:
        return ClusterServer(folder, *self._options, program=self._program)

    def _meet(self, servers: Sequence[ClusterServer]) -> None:
        for server in servers:
            self.servers[0].insist("CLUSTER", "MEET", server.host, server.port, server.bus_port)
        await_condition(self._know_each_other)

    @property
    def url(self) -> str:
        """The address for a client, with several servers."""
        return "redis+cluster://" + ",".join(f"{server.host}:{server.port}" for server in self.servers[:3])

    @property
    def primaries(self) -> Sequence[ClusterServer]:
        """The primaries with slots, in the view of the first server that answers."""
        ids = [line[0] for line in self._any_view() if "master" in line[2] and len(line) > 8]
        return [server for server in self.servers if server.id in ids]

    def primary_of(self, slot: int) -> ClusterServer:
        """The primary of a slot."""
        owner = _owners(self._any_view())[slot]
        return next(server for server in self.servers if server.id == owner)

    def has_replica(self, primary: ClusterServer) -> bool:
        """Whether a replica follows it."""
        return any(line[3] == primary.id for line in self._any_view())

    def replica_of(self, primary: ClusterServer) -> ClusterServer:
        """A replica of this server."""
        found = next(line[0] for line in self._any_view() if line[3] == primary.id)
        return next(server for server in self.servers if server.id == found)

    def _any_view(self) -> list[list[str]]:
        for server in self.servers:
            with suppress(redis.exceptions.RedisError):
                if server.is_running:
                    return server.view()
        raise AssertionError("no server answers")

    def add_replica(self, primary: ClusterServer) -> ClusterServer:
        """A new server that follows this one."""
        server = self.add_server()
        server.insist("CLUSTER", "REPLICATE", primary.id)
        return server

    def add_server(self) -> ClusterServer:
        """A new server without slots, which all know."""
        server = self._start()
        self._meet([server])
        return server

    def remove(self, server: ClusterServer) -> None:
        """End a server without slots, which all others forget."""
        self.servers.remove(server)
        server.kill()
        for other in self.servers:
            other.insist("CLUSTER", "FORGET", server.id)
        await_condition(lambda: all(server.id not in (line[0] for line in other.view()) for other in self.servers))

    def take_over(self, replica: ClusterServer) -> None:
        """Promote a replica without its primary, as an election would, and wait until those that run know."""
        replica.insist("CLUSTER", "FAILOVER", "TAKEOVER")
        await_condition(lambda: replica.is_primary)
        self._await_agreement()

    def fail_over(self, replica: ClusterServer) -> None:
        """Exchange a replica with its primary as planned: nothing is lost.

        The servers vote about the replacement of a primary once in twice the node timeout; a failover without votes ends after
        five seconds, and is asked for again.
        """
        deadline = time.monotonic() + PATIENCE_S + 2 * NODE_TIMEOUT_MS / 1000
        while not replica.is_primary:
            if time.monotonic() > deadline:
                raise HarnessError(f"the server at port {replica.port} does not become the primary")
            with suppress(HarnessError):
                replica.insist("CLUSTER", "FAILOVER")
                await_condition(lambda: replica.is_primary, within_s=_FAILOVER_S)
        self._await_agreement()

    def restart(self, server: ClusterServer) -> None:
        """End a server and start it again, as an upgrade does, and wait until it serves or follows as before."""
        server.terminate()
        self.settle()

    def move_slot(self, slot: int, target: ClusterServer) -> None:
        """Move a slot key by key, as resharding tools do: commands are answered by ASK meanwhile."""
        source = self.primary_of(slot)
        target.insist("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.insist("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        self.move_keys(slot, source, target)
        # The target first, then all the others: they hear of it only now and then by themselves.
        others = [each for each in self.primaries if each is not target]
        for primary in (target, *others):
            primary.insist("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        self._await_agreement()

    def move_keys(self, slot: int, source: ClusterServer, target: ClusterServer) -> None:
        """Move the keys that the slot has."""
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.insist("MIGRATE", target.host, target.port, "", 0, 60_000, "REPLACE", "KEYS", *keys)

    def migrate_slots(self, first: int, last: int, target: ClusterServer) -> None:
        """Move slots as the server itself does at once (CLUSTER MIGRATESLOTS, Valkey 9)."""
        source = self.primary_of(first)
        source.insist("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", target.id)
        await_condition(lambda: all(_owners(each.view()).get(first) == target.id for each in self._running()))
        self._await_agreement()

    def settle(self) -> None:
        """Start again what has ended, continue what is stopped, and wait until the whole cluster agrees."""
        for server in self.servers:
            if not server.is_running:
                server.start()
        self._await_agreement()
        self._attach_spares()
        await_condition(lambda: all(each.is_primary or _follows(each) for each in self.servers))

    def _attach_spares(self) -> None:
        """Let primaries without slots follow those without a replica: one whose slots were taken over may stay a primary on Redis 7."""
        for spare in self._spares():
            alone = next((each for each in self.primaries if not self.has_replica(each)), None)
            if alone is not None:
                await_condition(partial(_begins_to_follow, spare, alone))
                self._await_agreement()

    def _spares(self) -> list[ClusterServer]:
        with_slots = self.primaries
        return [each for each in self.servers if each.is_primary and each not in with_slots]

    def is_well(self) -> bool:
        """Whether all servers run and agree, and all replicas follow."""
        with suppress(redis.exceptions.RedisError):
            return (
                all(server.is_running and not server.is_stopped for server in self.servers)
                and self._agree()
                and all(server.is_primary or _follows(server) for server in self.servers)
            )
        return False

    def _running(self) -> Sequence[ClusterServer]:
        return [server for server in self.servers if server.is_running and not server.is_stopped]

    def _know_each_other(self) -> bool:
        ids = {server.id for server in self.servers}
        with suppress(redis.exceptions.RedisError):
            return all({line[0] for line in each.view()} == ids and not _bad(each.view()) for each in self.servers)
        return False

    def _await_agreement(self) -> None:
        """Wait until all servers that run agree on slots and roles."""
        await_condition(self._agree_on_slots)
        if not self._agree_on_roles():
            self._announce_roles()
        await_condition(self._agree)

    def _announce_roles(self) -> None:
        """Every server sends its role to all others, which it does only now and then by itself: an invitation has it."""
        for server in self._running():
            for other in self._running():
                if other is not server:
                    server.insist("CLUSTER", "MEET", other.host, other.port, other.bus_port)

    def _agree(self) -> bool:
        return self._agree_on_slots() and self._agree_on_roles()

    def _agree_on_slots(self) -> bool:
        """Whether all servers that run see the same owners of all slots and nothing that moves, and serve."""
        with suppress(redis.exceptions.RedisError):
            running = self._running()
            views = [server.view() for server in running]
            owners = [_owners(view) for view in views]
            return (
                all(len(each) == SLOTS and each == owners[0] for each in owners)
                and not any(word.startswith("[") for view in views for line in view for word in line[8:])
                and (len(running) < len(self.servers) or not any(map(_bad, views)))
                and all("cluster_state:ok" in server.text("CLUSTER INFO") for server in running)
            )
        return False

    def _agree_on_roles(self) -> bool:
        """Whether all servers that run know the same replicas."""
        with suppress(redis.exceptions.RedisError):
            followed = [_followed(server.view()) for server in self._running()]
            return all(each == followed[0] for each in followed)
        return False

    def stop(self) -> None:
        """End all servers."""
        for server in self.servers:
            server.kill()


def _begins_to_follow(spare: ClusterServer, primary: ClusterServer) -> bool:
    """Make it follow, if it does not by itself by now. A primary must be empty for that, and its data is the other's by now."""
    with suppress(redis.exceptions.RedisError):
        if spare.is_primary:
            spare.command("FLUSHALL")
            spare.command("CLUSTER", "REPLICATE", primary.id)
    return not spare.is_primary


def _follows(server: ClusterServer) -> bool:
    return bool(server.info("replication").get("master_link_status") == "up")


def _bad(view: Sequence[Sequence[str]]) -> bool:
    return any(_BAD_FLAGS & set(line[2].split(",")) or line[7] != "connected" for line in view)


def _followed(view: Sequence[Sequence[str]]) -> dict[str, str]:
    """The primary that each replica follows, by their ids; `-` for primaries."""
    return {line[0]: line[3] for line in view}


def _owners(view: Sequence[Sequence[str]]) -> dict[int, str]:
    owners: dict[int, str] = {}
    for line in view:
        for word in line[8:]:
            if not word.startswith("["):
                first, _, last = word.partition("-")
                owners.update(dict.fromkeys(range(int(first), int(last or first) + 1), line[0]))
    return owners


@contextmanager
def store_cluster(
    folder: Path, *options: str, primaries: int = 3, replicas: bool = True, program: Path | None = None
) -> Iterator[StoreCluster]:
    """A cluster for the length of the block; `program` is the server, the shipped one by default."""
    cluster = StoreCluster(folder, *options, primaries=primaries, replicas=replicas, program=program)
    try:
        yield cluster
    finally:
        cluster.stop()
