import io

from benchmarks.replay.progress import Counts, show_progress


def test_rates_are_those_since_an_earlier_moment() -> None:
    before, now = Counts(baskets=10, lines=100, requests=1000), Counts(baskets=20, lines=5100, requests=7000)

    assert now.rates(before, 2.0) == "5 baskets/s, 2,500 lines/s, 3,000 requests/s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_terminal_gets_a_bar_with_where_it_ended() -> None:
    terminal = Terminal()
    async with show_progress(lambda: Counts(7, 70, 700), 9, terminal):
        pass
    assert "7/9" in terminal.getvalue()


async def test_a_short_replay_leaves_no_lines_in_a_log() -> None:
    log = io.StringIO()
    async with show_progress(lambda: Counts(7, 70, 700), 9, log):
        pass
    assert log.getvalue() == ""
