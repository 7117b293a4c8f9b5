"""`peakgate serve`."""

from __future__ import annotations

import argparse
import signal

from gateway.cli.messages import fail, say
from gateway.cli.parsers import Commands, add_settings, read_settings
from gateway.settings import OPTIONS, PREFIX


def add_parser(commands: Commands) -> None:
    """Add `serve`."""
    serve = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway: carts, checkout and the order worker, with an embedded store unless one is named.",
        epilog=(
            f"Every option is also a variable, {PREFIX}DRAIN_TIMEOUT for --drain-timeout, and a key of the configuration\n"
            "file, drain_timeout: an option wins over a variable, a variable over the file.\n"
            "Signals: TERM and INT stop after finishing what runs; HUP reads the policies of the file again; USR1 replaces\n"
            "the workers one by one.\n\n"
            "example: peakgate serve --port 8080 --data-dir ./data --catalog examples/catalog.csv"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_settings(serve, list(OPTIONS))
    serve.set_defaults(run=_serve)


def _serve(args: argparse.Namespace) -> int:
    # SIGHUP would end the process before it starts; the supervisor handles it as soon as it can.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from gateway.process.serve import CannotServe, run

    try:
        return 0 if run(read_settings(args), say=say) else 1
    except CannotServe as error:
        fail(str(error))
        return 1
