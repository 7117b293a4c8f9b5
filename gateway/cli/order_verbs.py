"""`peakgate orders show|list|find|retry|cancel|refund`."""

from __future__ import annotations

import argparse
import re
from typing import Final

from gateway.cli.dead_letters import SETTINGS
from gateway.cli.messages import say
from gateway.cli.parsers import EX_USAGE, Commands, finish, positive, read_settings

_STATES: Final = (
    "in_flight", "attention", "accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed", "cancelled",
    "shipped", "delivered", "returned",
)  # fmt: skip
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_NAME: Final = "the number or the id of the order"


def add_parsers(verbs: Commands) -> None:
    """Add the verbs."""
    _add_show(verbs)
    _add_list(verbs)
    _add_find(verbs)
    _add_retry(verbs)
    _add_cancel(verbs)
    _add_refund(verbs)


def _add_show(verbs: Commands) -> None:
    showing = _verb(
        verbs,
        "show",
        "show one order",
        "Show an order: its status and for how long it has it, its lines, its history, what waits for a worker, and why it\n"
        "needs attention. The e-mail address and the shipping address are shown with --personal only.",
        "peakgate orders show 7KQ3M-XP4RT",
    )
    showing.add_argument("order", metavar="ORDER", help=_NAME)
    showing.add_argument("--personal", action="store_true", help="show e-mail and shipping address too")
    finish(showing, _show, SETTINGS, has_json=True)


def _add_list(verbs: Commands) -> None:
    listing = _verb(
        verbs,
        "list",
        "list orders by state and age",
        "List the orders in a state, those longest in it first. The states are the statuses of orders, `in_flight` for all\n"
        "that are not completed or cancelled yet, and `attention` for those that no worker continues until a person acts.\n"
        "An age is the time in that state. Orders of earlier versions are listed after their next change.",
        "peakgate orders list --state payment_authorised --older-than 15m",
    )
    listing.add_argument("--state", choices=_STATES, default="in_flight", metavar="STATE", help=", ".join(_STATES))
    listing.add_argument("--older-than", type=_age, metavar="AGE", default=0.0, help="such as 90s, 15m, 2h, 3d")
    listing.add_argument("--younger-than", type=_age, metavar="AGE", help="such as 90s, 15m, 2h, 3d")
    listing.add_argument("--newest-first", action="store_true", help="those shortest in the state first")
    _add_page(listing)
    finish(listing, _list, SETTINGS, has_json=True)


def _add_find(verbs: Commands) -> None:
    finding = _verb(
        verbs,
        "find",
        "find orders by number or e-mail address",
        "Find orders by their number, as a person reads it out (blanks, the hyphen and capitals do not matter), by id, or by\n"
        "the shopper's e-mail address, the latest first. The address is looked up by a keyed hash; `--email -` reads it from\n"
        "standard input, so that no list of processes and no history of a shell has it.",
        "peakgate orders find --email - <<< ada@example.com",
    )
    finding.add_argument("order", nargs="?", metavar="ORDER", help=_NAME)
    finding.add_argument("--email", metavar="ADDRESS", help="the e-mail address, or - to read it from standard input")
    _add_page(finding)
    finish(finding, _find, SETTINGS, has_json=True)


def _add_retry(verbs: Commands) -> None:
    retrying = _verb(
        verbs,
        "retry",
        "return an order to the workers",
        "Return an order that needs attention to the workers, without its failures. With --from the order runs again from\n"
        "that step on; steps that would charge or book again are refused. `workflow export` names the steps.",
        "peakgate orders retry 7KQ3M-XP4RT --from notify",
    )
    retrying.add_argument("order", metavar="ORDER", help=_NAME)
    retrying.add_argument("--from", dest="step", metavar="STEP", help="the step to run again from, such as notify")
    finish(retrying, _retry, SETTINGS)


def _add_cancel(verbs: Commands) -> None:
    cancelling = _verb(
        verbs,
        "cancel",
        "cancel an order that is not completed",
        "Cancel an order that is not completed. The cancellation is stored before anything is undone; a worker then cancels\n"
        "the shipment, voids or refunds the payment and returns the stock. For a cancelled order, it is tried again.",
        "peakgate orders cancel 7KQ3M-XP4RT",
    )
    cancelling.add_argument("order", metavar="ORDER", help=_NAME)
    finish(cancelling, _cancel, SETTINGS)


def _add_refund(verbs: Commands) -> None:
    refunding = _verb(
        verbs,
        "refund",
        "refund a completed order, in full or in part",
        "Refund a completed order: --amount of it, in major units (12.50 of GBP), or all that is left. A worker asks the\n"
        "payment service within seconds, and the order's history then has it. The same command given again refunds nothing\n"
        "more; for a second refund of the same amount, name a --key that was not used for the order before.",
        "peakgate orders refund 7KQ3M-XP4RT --amount 4.95 --reason 'arrived late'",
    )
    refunding.add_argument("order", metavar="ORDER", help=_NAME)
    refunding.add_argument(
        "--amount", metavar="AMOUNT", help="in major units, such as 12.50 (default: all that is left)"
    )
    refunding.add_argument(
        "--key", metavar="KEY", help="tells this request from others for the order (default: its amount)"
    )
    refunding.add_argument("--reason", metavar="TEXT", help="for the history, which the shopper sees; nothing personal")
    finish(refunding, _refund, SETTINGS)


def _verb(verbs: Commands, name: str, help_text: str, description: str, example: str) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name,
        help=help_text,
        description=description,
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=positive(100), default=20, metavar="COUNT", help="1 to 100 (default: 20)")
    parser.add_argument("--cursor", metavar="CURSOR", help="where the page begins, from the page before")


def _age(text: str) -> float:
    """Seconds, of `90s`, `15m`, `2h` or `3d`."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a number and a unit, such as 90s, 15m, 2h or 3d, not {text!r}")
    return float(int(match[1]) * _UNITS[match[2]])


def _show(args: argparse.Namespace) -> int:
    from gateway.commands.orders import show_order

    return show_order(read_settings(args), args.order, personal=args.personal, as_json=args.json, say=say)


def _list(args: argparse.Namespace) -> int:
    from checkout.order_search import Selection
    from gateway.commands.orders import list_orders

    selection = Selection(
        state=args.state,
        older_s=args.older_than,
        younger_s=args.younger_than,
        newest_first=args.newest_first,
        limit=args.limit,
        cursor=args.cursor,
    )
    return list_orders(read_settings(args), selection, as_json=args.json, say=say)


def _find(args: argparse.Namespace) -> int:
    from gateway.commands.orders import find_orders

    if (args.order is None) is (args.email is None):
        say("name an order by its number or id, or an address by --email")
        return EX_USAGE
    return find_orders(
        read_settings(args),
        args.order,
        email=args.email,
        limit=args.limit,
        cursor=args.cursor,
        as_json=args.json,
        say=say,
    )


def _retry(args: argparse.Namespace) -> int:
    from gateway.commands.orders import retry_order

    return retry_order(read_settings(args), args.order, step=args.step, say=say)


def _cancel(args: argparse.Namespace) -> int:
    from gateway.commands.orders import cancel_order

    return cancel_order(read_settings(args), args.order, say=say)


def _refund(args: argparse.Namespace) -> int:
    from gateway.commands.orders import refund_order

    return refund_order(read_settings(args), args.order, amount=args.amount, key=args.key, detail=args.reason, say=say)
