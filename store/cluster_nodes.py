"""A primary of a cluster: a client of its own, so that a sick server delays no command of another's slots."""

from __future__ import annotations

from typing import Final, Protocol

from store.client import DEADLINE_S, Called, Client, PendingCall, Reply
from store.errors import ReplyError, StoreUnavailable
from store.resp import Arg
from store.topology import Address

# Error replies of a server that did not run the command, because the cluster wants it elsewhere or later.
ELSEWHERE: Final = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"})

# After this time without a reply the topology is read, also where callers are more patient: another server may serve the slots.
LATE_S: Final = DEADLINE_S


class Routing(Protocol):
    """The part of the cluster's client that its nodes use."""

    def reroute(self, node: Node, call: PendingCall, error: ReplyError) -> None:
        """Send a call that the node did not run elsewhere or later."""
        ...

    def note_trouble(self) -> None:
        """A call of a node was lost or late: its slots may have another primary by now."""
        ...

    def note_loss(self) -> None:
        """A node has lost its connection."""
        ...


class Node(Client):
    """The client of one primary. Calls that `send` got are rerouted; `execute` and `run` return redirects as `ReplyError`."""

    def __init__(self, url: str, address: Address, routing: Routing, *, deadline_s: float, max_waiting: int) -> None:
        super().__init__(url, deadline_s=deadline_s, max_waiting=max_waiting)
        self.address: Final = address
        self._late_after_s: Final = min(deadline_s, LATE_S)
        self._routing = routing

    @property
    def name(self) -> str:
        """Its host and port, for people."""
        host, port = self.address
        return f"{host}:{port}"

    def start(self) -> None:
        """Connect in the background; calls wait for it until their deadline."""
        self._reconnecting = self._loop.create_task(self._reconnect())

    def resend(self, call: PendingCall, *, is_asking: bool) -> None:
        """Queue a call that another server did not run, right behind ASKING if that sent it here for once."""
        reply, _, called = call
        if reply.done() or called is None:
            return
        if (refusal := self._refusal() if self._may_refuse else None) is not None:
            reply.set_exception(refusal)
            return
        if is_asking:
            asking: Reply = self._new_future()
            self._queue((asking, call[1], None), ("ASKING",))
        self._queue(call, called[1])

    def ask(self, *command: Arg) -> Reply:
        """Send a command about the server itself, also while no call is admitted."""
        return self._ask(*command)

    def take_unsent(self) -> list[PendingCall]:
        """The calls that were not sent yet, which this node forgets. Those without a command of their own fail."""
        calls = [self._calls.pop() for _ in self._unsent][::-1]
        self._unsent.clear()
        bound, self._bound = self._bound, []
        for reply in [*bound, *(reply for reply, _, called in calls if called is None or not called[2])]:
            if not reply.done():
                reply.set_exception(StoreUnavailable("the server serves no slots any more"))
                reply.exception()
        return [call for call in calls if not call[0].done()]

    @property
    def is_idle(self) -> bool:
        """Whether no call waits for a reply."""
        return not self._calls

    @property
    def is_late(self) -> bool:
        """Whether the oldest call waits for longer than a server that is well takes, or past its deadline."""
        oldest = self.oldest_queued_at
        return oldest is not None and self._now() - oldest > self._late_after_s

    def _resolve_error(self, call: PendingCall, error: ReplyError) -> None:
        called: Called | None = call[2]
        if called is not None and called[2] and error.code in ELSEWHERE:
            self._routing.reroute(self, call, error)
        else:
            super()._resolve_error(call, error)

    def _sweep(self) -> None:
        failed = self.failed
        super()._sweep()
        if self.failed > failed or self.is_late:
            self._routing.note_trouble()

    def _lose(self, why: str) -> None:
        number = self.connection_number
        super()._lose(why)
        if self.connection_number > number:
            self._routing.note_loss()
