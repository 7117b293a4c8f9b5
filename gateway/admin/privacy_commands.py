"""The operator's command that erases a shopper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from checkout.ports.order_index import Shopper
from checkout.privacy.erasure import Eraser
from gateway.control.commands import Command


class PrivacyCommands:
    """Any worker can run it: the orders are in the store and in the archive."""

    def __init__(self, eraser: Eraser) -> None:
        self._eraser = eraser

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {"erase_shopper": self._erase}

    async def _erase(self, arguments: dict[str, Any]) -> Any:
        return msgspec.to_builtins(await self._eraser.erase(msgspec.convert(arguments, Shopper)))
