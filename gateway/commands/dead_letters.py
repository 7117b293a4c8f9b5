"""`peakgate orders dead …`: the dead letters of the order queue."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cart.timestamps import rfc3339
from checkout.dead_letter_desk import DeadLetterDesk, LetterPage, RunProgress
from checkout.ports.dead_letters import Act, LookIsUnsafe
from gateway.admin.order_commands import letter_as_json
from gateway.commands.order_session import EX_OK, Refused, Say, run_with_dead_letters
from gateway.commands.tables import print_fields, print_json, print_table
from gateway.settings import Settings

# Between two lines of progress, where no bar can be drawn.
LINE_EVERY_S: Final = 5.0
_DONE: Final = {"redrive": "redriven", "drop": "dropped"}


def list_letters(settings: Settings, *, limit: int, cursor: str | None, as_json: bool, say: Say) -> int:
    """Print a page of dead letters."""

    async def act(desk: DeadLetterDesk) -> int:
        try:
            page = await desk.page(limit=limit, cursor=cursor)
        except (ValueError, LookIsUnsafe) as error:
            raise Refused(str(error)) from error
        count = await desk.count()
        if as_json:
            print_json(
                {"count": count, "letters": [letter_as_json(each) for each in page.letters], "cursor": page.cursor}
            )
        else:
            _print_page(page, count, say)
        return EX_OK

    return run_with_dead_letters(settings, act, say=say)


def show_letter(settings: Settings, letter_id: str, *, as_json: bool, say: Say) -> int:
    """Print one dead letter, without its content."""

    async def act(desk: DeadLetterDesk) -> int:
        try:
            letter = await desk.find(letter_id)
        except LookIsUnsafe as error:
            raise Refused(str(error)) from error
        if letter is None:
            raise Refused(f"there is no dead letter {letter_id!r}; `peakgate orders dead list` shows their ids")
        if as_json:
            print_json(letter_as_json(letter))
        else:
            print_fields((name.replace("_", " "), str(value)) for name, value in letter_as_json(letter).items())
        return EX_OK

    return run_with_dead_letters(settings, act, say=say)


def run_on_letters(settings: Settings, what: Act, ids: Sequence[str] | None, *, rate: float | None, say: Say) -> int:
    """Redrive or drop letters, and show the progress."""
    done = 0

    async def act(desk: DeadLetterDesk) -> int:
        nonlocal done
        with _progress(_DONE[what], say) as show:

            def progress(now: RunProgress) -> None:
                nonlocal done
                done = now.done
                show(now)

            done = await desk.run(what, ids=ids, rate=rate, progress=progress)
        sys.stdout.write(f"{done:,} dead letters {_DONE[what]}, {await desk.count():,} left\n")
        if ids is not None and done < len(set(ids)):
            raise Refused(f"{len(set(ids)) - done} of the ids name no dead letter now; `dead list` shows those that do")
        return EX_OK

    try:
        return run_with_dead_letters(settings, act, say=say)
    except KeyboardInterrupt:
        say(f"interrupted: {done:,} dead letters were {_DONE[what]}; run the command again for the others")
        raise


def _print_page(page: LetterPage, count: int, say: Say) -> None:
    rows = [
        (
            letter.id,
            rfc3339(letter.at),
            "-" if letter.attempts is None else str(letter.attempts),
            letter.number or "no order",
            letter.reason or letter.fault or "-",
        )
        for letter in page.letters
    ]
    if rows:
        print_table(("ID", "SINCE", "ATTEMPTS", "ORDER", "REASON"), rows)
    say(f"{len(rows)} of {count:,} dead letters" + (f"; next page: --cursor {page.cursor}" if page.cursor else ""))


@contextmanager
def _progress(done: str, say: Say) -> Iterator[Callable[[RunProgress], None]]:
    """A bar on a terminal; a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield ProgressLines(done, say)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(separator=" of "),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(done, total=None)
        yield lambda now: bar.update(task, total=now.total, completed=now.done)


class ProgressLines:
    """Says how far a run is, every `every_s` seconds."""

    def __init__(
        self, done: str, say: Say, *, every_s: float = LINE_EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._done = done
        self._say = say
        self._every_s = every_s
        self._clock = clock
        self._next_at = clock() + every_s

    def __call__(self, now: RunProgress) -> None:
        """Say it, if it is time to."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + self._every_s
        self._say(f"{now.done:,} of {'?' if now.total is None else f'{now.total:,}'} {self._done}")
