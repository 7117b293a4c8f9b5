"""The keys of an issuer of tokens: fetched again and again, one fetch at a time, stale keys while the issuer fails.

Keys stay until the issuer shows others: an issuer that is unreachable, slow or sends an invalid document signs nobody out.
Each process fetches for itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from gateway.auth.key_fetch import fetch_document
from gateway.auth.key_set import KeySet, parse_key_set
from gateway.metrics import Metric, Sample
from primitives.backoff import Backoff

FETCH_TIMEOUT_S: Final = 3.0

_log = logging.getLogger("peakgate")


class Jwks:
    """The current keys of one issuer, refreshed by `run`, which lives as long as the process does.

    `update` changes their URL and how often they are fetched. State outlives a reload: the same URL keeps its keys;
    another URL begins without any, because an issuer that was trusted there is not trusted here.

    A refresh comes after `refresh_s`, jittered; after a failure with back-off from `retry_s` up to `refresh_s`. A token
    that names an unknown key may have the keys fetched at once, at most once in `min_requested_s`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        refresh_s: float = 300.0,
        retry_s: float = 1.0,
        min_requested_s: float = 5.0,
        timeout_s: float = FETCH_TIMEOUT_S,
        fetch: Callable[[str], Awaitable[bytes]] = fetch_document,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.keys = KeySet()
        self._url = url
        self._refresh_s = refresh_s
        self._retry_s = retry_s
        self._min_requested_s = min_requested_s
        self._timeout_s = timeout_s
        self._fetch = fetch
        self._clock = clock
        self._rng = rng
        self._backoff = Backoff(retry_s, refresh_s, chance=rng)
        self._wake = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []
        # Whether a fetch is requested or running, so that its end wakes the waiters.
        self._is_due = url is not None
        # Before `run` begins a waiter may wait for it; after its end nobody would wake one.
        self._is_fetching = True
        self._next_request_at = 0.0
        self._listeners: list[Callable[[], None]] = []
        self._fetched_at: float | None = None
        self._last_error: str | None = None
        self._fetches = {"ok": 0, "failed": 0}

    @property
    def is_unavailable(self) -> bool:
        """Whether the last fetch failed: an unknown key may exist."""
        return self._backoff.failures > 0

    def on_change(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever the keys change."""
        self._listeners.append(call)

    def update(self, url: str | None, refresh_s: float) -> None:
        """Fetch the keys from this URL, this often."""
        self._refresh_s = refresh_s
        failures, self._backoff = self._backoff.failures, Backoff(self._retry_s, refresh_s, chance=self._rng)
        if url == self._url:
            self._backoff.failures = failures
            return
        self._url = url
        self._last_error, self._fetched_at = None, None
        self._replace(KeySet())
        self._is_due = url is not None
        if url is None:
            self._wake_waiters()
        self._wake.set()

    def refresh(self) -> asyncio.Future[None] | None:
        """A future that is done after the next fetch, good or failed; all waiters share one fetch.

        None where waiting is useless: a fetch was requested a moment ago, so that tokens with made-up key names cannot
        flood the issuer with requests.
        """
        if not self._is_fetching:
            return None
        if self._is_due and self.is_unavailable:
            return None  # the fetch hangs or fails, and would only hold up more waiters
        if not self._is_due:
            now = self._clock()
            if self._url is None or now < self._next_request_at:
                return None
            self._next_request_at = now + self._min_requested_s
            self._is_due = True
            self._wake.set()
        # One for each waiter: cancelling a shared one would cancel it for all.
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    async def run(self) -> None:
        """Refresh the keys until cancelled."""
        self._is_fetching, self._is_due = True, self._url is not None
        try:
            while True:
                self._wake.clear()
                wait_s = None if self._url is None else await self._fetch_once(self._url)
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    self._is_due = True
        finally:
            # The URL stays: `run` goes on with it when it is restarted.
            self._is_fetching = False
            self._wake_waiters()

    async def _fetch_once(self, url: str) -> float:
        """Fetch once; returns the seconds until the next fetch."""
        error: Exception | None = None
        keys = KeySet()
        try:
            async with asyncio.timeout(self._timeout_s):
                document = await self._fetch(url)
            keys = parse_key_set(document)
        except (aiohttp.ClientError, OSError, ValueError) as failed:  # a TimeoutError is an OSError
            error = failed
        if url != self._url:
            return 0.0  # `update` named another URL meanwhile
        if error is not None:
            wait_s = self._failed(error)
        else:
            self._succeeded(keys)
            wait_s = self._refresh_s * (0.8 + 0.2 * self._rng())
        self._wake_waiters()
        return wait_s

    def _failed(self, error: Exception) -> float:
        self._fetches["failed"] += 1
        self._last_error = str(error) or type(error).__name__
        if not self._backoff.failures:
            _log.warning("could not fetch the keys of the issuer; known keys stay valid: %s", self._last_error)
        return self._backoff.next_delay_s()

    def _succeeded(self, keys: KeySet) -> None:
        self._fetches["ok"] += 1
        if self._backoff.failures:
            _log.info("fetched the keys of the issuer again")
        self._backoff.reset()
        self._last_error = None
        self._fetched_at = self._clock()
        self._replace(keys)

    def _replace(self, keys: KeySet) -> None:
        if keys.identities == self.keys.identities:
            return
        self.keys = keys
        for call in self._listeners:
            call()

    def _wake_waiters(self) -> None:
        self._is_due = False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def age_s(self) -> float | None:
        """The time since the last good fetch; None before the first."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    def snapshot(self) -> Mapping[str, Any]:
        """The source of the keys, their age, and the last error."""
        age_s = self.age_s
        return {
            "url": None if self._url is None else _without_secrets(self._url),
            "keys": len(self.keys),
            "age_s": None if age_s is None else round(age_s, 1),
            "failures_in_row": self._backoff.failures,
            "last_error": self._last_error,
        }

    def metrics(self) -> Iterable[Metric]:
        """Fetches by outcome, the number of keys and their age."""
        yield Metric(
            "peakgate_jwks_fetches_total",
            "Fetches of the issuer's keys, by outcome.",
            "counter",
            [Sample({"outcome": outcome}, count) for outcome, count in self._fetches.items()],
        )
        yield Metric("peakgate_jwks_keys", "Keys of the issuer.", "gauge", [Sample({}, len(self.keys))])
        if (age_s := self.age_s) is not None:
            yield Metric(
                "peakgate_jwks_age_seconds",
                "Time since the last good fetch of the issuer's keys.",
                "gauge",
                [Sample({}, age_s)],
            )


def _without_secrets(url: str) -> str:
    """A URL without its user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
