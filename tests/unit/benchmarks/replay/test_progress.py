import io

from benchmarks.replay.progress import Counts, show_progress


def test_rates_are_computed_since_an_earlier_moment() -> None:
    before, now = Counts(baskets=10, lines=100, requests=1000), Counts(baskets=20, lines=5100, requests=7000)

    assert now.rates(before, 2.0) == "5 baskets/s, 2,500 lines/s, 3,000 requests/s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_the_bar_on_a_terminal_ends_with_the_last_count() -> None:
    terminal = Terminal()
    async with show_progress(lambda: Counts(7, 70, 700), 9, terminal):
        pass
    assert "7/9" in terminal.getvalue()


async def test_a_log_has_no_progress() -> None:
    log = io.StringIO()
    async with show_progress(lambda: Counts(7, 70, 700), 9, log):
        pass
    assert log.getvalue() == ""
