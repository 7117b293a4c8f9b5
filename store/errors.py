"""Errors of the store."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Final


class Reason(StrEnum):
    """Why the store is unavailable, as logs, readiness and responses name it."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CUT_OFF = "cut-off"
    CLOSED = "closed"
    FULL_MEMORY = "full-memory"
    FULL_DISK = "full-disk"
    READONLY = "readonly"
    LOADING = "loading"
    BUSY = "busy"
    TOO_FEW_REPLICAS = "too-few-replicas"
    CLUSTER_DOWN = "cluster-down"

    @property
    def is_full(self) -> bool:
        """Whether the store has no room for writes; it still answers reads."""
        return self in {Reason.FULL_MEMORY, Reason.FULL_DISK}


# Error replies of a server that runs no such command now. It has not run the command: the server checks before it, and a
# script that has written already is never interrupted by one of these.
REASON_BY_CODE: Final[Mapping[str, Reason]] = {
    "OOM": Reason.FULL_MEMORY,
    "MISCONF": Reason.FULL_DISK,
    "READONLY": Reason.READONLY,
    "MASTERDOWN": Reason.READONLY,
    # Sent to a command that the server holds back when the server becomes a replica.
    "UNBLOCKED": Reason.READONLY,
    "LOADING": Reason.LOADING,
    "BUSY": Reason.BUSY,
    "NOREPLICAS": Reason.TOO_FEW_REPLICAS,
    "CLUSTERDOWN": Reason.CLUSTER_DOWN,
    "TRYAGAIN": Reason.CLUSTER_DOWN,
}


class StoreError(Exception):
    """Any failure of a store call."""


class StoreUnavailable(StoreError):
    """The store could not be reached, cannot serve now, or its connection was lost before the reply arrived.

    `may_have_run` tells whether the command may have taken effect: only when it is false is a
    command that changes something safe to repeat blindly. `reason` is the same in one word.
    """

    # The outage is logged where it is noticed, not by each call that fails (`primitives.outages`).
    is_logged_once: ClassVar[bool] = True

    def __init__(self, detail: str, *, may_have_run: bool = False, reason: Reason = Reason.UNREACHABLE) -> None:
        super().__init__(detail)
        self.may_have_run = may_have_run
        self.reason = reason


class StoreTimeout(StoreUnavailable):
    """No reply within the command's deadline."""

    def __init__(self, detail: str, *, may_have_run: bool = False) -> None:
        super().__init__(detail, may_have_run=may_have_run, reason=Reason.TIMEOUT)


class StorePartlyUnavailable(StoreUnavailable):
    """Some servers of a cluster cannot serve, the others do; the text names the former."""


class StoreOverloaded(StoreError):
    """Too many commands are waiting already; nothing was sent."""

    may_have_run: ClassVar[bool] = False


class ReplyError(StoreError):
    """The server's own error reply to a command that it will not run, such as `WRONGTYPE Operation against …`."""

    @property
    def code(self) -> str:
        """The first word of the reply, upper case by the server's convention: `NOSCRIPT`, `WRONGTYPE`, `ERR`."""
        return str(self).partition(" ")[0]
