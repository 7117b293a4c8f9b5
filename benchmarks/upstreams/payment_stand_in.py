"""A payment service that fails as real ones do: it charges and then hangs, stores failures, and forgets keys after a day.

It speaks the contract of `docs/payments.md` (`/payments/…`) and the part of Stripe's API that Peakgate uses (`/v1/…`). Like
Stripe it keeps the response to each idempotency key, a failure too, for `KEY_LIFE_S`, and then forgets the key: the same
call would charge again. It is no wiser than that: two calls with two keys are two payments. `ledger` lists every movement.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from checkout.payments.transport import Reply
from primitives.webhook_signature import InvalidWebhookSignature, WebhookSigner

KEY_LIFE_S: Final = 86_400
AUTHORISED_S: Final = 7 * 86_400
# Every other token is approved; the second use of the last one is declined.
DECLINED_TOKENS: Final = frozenset({"tok_declined", "pm_card_chargeDeclined"})
SINGLE_USE: Final = "tok_single_use"


class Fault(Enum):
    """The failure of a call."""

    NONE = "none"
    LOST = "lost"
    """It is not carried out, and there is no response."""
    HANGS = "hangs"
    """It is carried out, and there is no response."""
    FAILS = "fails"
    """It is not carried out, and the response is a stored 500."""
    FAILS_LATE = "fails late"
    """It is carried out, and the response is a stored 500."""
    BUSY = "busy"
    """It is rejected before it begins."""


class Movement(msgspec.Struct, frozen=True):
    """A change in the ledger: `authorised`, `captured`, `voided` or `refunded`."""

    order_id: str
    kind: str
    amount: int
    reference: str


class Webhook(msgspec.Struct, frozen=True):
    """An event, to be delivered with `PaymentStandIn.signed`."""

    id: str
    body: bytes


@dataclass
class Account:
    """One payment of an order. A claim was never confirmed, and holds nothing."""

    reference: str
    order_id: str
    number: int
    amount: int
    created_s: float
    is_claim: bool = False
    is_declined: bool = False
    captured: int = 0
    voided: bool = False
    # Why Stripe has cancelled it, if it was not this shop.
    cancellation_reason: str | None = None
    refunds: dict[str, int] = field(default_factory=dict)

    @property
    def refunded(self) -> int:
        """What was returned."""
        return sum(self.refunds.values())


class Refusal(Exception):
    """The response of a call that is refused."""

    def __init__(self, status: int, code: str, *, account: Account | None = None, kind: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.account = account
        self.kind = kind


class PaymentStandIn:
    """The service. `fault(operation)` gives the failure of the next call; `clock` gives Unix seconds.

    `signer` verifies the requests of the contract. `search_lag_s`: so late Stripe's search finds a payment.
    `on_webhook` gets each event at once, before the response to the call that caused it.
    """

    def __init__(
        self,
        *,
        signer: WebhookSigner | None = None,
        webhook_secret: str = "whsec_stand_in",  # noqa: S107 - of tests
        search_lag_s: float = 0.0,
        fault: Callable[[str], Fault] = lambda _operation: Fault.NONE,
        clock: Callable[[], float] = time.time,
        on_webhook: Callable[[Webhook], None] = lambda _webhook: None,
    ) -> None:
        self.ledger: list[Movement] = []
        self.accounts: dict[str, Account] = {}
        self.look_ups: Counter[str] = Counter()
        self.faults: Counter[tuple[str, Fault]] = Counter()
        self.fault = fault
        self.on_webhook = on_webhook
        self._of_order: dict[str, list[Account]] = {}
        self._closed: set[str] = set()
        self._keys: dict[str, tuple[float, str, Reply]] = {}
        self._signer = signer
        self._webhook_secret = webhook_secret
        self._search_lag_s = search_lag_s
        self._clock = clock
        self._ids = itertools.count(1)

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """The response to a request, None if there is none. The names of `headers` are in lower case."""
        url = urlsplit(target)
        is_stripe = url.path.startswith("/v1/")
        render = self._stripe_error if is_stripe else _contract_error
        try:
            self._verify(headers, body, is_stripe=is_stripe)
            run = self._call(method, url.path, url.query, body, is_stripe=is_stripe)
            if method == "GET":
                return _reply(200, run())
            return self._once(headers.get("idempotency-key", ""), f"{target} {body!r}", run, render, url.path)
        except Refusal as refusal:
            return render(refusal)

    def _call(self, method: str, path: str, query: str, body: bytes, *, is_stripe: bool) -> Callable[[], Any]:
        if is_stripe:
            form = dict(parse_qsl(body.decode() or query))
            return lambda: self._stripe(method, path, form)
        content = msgspec.json.decode(body or b"{}")
        return lambda: self._contract(method, path, content)

    def signed(self, webhook: Webhook, *, as_stripe: bool) -> dict[str, str]:
        """The headers with which an event is delivered now."""
        if not as_stripe:
            assert self._signer is not None
            return self._signer.headers(webhook.id, webhook.body)
        at = str(int(self._clock()))
        signature = hmac.digest(self._webhook_secret.encode(), at.encode() + b"." + webhook.body, hashlib.sha256)
        return {"stripe-signature": f"t={at},v1={signature.hex()}"}

    # Keys and faults

    def _once(
        self, key: str, request: str, run: Callable[[], Any], render: Callable[[Refusal], Reply], path: str
    ) -> Reply | None:
        stored = self._keys.get(key)
        if stored is not None and self._clock() - stored[0] < KEY_LIFE_S:
            if stored[1] != request:
                raise Refusal(400, "idempotency_key_in_use", kind="idempotency_error")
            return msgspec.structs.replace(stored[2], headers={"idempotent-replayed": "true"})
        operation = path.rpartition("/")[2].split("_")[0]
        fault = self.fault(operation)
        self.faults[operation, fault] += 1
        if fault is Fault.LOST:
            return None
        if fault is Fault.BUSY:
            return _reply(503, {})
        reply = _reply(500, {"error": {"type": "api_error"}})
        if fault is not Fault.FAILS:
            try:
                done = _reply(200, run())
            except Refusal as refusal:
                done = render(refusal)
            if fault is not Fault.FAILS_LATE:
                reply = done
        self._keys[key] = (self._clock(), request, reply)
        return None if fault is Fault.HANGS else reply

    def _verify(self, headers: Mapping[str, str], body: bytes, *, is_stripe: bool) -> None:
        if is_stripe:
            if not headers.get("authorization", "").startswith("Bearer ") or "stripe-version" not in headers:
                raise Refusal(401, "unauthorised")
        elif self._signer is not None:
            try:
                self._signer.verify(headers, body)
            except InvalidWebhookSignature as error:
                raise Refusal(401, error.reason) from error

    # Movements

    def _authorise(self, order_id: str, number: int, amount: int, token: str, *, is_claim: bool = False) -> Account:
        known = self._of_order.setdefault(order_id, [])
        account = Account(f"pi_{next(self._ids)}", order_id, number, amount, self._clock(), is_claim=is_claim)
        if order_id in self._closed:
            raise Refusal(402, "card_declined", account=account)
        known.append(account)
        self.accounts[account.reference] = account
        if is_claim:
            return account
        if token in DECLINED_TOKENS or (token == SINGLE_USE and len(known) > 1):
            account.is_declined = True
            self._publish(account, "declined", account.amount)
            raise Refusal(402, "card_declined", account=account)
        self._record(account, "authorised", amount)
        return account

    def _capture(self, account: Account) -> Account:
        if account.captured or account.voided or account.is_declined:
            raise Refusal(400, "payment_intent_unexpected_state", account=account)
        if self._clock() - account.created_s >= AUTHORISED_S:
            raise Refusal(402, "authorisation_expired", account=account)
        account.captured = account.amount
        self._record(account, "captured", account.amount)
        return account

    def _void(self, account: Account) -> Account:
        if account.voided or account.captured:
            raise Refusal(400, "payment_intent_unexpected_state", account=account)
        account.voided = True
        if not account.is_claim:
            self._record(account, "voided", account.amount)
        return account

    def _refund(self, account: Account, refund_id: str, amount: int) -> Account:
        if account.refunded + amount > account.captured:
            raise Refusal(402, "charge_already_refunded", account=account)
        # A second call with another key is a second refund, also if its name is the same.
        name = refund_id if refund_id not in account.refunds else f"{refund_id}+{next(self._ids)}"
        account.refunds[name] = amount
        self._record(account, "refunded", amount)
        return account

    def _record(self, account: Account, kind: str, amount: int) -> None:
        self.ledger.append(Movement(account.order_id, kind, amount, account.reference))
        self._publish(account, kind, account.refunded if kind == "refunded" else amount)

    def _publish(self, account: Account, kind: str, amount: int) -> None:
        """An event that each dialect can read: its members do not collide."""
        at, number = self._clock(), next(self._ids)
        name, member = _STRIPE_EVENTS[kind]
        event = {
            "id": f"evt_{number}",
            "type": f"payment.{kind}" if self._signer is not None else name,
            "order_id": account.order_id,
            "at": _rfc3339(at),
            "created": int(at),
            "amount": amount,
            "reference": account.reference,
            "data": {"object": {**self._intent(account), member: amount}},
        }
        self.on_webhook(Webhook(f"evt_{number}", msgspec.json.encode(event)))

    def _latest(self, order_id: str) -> Account | None:
        accounts = self._of_order.get(order_id, [])
        return max(accounts, key=lambda a: (a.captured > 0, not (a.voided or a.is_declined), a.number), default=None)

    # The contract

    def _contract(self, method: str, path: str, content: dict[str, Any]) -> Any:
        match [unquote(part) for part in path.split("/")[2:]]:
            case [order_id]:
                self.look_ups[order_id] += 1
                account = self._latest(order_id)
                if account is None:
                    raise Refusal(404, "not_found")
                return self._payment(account)
            case [order_id, "authorise"]:
                number, amount = content["authorisation"], content["amount"]
                return self._payment(self._authorise(order_id, number, amount, content["token"]))
            case [_, "capture"]:
                account = self.accounts[content["reference"]]
                return self._payment(account if account.captured else self._capture(account))
            case [order_id, "void"]:
                self._closed.add(order_id)
                for account in self._of_order.get(order_id, []):
                    if not (account.voided or account.captured or account.is_declined):
                        self._void(account)
                latest = self._latest(order_id)
                return {} if latest is None else self._payment(latest)
            case [_, "refund"]:
                account = self.accounts[content["reference"]]
                return self._payment(self._refund(account, content["refund_id"], content["amount"]))
        raise Refusal(404, f"no {method} {path}")

    def _payment(self, account: Account) -> dict[str, Any]:
        return {
            "reference": account.reference,
            "authorised": 0 if account.is_declined else account.amount,
            "authorised_until": _rfc3339(account.created_s + AUTHORISED_S),
            "captured": account.captured,
            "refunded": account.refunded,
            "voided": account.voided,
            "authorisations": account.number,
            "refunds": [{"id": name, "amount": amount} for name, amount in account.refunds.items()],
        }

    # Stripe

    def _stripe(self, method: str, path: str, form: dict[str, str]) -> Any:
        match [method, *path.split("/")[2:]]:
            case ["POST", "payment_intents"]:
                order_id, number = form["metadata[order_id]"], int(form.get("metadata[authorisation]", "1"))
                token = form.get("payment_method") or form.get("confirmation_token") or ""
                is_claim = "confirm" not in form
                return self._intent(self._authorise(order_id, number, int(form["amount"]), token, is_claim=is_claim))
            case ["GET", "payment_intents", "search"]:
                return self._search(form["query"])
            case ["GET", "payment_intents", reference]:
                account = self.accounts[reference]
                self.look_ups[account.order_id] += 1
                return self._intent(account)
            case ["POST", "payment_intents", reference, "capture"]:
                return self._intent(self._capture(self.accounts[reference]))
            case ["POST", "payment_intents", reference, "cancel"]:
                return self._intent(self._void(self.accounts[reference]))
            case ["POST", "refunds"]:
                account = self.accounts[form["payment_intent"]]
                refund_id = form["metadata[refund_id]"]
                self._refund(account, refund_id, int(form["amount"]))
                return {"id": f"re_{refund_id}", "object": "refund", "metadata": {"refund_id": refund_id}}
            case ["GET", "refunds"]:
                refunds = self.accounts[form["payment_intent"]].refunds
                return {"data": [{"id": f"re_{name}", "metadata": {"refund_id": name}} for name in refunds]}
        raise Refusal(404, f"no {method} {path}")

    def _search(self, query: str) -> Any:
        found = re.fullmatch(r"metadata\['order_id'\]:'([^']+)'", query)
        if found is None:
            raise Refusal(400, "invalid_query")
        self.look_ups[found[1]] += 1
        indexed_before = self._clock() - self._search_lag_s
        accounts = [a for a in self._of_order.get(found[1], []) if a.created_s <= indexed_before]
        return {"object": "search_result", "data": [self._intent(account) for account in accounts]}

    def _intent(self, account: Account) -> dict[str, Any]:
        is_over = self._clock() - account.created_s >= AUTHORISED_S
        if is_over and not (account.captured or account.voided or account.is_claim):
            # Stripe cancels a payment that was not captured in time.
            account.voided, account.cancellation_reason = True, "automatic"
        status = "requires_capture"
        if account.captured:
            status = "succeeded"
        elif account.voided:
            status = "canceled"
        elif account.is_claim or account.is_declined:
            status = "requires_payment_method"
        card = {"capture_before": int(account.created_s + AUTHORISED_S)}
        charge = {"amount_refunded": account.refunded, "payment_method_details": {"card": card}}
        metadata = {"order_id": account.order_id, "authorisation": str(account.number)}
        return {
            "id": account.reference,
            "object": "payment_intent",
            "status": status,
            "cancellation_reason": account.cancellation_reason,
            "created": int(account.created_s),
            "amount": account.amount,
            "amount_capturable": account.amount if status == "requires_capture" else 0,
            "amount_received": account.captured,
            "metadata": metadata | ({"claim": "true"} if account.is_claim else {}),
            "latest_charge": None if account.is_claim else charge,
        }

    def _stripe_error(self, refusal: Refusal) -> Reply:
        code = "charge_expired_for_capture" if refusal.code == "authorisation_expired" else refusal.code
        kind = refusal.kind or ("card_error" if refusal.status == 402 else "invalid_request_error")
        error: dict[str, Any] = {"type": kind, "code": code}
        if refusal.account is not None:
            error["payment_intent"] = self._intent(refusal.account)
        return _reply(refusal.status, {"error": error})


_STRIPE_EVENTS: Final = {
    "authorised": ("payment_intent.amount_capturable_updated", "amount_capturable"),
    "captured": ("payment_intent.succeeded", "amount_received"),
    "voided": ("payment_intent.canceled", "amount"),
    "refunded": ("charge.refunded", "amount_refunded"),
    "declined": ("payment_intent.payment_failed", "amount"),
}


def _reply(status: int, content: Any) -> Reply:
    return Reply(status, {}, msgspec.json.encode(content))


def _contract_error(refusal: Refusal) -> Reply:
    status = 402 if refusal.account is not None else refusal.status
    return _reply(status, {"code": refusal.code, "detail": "the payment was declined"})


def _rfc3339(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()
