"""A network between a checkout and its ports that fails at one call, in every way that a network can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from tests.contract.checkout.shop import Killed, Shop

Call = Callable[[], Awaitable[Any]]


class CallFailed(Exception):
    """The error of an adapter."""

    def __init__(self, *, may_have_run: bool) -> None:
        super().__init__("may have run" if may_have_run else "was not sent")
        self.may_have_run = may_have_run


class Kind(StrEnum):
    """What happens to the call."""

    NOT_SENT = "not sent"
    REQUEST_LOST = "its request is lost"
    REPLY_LOST = "its reply is lost"
    RUNS_LATE = "it fails, and runs when the next call has ended"
    RUNS_TOO_LATE = "it fails, and runs when the whole request has ended"
    NEXT_LOST_TOO = "it and the next call fail, and it runs when the whole request has ended"
    SERVER_FAILS = "it runs, and an error comes back that says nothing about that"
    # The claim expires first.
    DELAYED = "it runs when the claim has expired"
    OVERTAKEN = "it runs when the claim has expired and the shopper has tried again"
    REPLY_DELAYED = "its reply comes when the claim has expired"
    REPLY_OVERTAKEN = "its reply comes when the claim has expired and the shopper has tried again"
    # And every call after it fails.
    STORE_GONE = "the store goes before it"
    STORE_GONE_AFTER = "the store goes when it has run"
    KILLED = "the process dies before it"
    KILLED_AFTER = "the process dies when it has run"


LASTING = {Kind.STORE_GONE, Kind.STORE_GONE_AFTER, Kind.KILLED, Kind.KILLED_AFTER}
OVERTAKING = {Kind.OVERTAKEN, Kind.REPLY_OVERTAKEN}


class FaultyNetwork:
    """The ports of a shop, behind a network that fails at call number `at`, from 1.

    `expire_claim` is called for the kinds in which the claim expires, and `try_again` for those in which the shopper is
    impatient.
    """

    def __init__(
        self, shop: Shop, kind: Kind, at: int, *, expire_claim: Call, try_again: Call, after_commit: Call | None = None
    ) -> None:
        self.count = 0
        self.orders: Any = _Port(self, shop.orders)
        self.stock: Any = _Port(self, shop.stock)
        self.late: list[Call] = []
        self.after_commit = after_commit
        self._kind = kind
        self._at = at
        self._expire_claim = expire_claim
        self._try_again = try_again

    @property
    def has_failed(self) -> bool:
        return self.count >= self._at

    async def run_late_calls(self) -> None:
        """Run what was on its way when it was given up."""
        while self.late:
            await self.late.pop()()

    async def call(self, call: Call) -> Any:
        self.count += 1
        if self.count < self._at:
            return await call()
        if self.count > self._at:
            return await self._after_the_fault(call)
        return await self._fail(call)

    async def _after_the_fault(self, call: Call) -> Any:
        if self._kind in {Kind.KILLED, Kind.KILLED_AFTER}:
            raise Killed
        if self._kind in LASTING:
            raise CallFailed(may_have_run=False)
        if self._kind is Kind.NEXT_LOST_TOO and self.count == self._at + 1:
            raise CallFailed(may_have_run=True)
        result = await call()
        if self._kind is Kind.RUNS_LATE:
            await self.run_late_calls()
        return result

    async def _fail(self, call: Call) -> Any:
        match self._kind:
            case Kind.NOT_SENT | Kind.STORE_GONE:
                raise CallFailed(may_have_run=False)
            case Kind.REQUEST_LOST:
                raise CallFailed(may_have_run=True)
            case Kind.REPLY_LOST | Kind.STORE_GONE_AFTER:
                await call()
                raise CallFailed(may_have_run=True)
            case Kind.RUNS_LATE | Kind.RUNS_TOO_LATE | Kind.NEXT_LOST_TOO:
                self.late.append(call)
                raise CallFailed(may_have_run=True)
            case Kind.SERVER_FAILS:
                await call()
                raise RuntimeError("a fault of the server")
            case Kind.KILLED:
                raise Killed
            case Kind.KILLED_AFTER:
                await call()
                raise Killed
        return await self._slowly(call)

    async def _slowly(self, call: Call) -> Any:
        comes_first = self._kind in {Kind.REPLY_DELAYED, Kind.REPLY_OVERTAKEN}
        result = await call() if comes_first else None
        await self._expire_claim()
        if self._kind in OVERTAKING:
            await self._try_again()
        return result if comes_first else await call()


class _Port:
    """An adapter behind the network."""

    def __init__(self, network: FaultyNetwork, adapter: Any) -> None:
        self._network = network
        self._adapter = adapter

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._adapter, name)

        async def run(*args: Any, **options: Any) -> Any:
            result = await method(*args, **options)
            if name == "commit" and self._network.after_commit is not None:
                await self._network.after_commit()
            return result

        return lambda *args, **options: self._network.call(lambda: run(*args, **options))
