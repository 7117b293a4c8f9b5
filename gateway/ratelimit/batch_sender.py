"""Batches of rate limits: the requests of one loop tick are decided by one script call.

A batch without a reply in time (25 ms; a late reply is dropped, though its units are taken) is decided by this process,
and so are all that follow, until a probe in the background gets its reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Final

from gateway.ratelimit.batch import Allowance, Batch, Group, arguments
from gateway.ratelimit.local_decision import decide_batch_locally
from gateway.ratelimit.outage import Outage
from gateway.ratelimit.parts import Part, put_together, returned, split
from primitives.futures import ignore_exception
from primitives.unit_of_work import unit_of_work
from store import Script, Store

# How long the store may take, and how often waiting batches are checked: together less than 50 ms.
TIMEOUT_S: Final = 0.025
WATCH_S: Final = 0.007
# Keys of one script call: more would delay the store's other clients.
MAX_KEYS: Final = 1_000

GIVE_BACK: Final = Script.from_package("gateway.ratelimit", "scripts/give_back.lua")
TAKE: Final = Script.from_package("gateway.ratelimit", "scripts/take.lua")


class BatchSender:
    """Collects the requests of a tick, sends them to the store, and gives them its decisions.

    Where it `is_split`, a batch is a call for each partition of its keys.

    `probe` is an allowance that no request uses: a probe takes a unit of it, so it needs a store that accepts writes.
    `batches` and `requests` count what was sent, without the probes.
    """

    def __init__(
        self,
        store: Store,
        probe: Allowance,
        *,
        is_split: bool,
        timeout_s: float,
        clock: Callable[[], float],
        rng: Callable[[], float],
    ) -> None:
        self._store = store
        self._probe = probe
        self._is_split = is_split
        self._timeout_s = timeout_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.batches = 0
        self.requests = 0
        self._last_number = 0
        # The batch of this tick, and the groups in it by client, of each limit set.
        self._open: Batch | None = None
        self._open_groups: list[dict[Hashable, Group]] = []
        self._in_flight: list[Batch] = []
        self._timer: asyncio.TimerHandle | None = None
        self._checked_at = 0.0
        self.outage = Outage(self._send_probe, loop=self._loop, clock=clock, rng=rng)

    def batch_of(self, groups: dict[Hashable, Group]) -> Batch | None:
        """The batch of this tick; None while the store is away. `groups` are those of a limit set, emptied when it is sent."""
        if self.outage.since is not None:
            return None
        batch = self._open
        if batch is not None and batch.size >= MAX_KEYS:
            self._flush()
            batch = None
        if batch is None:
            batch = self._open = self._batch()
            self._loop.call_soon(self._flush)
        if not groups:
            self._open_groups.append(groups)
        return batch

    def close(self) -> None:
        """Decide the waiting batches, and call the store no more."""
        if self._timer is not None:
            self._timer.cancel()
        self.outage.close()
        while self._in_flight:
            self._fail(self._in_flight.pop(0), "closed")
        self._flush()

    # Sending

    def _batch(self) -> Batch:
        self._last_number += 1
        return Batch(self._last_number, self._loop)

    def _flush(self) -> None:
        """Send the batch of this tick."""
        batch, self._open = self._open, None
        if batch is None:
            return
        for groups in self._open_groups:
            groups.clear()
        self._open_groups.clear()
        if self.outage.since is None:
            self.batches += 1
            self.requests += len(batch.order)
            self._send(batch)
        else:
            decide_batch_locally(batch, self._clock() * 1e6)

    def _send(self, batch: Batch) -> None:
        if self._is_split:
            self._send_parts(batch)
        else:
            args = arguments(batch)
            reply = asyncio.ensure_future(self._store.run(TAKE, [each.key for each in batch.keys], args))
            reply.add_done_callback(partial(self._on_reply, batch))
        batch.sent_at = self._clock()
        self._in_flight.append(batch)
        if self._timer is None:
            self._checked_at = batch.sent_at
            self._timer = self._loop.call_later(WATCH_S, self._check_late)

    def _send_parts(self, batch: Batch) -> None:
        batch.parts = split(batch)
        batch.missing = len(batch.parts)
        for part in batch.parts:
            keys = [each.key for each in part.keys]
            reply = asyncio.ensure_future(self._store.run(TAKE, keys, part.arguments()))
            reply.add_done_callback(partial(self._on_part, batch, part))

    def _send_probe(self) -> None:
        batch = self._batch()
        Group([self._probe], batch).join(batch)
        # Its timer was started by a request, whose unit may have been rejected.
        with unit_of_work():
            self._send(batch)

    def _check_late(self) -> None:
        """Decide the batches without a reply in time. One timer serves all batches.

        A batch is late if it was late at the check before: after a pause of this process, the replies that arrived
        meanwhile are read first.
        """
        self._timer = None
        late_by, self._checked_at = self._checked_at - self._timeout_s, self._clock()
        while self._in_flight and self._in_flight[0].sent_at <= late_by:
            self._fail(self._in_flight.pop(0), "no reply in time")
        if self._in_flight:
            self._timer = self._loop.call_later(WATCH_S, self._check_late)

    # Replies

    def _on_part(self, batch: Batch, part: Part, reply: asyncio.Future[Any]) -> None:
        """The last reply, and the first failure, decide a batch that is split."""
        ignore_exception(reply)
        if batch.is_decided:
            return
        if not reply.cancelled() and reply.exception() is None:
            part.reply = reply.result()
            batch.missing -= 1
            if batch.missing:
                return
        self._on_reply(batch, reply)

    def _on_reply(self, batch: Batch, reply: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if reply.cancelled() else reply.exception()
        if batch.is_decided:
            return  # too late
        self._in_flight.remove(batch)
        if error is not None:
            self._fail(batch, str(error) or type(error).__name__)
            return
        is_probe = batch.groups[0].allowances[0] is self._probe
        self._apply_reply(batch, self._merged(batch) if self._is_split else reply.result())
        if is_probe:
            self.outage.end()

    def _merged(self, batch: Batch) -> list[int]:
        """The replies of all parts as one, after giving back what some of them granted in vain."""
        reply, surplus = put_together(batch, batch.parts)
        for part, units in zip(batch.parts, surplus, strict=True):
            if any(units):
                keys, args = returned(part, units)
                # Without it, the units come back at the rate of their limit.
                asyncio.ensure_future(self._store.run(GIVE_BACK, keys, args)).add_done_callback(ignore_exception)
        return reply

    def _apply_reply(self, batch: Batch, reply: list[int]) -> None:
        """Give each group the decision of the store."""
        groups, keys = len(batch.groups), len(batch.keys)
        left, waits_us = reply[groups : groups + keys], reply[groups + keys : groups + 2 * keys]
        for group, granted in zip(batch.groups, reply, strict=False):
            group.granted, group.left, group.waits_us = granted, left, waits_us
            for each in group.allowances:
                each.rule.counts.granted += granted
        if 0 in left:
            self._note_spent(batch, left, waits_us, reply[groups + 2 * keys :])
        batch.decide()

    def _note_spent(self, batch: Batch, left: Sequence[int], waits_us: Sequence[int], short: Sequence[int]) -> None:
        now = self._clock()
        for key, key_left, wait_us, key_short in zip(batch.keys, left, waits_us, short, strict=True):
            rule = key.rule
            rule.counts.rejected += key_short
            if rule.limit.shadow:
                rule.counts.granted -= key_short
            elif not key_left:
                key.empty_until = now + wait_us * 1e-6

    def _fail(self, batch: Batch, reason: str) -> None:
        """The store has failed: decide the batch here, and those that follow until a probe gets its reply."""
        self.outage.begin(reason)
        decide_batch_locally(batch, self._clock() * 1e6)
