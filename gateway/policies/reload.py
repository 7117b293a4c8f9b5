"""The policies that a worker goes by, and how others take their place: prepared first, swapped in when all workers can."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from gateway.config.file import Config, ConfigError, read_text
from gateway.config.policies import Policies
from gateway.control.commands import Command, Refused
from gateway.metrics import Metric, Sample

_log = logging.getLogger("peakgate")

# Puts what was prepared in force: at once, without waiting or failing.
Swap = Callable[[], None]
# Builds what the policies ask for beside what runs. Raises `Refused`, or anything else, for what cannot be.
Prepare = Callable[[Policies], Awaitable[Swap]]


class PolicyReload:
    """What a worker was last told to go by. `on_reload` says what to do with others; until then they are taken as they are."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._prepare: Prepare = _nothing_to_prepare
        self._prepared: tuple[Config, Swap] | None = None

    def on_reload(self, prepare: Prepare) -> None:
        """From now on, new policies are built by `prepare` and put in force by what it returns."""
        self._prepare = prepare

    @property
    def commands(self) -> Mapping[str, Command]:
        """`prepare {text}` builds policies, `commit {digest}` puts the ones prepared last in force."""
        return {"prepare": self._on_prepare, "commit": self._on_commit}

    async def take(self, text: str) -> None:
        """Both at once, for a text that is not in force already. Raises `Refused`."""
        if text != self.config.text:
            digest = await self._on_prepare({"text": text})
            await self._on_commit({"digest": digest})

    async def _on_prepare(self, facts: dict[str, Any]) -> str:
        try:
            config = read_text(facts["text"])
        except ConfigError as error:
            raise Refused("; ".join(error.faults)) from error
        self._prepared = (config, await self._prepare(config.policies))
        return config.digest

    async def _on_commit(self, facts: dict[str, Any]) -> str:
        if self._prepared is None or self._prepared[0].digest != facts["digest"]:
            raise Refused(f"{facts['digest']} was not prepared here")
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
            "1 for the digest of the policies that the worker goes by.",
            "gauge",
            [Sample({"digest": self.config.digest}, 1.0)],
        )


async def _nothing_to_prepare(_policies: Policies) -> Swap:
    return lambda: None
