"""`peakgate orders dead list|show|redrive|drop`."""

from __future__ import annotations

import argparse

from gateway.cli.messages import say
from gateway.cli.parsers import EX_USAGE, STORE_TLS, Commands, Parser, finish, positive, read_settings

# Of every command on orders: where they are stored and queued.
SETTINGS = (
    "config", "data_dir", "store_url", *STORE_TLS, "durability", "archive", "archive_table", "home_region", "queue_url", "aws_endpoint_url", "aws_region", "key_file", "kms_key",
    "log_format", "log_level",
)  # fmt: skip
_RATE = 500.0


def add_parser(verbs: Commands) -> None:
    """Add `dead` and its verbs."""
    dead = verbs.add_parser(
        "dead",
        help="messages that no worker could process",
        description=(
            "Dead letters: messages of the order queue that no worker could process, because they are no orders of this\n"
            "shop, or were delivered too often (SQS). They stay until they are redriven or dropped. Their content may\n"
            "hold anything and is never shown: the digest tells equal ones, and the order is named where there is one."
        ),
        epilog="example: peakgate orders dead list && peakgate orders dead redrive --all --rate 100",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = dead.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_list(acts)
    _add_show(acts)
    _add_redrive(acts)
    _add_drop(acts)


def _add_list(acts: Commands) -> None:
    listing = acts.add_parser(
        "list",
        help="list dead letters",
        description=(
            "List dead letters, the oldest first. They stay as they are: a look is no delivery. On SQS it is one, so a\n"
            "dead-letter queue with a redrive policy of its own, which would bury them further, is not looked at. SQS has\n"
            "no order and no pages: it shows some of them."
        ),
        epilog="example: peakgate orders dead list --limit 50 --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listing.add_argument("--limit", type=positive(100), default=20, metavar="COUNT", help="1 to 100 (default: 20)")
    listing.add_argument("--cursor", metavar="CURSOR", help="where the page begins, from the page before")
    finish(listing, _list, SETTINGS, has_json=True)


def _add_show(acts: Commands) -> None:
    showing = acts.add_parser(
        "show",
        help="show one dead letter",
        description="Show a dead letter: since when and why, its size, its digest and its order, never its content.",
        epilog="example: peakgate orders dead show 1764223200000-0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    showing.add_argument("id", metavar="ID", help="as `dead list` shows it")
    finish(showing, _show, SETTINGS, has_json=True)


def _add_redrive(acts: Commands) -> None:
    redriving = acts.add_parser(
        "redrive",
        help="send dead letters to the order queue again",
        description=(
            "Move dead letters back to the order queue: those with the ids, or all that are dead when the command begins.\n"
            "It may be interrupted or killed and run again: none is lost, and an order that comes twice has one effect,\n"
            "because workers recognise it. On SQS the service moves them itself where it can (StartMessageMoveTask)."
        ),
        epilog="example: peakgate orders dead redrive --all --rate 100",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_which(redriving)
    redriving.add_argument(
        "--rate",
        type=positive(100_000),
        default=_RATE,
        metavar="COUNT",
        help="letters a second at most (default: 500, which is also the most that SQS moves by itself)",
    )
    finish(redriving, _redrive, SETTINGS)


def _add_drop(acts: Commands) -> None:
    dropping = acts.add_parser(
        "drop",
        help="delete dead letters",
        description=(
            "Delete dead letters for good: those with the ids, or all that are dead when the command begins. An order whose\n"
            "message is dropped stays stored; a worker takes it up again when the finder of stalled orders sends it."
        ),
        epilog="example: peakgate orders dead drop 1764223200000-0 1764223200001-0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_which(dropping)
    finish(dropping, _drop, SETTINGS)


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="as `dead list` shows them")
    parser.add_argument("--all", action="store_true", help="all that are dead now")


def _list(args: argparse.Namespace) -> int:
    from gateway.commands.dead_letters import list_letters

    return list_letters(read_settings(args), limit=args.limit, cursor=args.cursor, as_json=args.json, say=say)


def _show(args: argparse.Namespace) -> int:
    from gateway.commands.dead_letters import show_letter

    return show_letter(read_settings(args), args.id, as_json=args.json, say=say)


def _redrive(args: argparse.Namespace) -> int:
    from gateway.commands.dead_letters import run_on_letters

    if not _is_clear(args):
        return EX_USAGE
    ids = None if args.all else args.ids
    return run_on_letters(read_settings(args), "redrive", ids, rate=args.rate, say=say)


def _drop(args: argparse.Namespace) -> int:
    from gateway.commands.dead_letters import run_on_letters

    if not _is_clear(args):
        return EX_USAGE
    return run_on_letters(read_settings(args), "drop", None if args.all else args.ids, rate=None, say=say)


def _is_clear(args: argparse.Namespace) -> bool:
    if bool(args.ids) is not args.all:
        return True
    say("name the dead letters by their ids, or all of them by --all" + (", not both" if args.all else ""))
    return False
