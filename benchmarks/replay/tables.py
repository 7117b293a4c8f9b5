"""Tables of text for the terminal and for logs."""

import io
from collections.abc import Collection, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Wide enough that no cell is wrapped: reports are also read in logs and files.
_WIDTH = 400


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, left: Collection[int] = (0,)) -> str:
    """The rows under the head; the columns in `left` to the left, the others to the right; integers with separators."""
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, name in enumerate(head):
        grid.add_column(Text(name), justify="left" if number in left else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(f"{value:,}" if isinstance(value, int) else str(value)) for value in row))
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(grid)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
