"""One target of an upstream: its address, its health, and its connections."""

from __future__ import annotations

import ssl

from gateway.config.policies import Upstream
from gateway.http.head_limits import DEFAULT_HEAD_LIMITS, HeadLimits
from gateway.proxy.address import Address
from gateway.proxy.errors import UpstreamFault
from gateway.proxy.health import TargetHealth
from gateway.proxy.pool import ConnectionPool


class Target:
    """A target as an upstream's table configures it."""

    __slots__ = ("_eject_s", "_failures_to_eject", "address", "health", "pool", "truncated_streams")

    def __init__(
        self,
        address: Address,
        health: TargetHealth,
        table: Upstream,
        *,
        tls: ssl.SSLContext,
        limits: HeadLimits = DEFAULT_HEAD_LIMITS,
    ) -> None:
        self.address = address
        self.health = health
        self.pool = ConnectionPool(
            address,
            max_connections=table.max_connections,
            connect_timeout_s=table.connect_timeout_s,
            buffer_bytes=table.buffer_bytes,
            tls=tls,
            on_stream_end=self._stream_ended,
            limits=limits,
        )
        self._failures_to_eject = table.failures_to_eject
        self._eject_s = table.eject_s
        # Streamed responses that ended too early.
        self.truncated_streams = 0

    def configure(self, table: Upstream) -> None:
        """Apply another table."""
        self.pool.configure(
            max_connections=table.max_connections,
            connect_timeout_s=table.connect_timeout_s,
            buffer_bytes=table.buffer_bytes,
        )
        self._failures_to_eject = table.failures_to_eject
        self._eject_s = table.eject_s

    @property
    def is_available(self) -> bool:
        """Whether requests should be sent to it."""
        return self.health.is_available

    @property
    def outstanding(self) -> int:
        """Requests in progress."""
        return self.pool.outstanding

    def failed(self, reason: str) -> None:
        """Count a request that the target did not serve."""
        self.health.failed(reason, failures_to_eject=self._failures_to_eject, eject_s=self._eject_s)

    def _stream_ended(self, fault: UpstreamFault | None) -> None:
        if fault is None:
            self.health.succeeded()
        else:
            self.truncated_streams += 1
            self.failed(str(fault))
