"""`peakgate webhooks …`: endpoints, the delivery log, and delivering again."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from checkout.events.webhook_desk import UnknownWebhook, WebhookDesk
from gateway.admin.webhook_commands import attempt_members, endpoint_members, since_ms_of
from gateway.commands.order_session import EX_OK, Refused, Say, run_with_tools
from gateway.commands.tables import print_json, print_table
from gateway.compose.order_tools import OrderTools
from gateway.control.commands import CommandFailed
from gateway.settings import Settings


def list_endpoints(settings: Settings, *, as_json: bool, say: Say) -> int:
    """Print the endpoints."""

    async def act(desk: WebhookDesk) -> None:
        names = [each.name for each in settings.policies.webhooks]
        views = [endpoint_members(each) for each in await desk.endpoints(names)]
        if as_json:
            print_json({"endpoints": views})
            return
        columns = ("name", "state", "failing_s", "waiting_orders", "oldest_due_s")
        print_table(columns, [[_text(view[column]) for column in columns] for view in views])

    return _run(settings, act, say=say)


def list_deliveries(
    settings: Settings, endpoint: str, *, limit: int, since: str | None, as_json: bool, say: Say
) -> int:
    """Print the delivery log of an endpoint."""

    async def act(desk: WebhookDesk) -> None:
        _check(settings, endpoint)
        attempts = await desk.deliveries(endpoint, limit=limit, since_ms=since_ms_of(since))
        lines = [attempt_members(each) for each in attempts]
        if as_json:
            print_json({"deliveries": lines})
            return
        columns = ("at", "webhook_id", "outcome", "attempt", "status", "error", "took_ms")
        print_table(columns, [[_text(line[column]) for column in columns] for line in lines])

    return _run(settings, act, say=say)


def redeliver(
    settings: Settings, endpoint: str, webhook_id: str | None, *, since: str | None, delivered_too: bool, say: Say
) -> int:
    """Deliver one webhook again, or those since a time."""

    async def act(desk: WebhookDesk) -> None:
        _check(settings, endpoint)
        count = 1
        if webhook_id is not None:
            try:
                await desk.redeliver(endpoint, webhook_id)
            except UnknownWebhook:
                raise Refused("that is no id of a webhook; `peakgate webhooks deliveries` shows them") from None
        else:
            count = await desk.redeliver_since(endpoint, since_ms_of(since), delivered_too=delivered_too)
        sys.stdout.write(f"{count:,} webhooks are delivered again\n")

    return _run(settings, act, say=say)


def switch_endpoint(settings: Settings, endpoint: str, *, is_enabled: bool, say: Say) -> int:
    """Enable or disable an endpoint."""

    async def act(desk: WebhookDesk) -> None:
        _check(settings, endpoint)
        await (desk.enable if is_enabled else desk.disable)(endpoint)
        sys.stdout.write(f"{endpoint} is {'enabled' if is_enabled else 'disabled'}\n")

    return _run(settings, act, say=say)


def _run(settings: Settings, act: Callable[[WebhookDesk], Awaitable[None]], *, say: Say) -> int:
    async def with_tools(tools: OrderTools) -> int:
        try:
            await act(tools.webhooks)
        except CommandFailed as error:
            raise Refused(str(error)) from error
        return EX_OK

    return run_with_tools(settings, with_tools, say=say)


def _check(settings: Settings, endpoint: str) -> None:
    names = [each.name for each in settings.policies.webhooks]
    if endpoint not in names:
        raise Refused(
            f"there is no webhook endpoint {endpoint!r}; those of the configuration: {', '.join(names) or 'none'}"
        )


def _text(value: object) -> str:
    return "-" if value is None else str(value)
