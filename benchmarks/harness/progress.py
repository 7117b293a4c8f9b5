"""The progress of a benchmark on standard error: a line for each measurement, and a bar on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def show_steps(total: int) -> Iterator[Callable[[str], None]]:
    """Gives a function that prints the line of one of `total` steps and advances the bar."""
    console = Console(stderr=True, soft_wrap=True)
    # Refreshed at each step only: a thread would take time from the load generator.
    with Progress(console=console, auto_refresh=False, disable=not console.is_terminal) as bar:
        task_id = bar.add_task("measuring", total=total)

        def step(line: str) -> None:
            console.print(line, markup=False, highlight=False, emoji=False)
            bar.update(task_id, advance=1, refresh=True)

        yield step
