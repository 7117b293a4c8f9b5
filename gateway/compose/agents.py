"""Checkout sessions for agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from cart.handlers import CartHandlers
from cart.ports import PriceBook
from checkout.agents.handlers import AgentHandlers
from checkout.agents.rendering import SessionRenderer
from checkout.handlers import CheckoutHandlers
from checkout.ports.agent_sessions import AgentSessions
from checkout.tariff.tariff import TariffInForce
from gateway.api.agent_routes import agent_routes
from gateway.api.binding import Route
from gateway.config.policies import Agents
from gateway.prerequisites import CannotStart


def open_agents(
    table: Agents,
    sessions: AgentSessions,
    *,
    carts: CartHandlers,
    checkout: CheckoutHandlers,
    prices: PriceBook,
    tariff: TariffInForce,
) -> Sequence[Route]:
    """The routes of agents; without keys they reject every call. Raises `CannotStart`."""
    renderer = SessionRenderer(
        checkout.pricing,
        tariff,
        order_url=table.order_url or "",
        capabilities=_capabilities(table.payment_handlers_file),
    )
    handlers = AgentHandlers(sessions, carts, checkout, prices, renderer)
    return agent_routes(handlers)


def _capabilities(file: str | None) -> dict[str, Any]:
    """The payment handlers that sessions name, if there is a file of them."""
    if file is None:
        return {}
    try:
        handlers = msgspec.json.decode(Path(file).read_bytes(), type=list[dict[str, Any]])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotStart(f"agents.payment_handlers_file: {file} is no JSON array of objects: {error}") from error
    return {"payment": {"handlers": handlers}}
