"""A `Store` on a cluster: each command goes to the primary of its first key's slot.

Each primary has a multiplexed client of its own (`store.cluster_nodes`), so a server that is sick delays and fails only the
commands of its own slots. A redirect (MOVED, ASK) sends the call to the server that it names; a refusal that passes (TRYAGAIN,
CLUSTERDOWN) sends it again after a moment: none of these has run. The deadline of the call bounds all of it.

The topology is read again by one task, whose rate is bounded: when a call is redirected, lost or late, and now and then. While a
primary does not answer it is read more often, so that a promoted replica is found soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakSet

from primitives.backoff import Backoff
from store import cluster_wide
from store.client import DEADLINE_S, MAX_WAITING, Leader, PendingCall, Reply
from store.cluster_nodes import Node
from store.commands import POSITIONS, first_key
from store.errors import Reason, ReplyError, StoreError, StorePartlyUnavailable, StoreUnavailable
from store.exchange import exchange
from store.resp import Arg
from store.script import Script
from store.slots import SLOTS, slot_of
from store.topology import Address, ClusterUrl, Topology, address_in

OPEN_S: Final = 5.0
# Between two looks at the topology: while something is wrong, and otherwise.
FIRST_LOOK_S: Final = 0.05
MAX_LOOK_S: Final = 0.25
PERIOD_S: Final = 15.0
LOOK_TIMEOUT_S: Final = 0.5
# Before a call is sent again that the cluster refused for the moment.
PAUSE_S: Final = 0.02
# There are 256 partitions; the tags of SKUs may be many more.
MAX_TAGS: Final = 4096
# A node that serves no slots any more is closed when its calls have their replies, or when none has come for this time:
# its server hangs or is cut off, and another one serves its slots.
RETIRE_S: Final = 0.5
_LEFT: Final = "the server serves no slots any more"

_log = logging.getLogger("peakgate")


class ClusterClient:
    """The clients of all primaries of a cluster as one `Store`. See `store.client.Client` for its parts."""

    def __init__(self, cluster: ClusterUrl, *, deadline_s: float = DEADLINE_S, max_waiting: int = MAX_WAITING) -> None:
        self._cluster = cluster
        self._deadline_s = deadline_s
        self._max_waiting = max_waiting
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._owners: list[Node | None] = [None] * SLOTS
        # The owners of keys that begin with these hash tags, braces included.
        self._owners_of_tags: dict[str, Node] = {}
        self._nodes: dict[Address, Node] = {}
        self._servers: frozenset[Address] = frozenset()
        # The servers that said since the last look that a slot is not theirs.
        self._moved_from: dict[int, set[Address]] = {}
        self._is_due = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._changed: list[Callable[[], None]] = []
        self._admits: Callable[[], bool] | None = None
        # The node of the call that was made last, and the calls that must not be sent to another server.
        self._last: Node | None = None
        self._pinned: WeakSet[asyncio.Future[Reply]] = WeakSet()
        # Rises when the connection of any primary is lost, and when one leaves: work that builds on its writes must not go on.
        self.connection_number = 1
        self._left_answered = self._left_failed = self._left_refused = 0
        self._closed = False
        # Why the last look failed.
        self._why: Exception | None = None

    # Calls

    def execute(self, *command: Arg) -> asyncio.Future[Reply]:
        """See `Store.execute`. A command without a key goes to all primaries where that has a meaning, else to any."""
        # The way of almost all commands, without three calls of functions on it.
        if command[0] not in POSITIONS and len(command) > 1:
            owner = self._owner_of(command[1])
            if owner is not None:
                self._last = owner
                return owner.submit(command, self._deadline_s, (None, command, True))
        return self._submit(command, self._deadline_s, None)

    def execute_blocking(self, *command: Arg, timeout_s: float) -> asyncio.Future[Reply]:
        """See `Store.execute_blocking`."""
        return self._submit(command, timeout_s + self._deadline_s, None)

    def run(self, script: Script, keys: Sequence[Arg], args: Sequence[Arg] = ()) -> asyncio.Future[Reply]:
        """See `Store.run`."""
        command = ("EVALSHA", script.sha, len(keys), *keys, *args)
        owner = self._owner_of(keys[0]) if keys else self.any_node()
        return self._send(owner, command, self._deadline_s, script)

    def _submit(self, command: tuple[Arg, ...], deadline_s: float, script: Script | None) -> asyncio.Future[Reply]:
        key = first_key(command)
        if key is not None:
            return self._send(self._owner_of(key), command, deadline_s, script)
        if command[0] in cluster_wide.COMMANDS:
            return asyncio.ensure_future(cluster_wide.execute(self.nodes, command))
        return self._send(self.any_node(), command, deadline_s, script)

    def _send(
        self, owner: Node | None, command: tuple[Arg, ...], deadline_s: float, script: Script | None
    ) -> asyncio.Future[Reply]:
        if owner is not None:
            self._last = owner
            return owner.submit(command, deadline_s, (script, command, True))
        reply: asyncio.Future[Reply] = self._loop.create_future()
        why = StoreUnavailable("no primary of the cluster serves the slot", reason=Reason.CLUSTER_DOWN)
        self._send_later((reply, self._now() + deadline_s, (script, command, True)), why)
        return reply

    def _owner_of(self, key: Arg) -> Node | None:
        if isinstance(key, str) and key.startswith("{"):
            # Carts and all that belongs to them have one of 256 hash tags: to look it up takes half the time of its slot.
            owner = self._owners_of_tags.get(key[: key.find("}") + 1])
            return self._owner_of_tag(key) if owner is None else owner
        return self._owners[slot_of(key)]

    def _owner_of_tag(self, key: str) -> Node | None:
        owner, end = self._owners[slot_of(key)], key.find("}")
        # `{}` is no hash tag: the whole key counts.
        if owner is not None and end > 1:
            if len(self._owners_of_tags) >= MAX_TAGS:
                self._owners_of_tags.clear()
            self._owners_of_tags[key[: end + 1]] = owner
        return owner

    def node_of(self, key: Arg) -> Node:
        """The client of the primary that serves the key now. Raises `StoreUnavailable` if there is none."""
        owner = self._owner_of(key)
        if owner is None:
            raise StoreUnavailable("no primary of the cluster serves the slot", reason=Reason.CLUSTER_DOWN)
        return owner

    def owner_at(self, slot: int) -> Node | None:
        """The client of the primary that serves the slot now, if any."""
        return self._owners[slot]

    def url_of(self, address: Address) -> str:
        """The URL of one of the servers."""
        return self._cluster.of(address)

    def any_node(self) -> Node | None:
        """A primary that answers, the same as long as it does; another one if none does."""
        nodes = self.nodes
        return next((node for node in nodes if node.is_connected and not node.is_late), nodes[0] if nodes else None)

    @property
    def nodes(self) -> Sequence[Node]:
        """The clients of all primaries, ordered by address."""
        return [self._nodes[address] for address in sorted(self._nodes)]

    def bind(self, reply: asyncio.Future[Reply]) -> None:
        """See `Client.bind`; the call fails where another server must run it."""
        if not reply.done():
            self._pinned.add(reply)
            if self._last is not None:
                self._last.bind(reply)

    # Redirects

    def reroute(self, node: Node, call: PendingCall, error: ReplyError) -> None:
        """See `Routing.reroute`."""
        reply, text = call[0], str(error)
        if error.code == "ASK":
            target = self._nodes_at(address_in(text, asked=node.address))
            target.resend(call, is_asking=True)
            if reply in self._pinned:
                target.bind(reply)
            return
        self._is_due.set()
        agreed = self._follow(node, text) if error.code == "MOVED" else None
        if reply in self._pinned:
            # Another server may lack the writes that this call builds on.
            _fail(reply, StoreUnavailable(f"the slot is served elsewhere: {text}", reason=Reason.CLUSTER_DOWN))
        elif agreed is not None:
            agreed.resend(call, is_asking=False)
        else:
            self._send_later(call, StoreUnavailable(f"the store cannot serve now: {text}", reason=Reason.CLUSTER_DOWN))

    def redirect(self, node: Node, error: ReplyError) -> tuple[Node, bool] | None:
        """The server that a call to the node itself is to go to instead, and whether ASKING must precede it; None if to none."""
        if error.code == "ASK":
            return self._nodes_at(address_in(str(error), asked=node.address)), True
        if error.code != "MOVED":
            return None
        self._is_due.set()
        return self._follow(node, str(error)) or node, False

    def _follow(self, node: Node, moved: str) -> Node | None:
        """The primary that `MOVED` names, from now on that of the slot; None while servers name each other."""
        slot, address = int(moved.split(" ")[1]), address_in(moved, asked=node.address)
        owner = self._owners[slot]
        if owner is not None and owner.address == address:
            return owner
        if address in self._moved_from.get(slot, ()):
            return None
        self._moved_from.setdefault(slot, set()).add(node.address)
        self._owners[slot] = target = self._nodes_at(address)
        self._owners_of_tags.clear()
        # Whether the slot has moved with all its writes, or a replica was promoted without the last ones, is not known yet.
        self.connection_number += 1
        return target

    def _nodes_at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(
                self._cluster.of(address), address, self, deadline_s=self._deadline_s, max_waiting=self._max_waiting
            )
            node.admit_only(self._admits)
            node.start()
        return node

    def _send_later(self, call: PendingCall, why: StoreError) -> None:
        self._is_due.set()
        if self._closed or call[1] <= self._now() + PAUSE_S:
            _fail(call[0], why)
            return
        self._loop.call_later(PAUSE_S * (0.5 + random.random() / 2), self._resend, call, why)

    def _resend(self, call: PendingCall, why: StoreError) -> None:
        called = call[2]
        assert called is not None
        key = first_key(called[1])
        owner = self.any_node() if key is None else self._owner_of(key)
        if owner is None or self._closed:
            self._send_later(call, why)
        else:
            owner.resend(call, is_asking=False)

    def note_trouble(self) -> None:
        """See `Routing.note_trouble`."""
        self._is_due.set()

    def note_loss(self) -> None:
        """See `Routing.note_loss`."""
        self.connection_number += 1
        self._is_due.set()

    # The topology

    def on_moved(self, callback: Callable[[], None]) -> None:
        """Call this whenever slots have other primaries."""
        self._changed.append(callback)

    def accompany(self, leader: Leader) -> None:
        """Look at the topology when `leader` has another one."""
        leader.on_moved(self._is_due.set)

    async def open(self) -> None:
        """Connect to all primaries that can be reached. Raises `StoreUnavailable` if no server describes the cluster for `OPEN_S`."""
        give_up_at = self._now() + OPEN_S
        backoff = Backoff(FIRST_LOOK_S, MAX_LOOK_S)
        while not await self.refresh():
            if self._now() >= give_up_at:
                await self.close()
                raise StoreUnavailable(f"cannot connect to the store: {self._why}")
            await asyncio.sleep(backoff.next_delay_s())
        await self._until(lambda: all(node.is_connected for node in self.nodes), give_up_at - self._now())
        self._watching = self._loop.create_task(self._watch())

    async def _until(self, condition: Callable[[], bool], within_s: float) -> None:
        give_up_at = self._now() + within_s
        while not condition() and self._now() < give_up_at:  # noqa: ASYNC110 - a few times in the life of a node
            await asyncio.sleep(0.01)

    async def _watch(self) -> None:
        backoff = Backoff(FIRST_LOOK_S, MAX_LOOK_S)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S * (0.5 + random.random() / 2)):
                    await self._is_due.wait()
            self._is_due.clear()
            try:
                await self.refresh()
            except Exception:  # noqa: BLE001 - a client that looked no more would be lost for good
                _log.exception("the topology of the store cannot be read")
            await asyncio.sleep(backoff.next_delay_s())
            if self._is_settled:
                backoff.reset()
            else:
                self._is_due.set()

    @property
    def _is_settled(self) -> bool:
        return None not in self._owners and all(node.is_connected and not node.is_late for node in self._nodes.values())

    async def refresh(self) -> bool:
        """Read the topology from the first server that answers; whether one did."""
        nodes = [node for node in self._nodes.values() if node.is_connected and not node.is_late]
        random.shuffle(nodes)
        for node in nodes:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    reply = await node.ask("CLUSTER", "SLOTS")
                self._apply(Topology.parse(reply, asked=node.address))
            except (StoreError, TimeoutError) as error:
                self._why = error
            else:
                return True
        for address in [*self._servers.difference(self._nodes), *self._cluster.seeds]:
            try:
                url = self._cluster.of(address)
                replies = await exchange(url, [("CLUSTER", "SLOTS")], timeout_s=LOOK_TIMEOUT_S, takes_replica=True)
                if isinstance(replies[0], ReplyError):
                    raise replies[0]
                self._apply(Topology.parse(replies[0], asked=address))
            except StoreError as failure:
                self._why = failure
            else:
                return True
        return False

    def _apply(self, topology: Topology) -> None:
        if not topology.ranges:
            raise StoreUnavailable("the servers of the store have no slots yet", reason=Reason.CLUSTER_DOWN)
        owners: list[Node | None] = [None] * SLOTS
        for first, last, address in topology.ranges:
            node = self._nodes_at(address)
            owners[first : last + 1] = [node] * (last + 1 - first)
        for node in {each for each in owners if each is not None}:
            node.probe_key = probe_key(node.probe_key, owners, node)
        self._servers = topology.servers
        self._moved_from.clear()
        left = [self._nodes.pop(address) for address in set(self._nodes) - topology.primaries]
        has_changed = owners != self._owners
        self._owners = owners
        self._owners_of_tags.clear()
        for node in left:
            self._retire(node)
        if has_changed:
            for callback in self._changed:
                callback()

    def _retire(self, node: Node) -> None:
        """A server that serves no slots: unsent calls go to the others."""
        self.connection_number += 1
        why = StoreUnavailable(_LEFT, reason=Reason.CLUSTER_DOWN)
        for call in node.take_unsent():
            self._resend(call, why)
        task = self._loop.create_task(self._close_when_idle(node))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _close_when_idle(self, node: Node) -> None:
        try:
            answered = -1
            while answered < node.answered and not node.is_idle:
                answered = node.answered
                await self._until(lambda: node.is_idle or not node.is_connected, RETIRE_S)
        finally:
            await node.close(_LEFT)
            self._left_answered += node.answered
            self._left_failed += node.failed
            self._left_refused += node.refused

    # All primaries together

    def admit_only(self, admits: Callable[[], bool] | None) -> None:
        """See `Client.admit_only`; for all primaries, also those that come."""
        self._admits = admits
        for node in self._nodes.values():
            node.admit_only(admits)

    async def ping(self) -> None:
        """Ask every primary for a sign of life. Raises the first `StoreError`."""
        await asyncio.gather(*(node.ping() for node in self.nodes))

    async def probe(self) -> None:
        """Write to every primary. Raises `StorePartlyUnavailable` while others serve, else the first `StoreError`."""
        nodes = self.nodes
        replies = await asyncio.gather(*(node.probe() for node in nodes), return_exceptions=True)
        failures = [(node, each) for node, each in zip(nodes, replies, strict=True) if isinstance(each, BaseException)]
        away = [
            (node, each) for node, each in failures if isinstance(each, StoreUnavailable) and not each.reason.is_full
        ]
        if away and len(away) < len(nodes):
            raise StorePartlyUnavailable("; ".join(f"{node.name}: {error}" for node, error in away))
        for _, error in failures:
            raise error

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to every primary now."""
        return bool(self._nodes) and all(node.is_connected for node in self._nodes.values())

    @property
    def oldest_queued_at(self) -> float | None:
        """See `Client.oldest_queued_at`."""
        queued = [at for node in self._nodes.values() if (at := node.oldest_queued_at) is not None]
        return min(queued, default=None)

    @property
    def answered(self) -> int:
        """See `Client`."""
        return self._left_answered + sum(node.answered for node in self._nodes.values())

    @property
    def failed(self) -> int:
        """See `Client`."""
        return self._left_failed + sum(node.failed for node in self._nodes.values())

    @property
    def refused(self) -> int:
        """See `Client`."""
        return self._left_refused + sum(node.refused for node in self._nodes.values())

    @property
    def reason_of_oom(self) -> Reason:
        """See `Client`."""
        return next((node.reason_of_oom for node in self._nodes.values()), Reason.FULL_MEMORY)

    @reason_of_oom.setter
    def reason_of_oom(self, reason: Reason) -> None:
        for node in self._nodes.values():
            node.reason_of_oom = reason

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        tasks = [*self._retiring, *([] if self._watching is None else [self._watching])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for node in self.nodes:
            await node.close()


def _fail(reply: asyncio.Future[Reply], error: StoreError) -> None:
    if not reply.done():
        reply.set_exception(error)
        # Looked at once, so that asyncio does not complain where a caller left at the first failure of several.
        reply.exception()


def probe_key(present: str, owners: Sequence[object], owner: object) -> str:
    """A key whose slot has this owner, the present one if it has.

    Not one of a given range: while slots move one by one there are hundreds of ranges, and a key of a single slot takes 10 ms to find.
    """
    key, number = present, 0
    while owners[slot_of(key)] is not owner:
        number += 1
        key = f"peakgate:probe:{number}"
    return key


async def open_cluster(url: str, *, deadline_s: float = DEADLINE_S, max_waiting: int = MAX_WAITING) -> ClusterClient:
    """Connect to the cluster at `url`. Raises `ValueError` for an address that cannot be read, and `StoreUnavailable`."""
    client = ClusterClient(ClusterUrl.parse(url), deadline_s=deadline_s, max_waiting=max_waiting)
    await client.open()
    return client
