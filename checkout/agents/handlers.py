"""The calls of agents: sessions over carts and checkout. No HTTP and no store, only ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from cart.bodies import SetLine
from cart.coupons import is_coupon
from cart.currencies import is_currency
from cart.errors import CartClosed, CartNotFound, IdempotencyKeyReused, InvalidBody
from cart.handlers import CartHandlers
from cart.idempotency import validated_key
from cart.ids import parse_cart_id, parse_sku
from cart.model import CartId, OrderId, Sku
from cart.ports import PriceBook
from cart.timestamps import unix_ms
from cart.view import CartView
from checkout.agents.bodies import CompleteSession, CreateSession, LineItem, UpdateSession
from checkout.agents.errors import SessionChanged, SessionClosed, SessionNotFound
from checkout.agents.rendering import SessionRenderer
from checkout.agents.responses import Message, SessionView
from checkout.agents.session import Session, Stored, fingerprint, session_id_for
from checkout.handlers import CheckoutHandlers
from checkout.order import Order
from checkout.ports.agent_sessions import AgentSessions
from checkout.request import CheckoutRequest


class Call(NamedTuple):
    """A call of an agent: the name and the digest of its API key, the idempotency key and the undecoded body."""

    agent: str
    agent_key: str
    idempotency_key: str | None
    body: bytes


class Result(NamedTuple):
    """The session after a call; `replayed`: an earlier call with the same key has changed it."""

    view: SessionView
    replayed: bool = False


class AgentHandlers:
    """The calls of the protocol. A session belongs to its agent: no other agent finds it.

    Every call that changes a session needs an idempotency key. Repeated with its key it changes nothing, and returns the
    session as it is now. All raise `SessionNotFound`; those with a key raise `IdempotencyKeyMissing`, `IdempotencyKeyReused`
    for another body, and `SessionChanged` if another call changes the session at this moment.
    """

    def __init__(
        self,
        sessions: AgentSessions,
        carts: CartHandlers,
        checkout: CheckoutHandlers,
        prices: PriceBook,
        renderer: SessionRenderer,
        *,
        clock_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self._sessions = sessions
        self._carts = carts
        self._checkout = checkout
        self._prices = prices
        self._render = renderer
        self._clock_ms = clock_ms

    async def create(self, call: Call, body: CreateSession) -> Result:
        """Begin a session. Items that the shop does not have are left out, with a message.

        Raises `InvalidBody` for an unknown currency, `SessionClosed` if the session of this key was completed and has
        expired, and the errors of `CartHandlers.patch_lines`.
        """
        key = validated_key(call.idempotency_key)
        session_id, made_of = session_id_for(call.agent_key, key), fingerprint("create", call.body)
        stored = await self._sessions.read(session_id)
        if stored is not None:
            return await self._replay(stored, key, made_of)
        currency = body.currency.upper()
        if not is_currency(currency):
            raise InvalidBody([("/currency", "is no currency of ISO 4217")])
        now = self._clock_ms()
        session = Session(
            id=session_id,
            agent=call.agent,
            currency=currency,
            created_at=now,
            updated_at=now,
            buyer=body.buyer,
            details=body.fulfillment_details,
        )
        # Its cart is there already if an attempt got no further, or the session has expired.
        await self._carts.open_as(session_id, currency)
        try:
            view, unknown = await self._set_lines(session_id, body.line_items)
        except CartClosed:
            raise SessionClosed from None
        return await self._changed(Stored(session, 0), key, made_of, view, unknown)

    async def read(self, session_id: str, agent: str) -> SessionView:
        """The session as it is now."""
        session = (await self._stored(session_id, agent)).session
        return await self._view_of(session)

    async def update(self, session_id: str, call: Call, body: UpdateSession) -> Result:
        """Change a session that is open; line items replace those before.

        Raises `SessionClosed`, `InvalidBody` for an unknown shipping method, and the errors of `CartHandlers.patch_lines`.
        """
        key = validated_key(call.idempotency_key)
        stored, made_of = await self._stored(session_id, call.agent), fingerprint("update", call.body)
        if stored.session.fingerprint_of(key) is not None:
            return await self._replay(stored, key, made_of)
        session = self._with_changes(stored.session, body)
        try:
            if body.line_items is None:
                view, unknown = await self._open_cart(session.id), list[Message]()
            else:
                view, unknown = await self._set_lines(session.id, body.line_items)
        except (CartClosed, CartNotFound):
            raise SessionClosed from None
        return await self._changed(Stored(session, stored.version), key, made_of, view, unknown)

    async def complete(self, session_id: str, call: Call, body: CompleteSession) -> Result:
        """Order the session's cart, with the idempotency key of this call.

        Raises `InvalidBody` for what is missing, and the errors of `CheckoutHandlers.place`: `PriceChanged` and
        `TotalMismatch` if the agent was not told the total of now, which any other change of the session tells.
        """
        key = validated_key(call.idempotency_key)
        session = (await self._stored(session_id, call.agent)).session
        if session.is_canceled:
            raise SessionClosed
        placed = await self._checkout.place(
            _request(session, body, self._render.option_of(session)), idempotency_key=key
        )
        return Result(self._render.completed_session(session, placed.order), placed.replayed)

    async def cancel(self, session_id: str, call: Call) -> Result:
        """Give the session up. Raises `SessionClosed` if it is completed, or was canceled by another call."""
        key = validated_key(call.idempotency_key)
        stored, made_of = await self._stored(session_id, call.agent), fingerprint("cancel", b"")
        if stored.session.fingerprint_of(key) is not None:
            return await self._replay(stored, key, made_of)
        if stored.session.is_canceled:
            raise SessionClosed
        try:
            await self._carts.delete(stored.session.id)
        except CartClosed:
            raise SessionClosed from None
        except CartNotFound:
            pass  # by an attempt that got no further
        session = msgspec.structs.replace(stored.session, is_canceled=True, updated_at=self._clock_ms())
        await self._put(session.with_key(key, made_of), stored.version)
        return Result(self._render.canceled_session(session))

    # A session

    async def _stored(self, session_id: str, agent: str) -> Stored:
        parsed = parse_cart_id(session_id)
        stored = await self._sessions.read(parsed) if parsed is not None else None
        if stored is None or stored.session.agent != agent:
            raise SessionNotFound
        return stored

    async def _replay(self, stored: Stored, key: str, made_of: str) -> Result:
        if stored.session.fingerprint_of(key) != made_of:
            raise IdempotencyKeyReused
        return Result(await self._view_of(stored.session), replayed=True)

    async def _changed(
        self, stored: Stored, key: str, made_of: str, view: CartView, unknown: Sequence[Message]
    ) -> Result:
        """Store a changed session, with the total that its agent is told now."""
        priced = await self._render.quote(stored.session, view)
        session = msgspec.structs.replace(
            stored.session,
            updated_at=self._clock_ms(),
            shown_total=None if priced is None else priced.amounts.total,
        )
        await self._put(session.with_key(key, made_of), stored.version)
        return Result(self._render.open_session(session, view, priced, unknown))

    async def _put(self, session: Session, version: int) -> None:
        if not await self._sessions.put(session, version=version):
            raise SessionChanged

    def _with_changes(self, session: Session, body: UpdateSession) -> Session:
        if session.is_canceled:
            raise SessionClosed
        options = {each.option_id for each in body.selected_fulfillment_options or ()}
        if len(options) > 1 or not all(map(self._render.is_option, options)):
            raise InvalidBody([("/selected_fulfillment_options", "must name one of the shop's fulfillment options")])
        return msgspec.structs.replace(
            session,
            buyer=body.buyer or session.buyer,
            details=body.fulfillment_details or session.details,
            option_id=next(iter(options), session.option_id),
        )

    async def _view_of(self, session: Session) -> SessionView:
        """A session in any state. One whose cart is gone was canceled, by a call that got no further."""
        try:
            view = await self._carts.read(session.id)
        except CartNotFound:
            return self._render.canceled_session(session)
        if view.cart.order_id is None:
            return self._render.open_session(session, view, await self._render.quote(session, view))
        return self._render.completed_session(session, await self._order(view.cart.order_id))

    async def _order(self, order_id: OrderId) -> Order:
        return await self._checkout.read(order_id)

    # Its cart

    async def _open_cart(self, cart_id: CartId) -> CartView:
        view = await self._carts.read(cart_id)
        if view.cart.status != "open":
            raise CartClosed
        return view

    async def _set_lines(self, cart_id: CartId, items: Sequence[LineItem]) -> tuple[CartView, list[Message]]:
        """Replace the lines of the cart; items of one SKU are added up, unknown ones left out."""
        wanted, unknown = await self._known(items)
        view = await self._open_cart(cart_id)
        gone = [SetLine(line.sku, 0) for line in view.cart.lines if line.sku not in wanted and not is_coupon(line.sku)]
        changes = [*gone, *(SetLine(sku, quantity) for sku, quantity in wanted.items())]
        return (await self._carts.patch_lines(cart_id, changes) if changes else view), unknown

    async def _known(self, items: Sequence[LineItem]) -> tuple[dict[Sku, int], list[Message]]:
        skus = [parse_sku(each.item.id) for each in items]
        products = await self._prices.products([sku for sku in skus if sku is not None])
        wanted: dict[Sku, int] = {}
        unknown = []
        for index, (each, sku) in enumerate(zip(items, skus, strict=True)):
            if sku is None or sku not in products:
                at = f"$.line_items[{index}]"
                unknown.append(Message("error", "not_found", "The shop does not have this item.", at))
            else:
                wanted[sku] = wanted.get(sku, 0) + each.quantity
        return wanted, unknown


def _request(session: Session, body: CompleteSession, option_id: str) -> CheckoutRequest:
    """The checkout of a session. Raises `InvalidBody`."""
    buyer = body.buyer or session.buyer
    details = session.details
    email = (buyer.email if buyer is not None else None) or (details.email if details is not None else None)
    address = details.address if details is not None else None
    if email is None:
        raise InvalidBody([("/buyer/email", "is missing")])
    if address is None:
        raise InvalidBody([("/fulfillment_details/address", "is missing")])
    try:
        return msgspec.convert(
            {
                "cart_id": session.id,
                "email": email,
                "shipping_address": {
                    "name": address.name or (details.name if details is not None else None) or "",
                    "line1": address.line_one,
                    "line2": address.line_two or None,
                    # The shop's addresses have no line for a state: it stands behind the city, as on an envelope.
                    "city": ", ".join(filter(None, (address.city, address.state))),
                    "postcode": address.postal_code,
                    "country": address.country,
                },
                "payment": {"token": body.payment_data.instrument.credential.token},
                "shipping_method": option_id,
                "expected_total": (
                    None
                    if session.shown_total is None
                    else {"amount": session.shown_total, "currency": session.currency}
                ),
            },
            CheckoutRequest,
        )
    except msgspec.ValidationError as invalid:
        raise InvalidBody([("/fulfillment_details/address", str(invalid))]) from None
