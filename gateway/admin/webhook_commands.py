"""The operator's commands on webhooks: endpoints, the delivery log, redelivery, enabling and disabling."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final

from cart.timestamps import rfc3339
from checkout.events.webhook_desk import EndpointView, UnknownWebhook, WebhookDesk
from checkout.ports.webhooks import Attempt
from gateway.control.commands import Command, CommandFailed

_NO_TIME: Final = "since must be a time with its zone, such as 2026-11-27T06:00:00Z"
_MIN_YEAR: Final = 2000


class WebhookCommands:
    """Any worker can run them: the messages are in the store. `names` are those of the endpoints now."""

    def __init__(self, desk: WebhookDesk, names: Callable[[], Collection[str]]) -> None:
        self._desk = desk
        self._names = names

    @property
    def by_name(self) -> Mapping[str, Command]:
        """Every command by its name on the control socket."""
        return {
            "webhooks": self._endpoints,
            "webhook_deliveries": self._deliveries,
            "redeliver_webhook": self._redeliver,
            "redeliver_webhooks_since": self._redeliver_since,
            "enable_webhook": self._enable,
            "disable_webhook": self._disable,
        }

    async def _endpoints(self, _arguments: dict[str, Any]) -> Any:
        return [endpoint_members(view) for view in await self._desk.endpoints(sorted(self._names()))]

    async def _deliveries(self, arguments: dict[str, Any]) -> Any:
        name, since_ms = self._known(arguments), since_ms_of(arguments.get("since"))
        limit = int(arguments.get("limit", 50))
        return [attempt_members(each) for each in await self._desk.deliveries(name, limit=limit, since_ms=since_ms)]

    async def _redeliver(self, arguments: dict[str, Any]) -> None:
        try:
            await self._desk.redeliver(self._known(arguments), arguments["webhook_id"])
        except UnknownWebhook:
            raise CommandFailed("that is no id of a webhook about an order") from None

    async def _redeliver_since(self, arguments: dict[str, Any]) -> Any:
        return await self._desk.redeliver_since(
            self._known(arguments),
            since_ms_of(arguments["since"]),
            delivered_too=bool(arguments.get("delivered_too", False)),
        )

    async def _enable(self, arguments: dict[str, Any]) -> None:
        await self._desk.enable(self._known(arguments))

    async def _disable(self, arguments: dict[str, Any]) -> None:
        await self._desk.disable(self._known(arguments))

    def _known(self, arguments: dict[str, Any]) -> str:
        name = str(arguments["endpoint"])
        if name not in self._names():
            raise CommandFailed(f"there is no webhook endpoint {name}")
        return name


def since_ms_of(text: str | None) -> int:
    """A time with its zone, RFC 3339, in Unix milliseconds; 0 for None. Raises `CommandFailed`."""
    if text is None:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CommandFailed(_NO_TIME) from None
    if at.tzinfo is None or at.year < _MIN_YEAR:
        raise CommandFailed(_NO_TIME)
    return round(at.timestamp() * 1000)


def endpoint_members(view: EndpointView) -> dict[str, Any]:
    """An endpoint as the admin API and the command line show it."""
    state = view.state
    return {
        "name": view.name,
        "state": state.disabled or ("down" if state.is_down else "paused" if state.paused_s else "open"),
        "failing_s": None if state.failing_s is None else round(state.failing_s),
        "waiting_orders": view.waiting.orders,
        "oldest_due_s": round(view.waiting.oldest_due_s),
    }


def attempt_members(attempt: Attempt) -> dict[str, Any]:
    """A line of the delivery log as the admin API and the command line show it."""
    return {
        "at": rfc3339(attempt.at),
        "webhook_id": f"{attempt.message.order_id}-{attempt.message.number}",
        "outcome": attempt.outcome,
        "attempt": attempt.attempt,
        "status": attempt.status,
        "error": attempt.error,
        "took_ms": attempt.took_ms,
    }
