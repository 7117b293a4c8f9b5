"""`peakgate orders restore`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gateway.cli.dead_letters import SETTINGS
from gateway.cli.messages import say
from gateway.cli.parsers import Commands, add_settings, read_settings


def add_parser(verbs: Commands) -> None:
    """Add `restore`."""
    restoring = verbs.add_parser(
        "restore",
        help="rebuild the orders of the store from the archive",
        description=(
            "Rebuild the orders of the store, and their indexes, from the archive, after the store has lost some. It may run\n"
            "beside the gateway, and again: an order that the store has is left alone. Orders in flight go on, ended ones are\n"
            "not started again, and those that ended more than --order-keep-days ago stay in the archive."
        ),
        epilog="example: peakgate orders restore --from 2026-11-27",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    restoring.add_argument("--order", metavar="ORDER", help="only this one, by its number or id, however old")
    restoring.add_argument(
        "--from", dest="accepted_from", type=_time, metavar="TIME", help="only those accepted from then on, in UTC"
    )
    restoring.add_argument(
        "--before", dest="accepted_before", type=_time, metavar="TIME", help="only those accepted before then, in UTC"
    )
    restoring.add_argument("--after", metavar="CURSOR", help="go on where an interrupted run says that it stopped")
    add_settings(restoring, (*SETTINGS, "order_keep_days"))
    restoring.set_defaults(run=_restore)


def _restore(args: argparse.Namespace) -> int:
    from gateway.commands.restore_orders import restore_order, restore_orders

    settings = read_settings(args)
    if args.order is not None:
        return restore_order(settings, args.order, say=say)
    return restore_orders(
        settings,
        accepted_from=args.accepted_from or 0,
        accepted_before=args.accepted_before,
        cursor=args.after,
        say=say,
    )


def _time(text: str) -> int:
    """A date or a time, in Unix milliseconds; UTC where it has no offset."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a date or a time, such as 2026-11-27 or 2026-11-27T18:00, not {text!r}"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
