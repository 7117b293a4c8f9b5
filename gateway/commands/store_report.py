"""`peakgate store report`: the store as tables or JSON, its growth since an earlier report, and the progress on the way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.commands.order_session import EX_OK, EX_USAGE, Say, run_with_store
from gateway.commands.store_survey import KindSize, Report, Survey
from gateway.commands.tables import in_words, print_json, print_table
from gateway.settings import Settings
from store import Store

Show = Callable[[int, int | None], None]
_DAY_S = 86_400


def report_store(settings: Settings, *, rate: float, since: Path | None, as_json: bool, say: Say) -> int:
    """Look at the store of these settings; returns the exit code, 64 if the earlier report cannot be read."""
    try:
        earlier = None if since is None else msgspec.json.decode(since.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError) as error:
        say(f"{since}: is no report of peakgate store report --format json: {error}")
        return EX_USAGE

    async def act(store: Store) -> int:
        with _progress() as show:
            report = await Survey(store, rate=rate).run(show)
        if as_json:
            print_json(report)
        else:
            _print(report, earlier, say)
        return EX_OK

    return run_with_store(settings, act, say=say)


def _print(report: Report, earlier: Report | None, say: Say) -> None:
    before = {} if earlier is None else {size.kind: size for size in earlier.kinds}
    elapsed_s = 0 if earlier is None else report.at - earlier.at
    columns = ["KIND", "KEYS", "BYTES"]
    if earlier is not None:
        columns += ["KEYS SINCE", "BYTES SINCE", "BYTES A DAY"]
    print_table(columns, [_row(size, before, elapsed_s, earlier is not None) for size in report.kinds])
    if report.hot:
        hot = [(" ".join([each.name, *each.tags]), each.kind, f"{each.counter:,}") for each in report.hot]
        print_table(("HOT", "KIND", "COUNTER"), hot)
    if report.crowded:
        print_table(("SKU", "ORDERS IN FLIGHT"), [(each.name, f"{each.counter:,}") for each in report.crowded])
    if report.slow:
        slow = [(each.name, f"{each.calls:,}", f"{each.longest_us:,}") for each in report.slow]
        print_table(("SLOW", "CALLS IN THE LOG", "LONGEST, µs"), slow)
    if report.commands:
        times = [(each.name, f"{each.calls:,}", f"{each.total_us:,}") for each in report.commands]
        print_table(("COMMAND", "CALLS", "TIME, µs"), times)
    for section, note in report.notes.items():
        say(f"{section}: {note}")
    since = f", {in_words(elapsed_s)} after the earlier report" if earlier is not None else ""
    say(f"{report.keys:,} keys on {report.servers} servers{since}")


def _row(size: KindSize, before: dict[str, KindSize], elapsed_s: int, has_earlier: bool) -> list[str]:
    row = [size.kind, f"{size.keys:,}", "?" if size.bytes is None else f"{size.bytes:,}"]
    if not has_earlier:
        return row
    old = before.get(size.kind, KindSize(size.kind, bytes=0))
    row.append(f"{size.keys - old.keys:+,}")
    if size.bytes is None or old.bytes is None:
        return [*row, "?", "?"]
    grown = size.bytes - old.bytes
    return [*row, f"{grown:+,}", f"{round(grown * _DAY_S / elapsed_s):+,}" if elapsed_s > 0 else "?"]


@contextmanager
def _progress() -> Iterator[Show]:
    """A bar on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _looked_at, _of: None
        return
    columns = (TextColumn("looking at keys"), BarColumn(), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("keys", total=None)
        yield lambda looked_at, of: bar.update(task, completed=looked_at, total=of)
