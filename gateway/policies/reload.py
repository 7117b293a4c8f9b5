"""Reload of the policies of a worker in two phases: all workers prepare, then all commit."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from gateway.config.file import Config, ConfigError, read_text
from gateway.config.policies import Policies
from gateway.control.commands import Command, CommandFailed
from gateway.metrics import Metric, Sample

_log = logging.getLogger("peakgate")

# Makes prepared policies active, without waiting or failing.
Swap = Callable[[], None]
# Builds new policies beside the active ones. Any exception rejects them.
Prepare = Callable[[Policies], Awaitable[Swap]]


class PolicyReload:
    """Prepares and commits the policies of a worker. Until `on_reload`, they are stored and change nothing."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._prepare: Prepare = _nothing_to_prepare
        self._prepared: tuple[Config, Swap] | None = None

    def on_reload(self, prepare: Prepare) -> None:
        """Build new policies with `prepare` from now on; the swap it returns makes them active."""
        self._prepare = prepare

    @property
    def commands(self) -> Mapping[str, Command]:
        """`prepare {text}` builds policies, `commit {digest}` makes the ones prepared last active."""
        return {"prepare": self._on_prepare, "commit": self._on_commit}

    async def take(self, text: str) -> None:
        """Prepare and commit, unless the text is active already. Raises `CommandFailed`."""
        if text != self.config.text:
            digest = await self._on_prepare({"text": text})
            await self._on_commit({"digest": digest})

    async def _on_prepare(self, arguments: dict[str, Any]) -> str:
        try:
            config = read_text(arguments["text"])
        except ConfigError as error:
            raise CommandFailed("; ".join(error.errors)) from error
        self._prepared = (config, await self._prepare(config.policies))
        return config.digest

    async def _on_commit(self, arguments: dict[str, Any]) -> str:
        if self._prepared is None or self._prepared[0].digest != arguments["digest"]:
            raise CommandFailed(f"{arguments['digest']} was not prepared here")
        config, swap = self._prepared
        self._prepared = None
        swap()
        self.config = config
        return config.digest

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return {"digest": self.config.digest}

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_policies_info",
            "1 for the digest of the worker's active policies.",
            "gauge",
            [Sample({"digest": self.config.digest}, 1.0)],
        )


async def _nothing_to_prepare(_policies: Policies) -> Swap:
    return lambda: None
