"""An outage that several processes of one gateway notice, so that it is logged once: by the first and by the last of them."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

_ATTEMPTS = 10


class SharedOutage:
    """The outage of one dependency. `folder` belongs to it alone and exists during the outage; `process` names this one.

    A process that cannot use the folder counts as the only one: a line too many is better than none.
    """

    def __init__(self, folder: Path | None, process: str) -> None:
        self._folder = folder
        self._process = process

    def of(self, part: str) -> SharedOutage:
        """The outage of a part of the dependency, which begins and ends by itself."""
        folder = self._folder
        return SharedOutage(None if folder is None else folder.with_name(f"{folder.name}-{part}"), self._process)

    def begin(self) -> bool:
        """This process notices the outage; says whether it is the first."""
        if self._folder is None:
            return True
        is_first = False
        for _ in range(_ATTEMPTS):
            try:
                self._folder.mkdir()
                is_first = True
            except FileExistsError:
                pass
            except OSError:
                return True
            try:
                (self._folder / self._process).touch()
            except FileNotFoundError:
                continue  # the last of the others has just noticed the end
            except OSError:
                return True
            return is_first
        return True

    def end(self) -> bool:
        """This process notices the end; says whether it is the last."""
        if self._folder is None:
            return True
        with contextlib.suppress(OSError):
            (self._folder / self._process).unlink()
        try:
            self._folder.rmdir()
        except FileNotFoundError:
            return False
        except OSError as error:
            # Others still notice it; the last of them removes the folder.
            return error.errno != errno.ENOTEMPTY
        return True
