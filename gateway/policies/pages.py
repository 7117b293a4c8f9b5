"""The pages of a worker: built from their table, and built anew for another one."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from gateway.config.policies import Pages
from gateway.http.page_set import PageOptions, PageSet

_log = logging.getLogger("peakgate")


def page_set(table: Pages) -> PageSet:
    """The pages of a table. Reads the operator's folder; files that cannot be used are among the `faults` of the result."""
    return PageSet(
        PageOptions(
            folder=None if table.folder is None else Path(table.folder),
            brand=table.brand,
            home=table.home,
            language=table.language,
            light=msgspec.structs.asdict(table.light),
            dark=msgspec.structs.asdict(table.dark),
        )
    )


def page_set_in_use(table: Pages) -> PageSet:
    """The same, with a log line for each file that cannot be used: its page is the shipped one."""
    pages = page_set(table)
    for fault in pages.faults:
        _log.warning("a file of the pages is not used: %s", fault)
    return pages
