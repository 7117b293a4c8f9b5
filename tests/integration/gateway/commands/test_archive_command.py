"""`peakgate orders archive`: what reaches the archive, what is printed, and going on after an interruption."""

from __future__ import annotations

import re
import signal
import sqlite3
from pathlib import Path

import pytest

from checkout.archive.backfill import Backfill, BackfillReport
from checkout.ports.documents import DocumentPage
from checkout.redis.documents import RedisDocuments
from gateway.commands.archive_orders import ProgressLines
from tests.integration.gateway.commands.test_orders_command import COMPLETED, Shop

ARCHIVE = ("--archive", "sqlite")


@pytest.fixture
def shop(store_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Shop:
    def printed() -> tuple[str, str]:
        out, err = capfd.readouterr()
        return out, err

    return Shop(store_url, tmp_path, printed)


def archived(folder: Path) -> set[str]:
    """The ids in the archive."""
    with sqlite3.connect(folder / "archive.sqlite3") as database:
        found = {order_id for (order_id,) in database.execute("SELECT id FROM orders")}
    database.close()
    return found


def test_orders_from_before_there_was_an_archive_are_archived_once(shop: Shop, tmp_path: Path) -> None:
    orders = shop.with_orders((), COMPLETED, COMPLETED)
    assert shop.call("archive", *ARCHIVE)[:2] == (0, "3 orders archived, 0 were in the archive\n")
    assert archived(tmp_path) == {order.id for order in orders}
    assert shop.call("archive", *ARCHIVE)[:2] == (0, "0 orders archived, 3 were in the archive\n")


def test_an_interrupted_run_says_where_to_go_on(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = shop.with_orders(*[COMPLETED] * 6)
    scan, seen = RedisDocuments.page, 0

    async def interrupted(self: RedisDocuments, cursor: str | None = None) -> DocumentPage:
        nonlocal seen
        if seen:
            signal.raise_signal(signal.SIGINT)
        self._page = 1
        page = await scan(self, cursor)
        seen += len(page.documents)
        return page

    with monkeypatch.context() as patched:
        patched.setattr(RedisDocuments, "page", interrupted)
        code, _, err = shop.call("archive", *ARCHIVE)
    assert code == 130
    said = re.search(r"interrupted: (\d) orders archived, 0 were in the archive; go on with --after '(\d+)'", err)
    assert said is not None, err
    count, cursor = said.groups()
    assert len(archived(tmp_path)) == int(count) < 6

    out = shop.call("archive", "--after", cursor, *ARCHIVE)[1]
    assert out.startswith(f"{6 - int(count)} orders archived")
    assert archived(tmp_path) == {order.id for order in orders}


def test_the_rate_is_that_of_the_option_and_500_unless_given(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.with_orders(COMPLETED)
    rates = list[float]()

    async def run(self: Backfill, *, rate: float, **_others: object) -> BackfillReport:
        rates.append(rate)
        return BackfillReport()

    monkeypatch.setattr(Backfill, "run", run)
    for words in ((), ("--rate", "7")):
        assert shop.call("archive", *words, *ARCHIVE)[0] == 0
    assert rates == [500, 7]


def test_without_an_archive_or_with_a_wrong_cursor_it_is_refused_in_one_line(shop: Shop) -> None:
    shop.with_orders(COMPLETED)
    assert shop.call("archive") == (1, "", "peakgate: there is no archive: --archive is none\n")
    code, out, err = shop.call("archive", "--after", "x", *ARCHIVE)
    assert (code, out, err) == (1, "", "peakgate: --after x: the cursor is not that of a scan\n")


def test_progress_is_a_line_now_and_then_where_no_bar_can_be_drawn() -> None:
    now, lines = 0.0, list[str]()
    show = ProgressLines(lines.append, clock=lambda: now)
    for at in (1.0, 5.0, 6.0, 11.0):
        now = at
        show(BackfillReport(archived=round(at) * 1000, present=1, cursor="42"))
    assert lines == [
        "5,000 orders archived, 1 were in the archive; behind 42",
        "11,000 orders archived, 1 were in the archive; behind 42",
    ]
