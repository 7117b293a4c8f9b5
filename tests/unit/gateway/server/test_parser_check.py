"""The server starts only with the aiohttp it was tested with."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.server.parser_check import BELOW_AIOHTTP, MIN_AIOHTTP, ParserUnusable, check_parser

COMPILED = "aiohttp._http_parser"


def test_the_installed_version_is_accepted() -> None:
    check_parser()


@pytest.mark.parametrize("installed", ["3.14.5", "3.14.6", "3.14.100"])
def test_releases_of_the_tested_series_are_accepted(installed: str) -> None:
    check_parser(installed, COMPILED)


@pytest.mark.parametrize("installed", ["3.14.4", "3.13.99", "3.15", "3.15.0", "4.0.0", "3.14.6rc1", "3.15.0a1", "3.14"])
def test_an_untested_version_is_refused_with_the_command_that_helps(installed: str) -> None:
    with pytest.raises(
        ParserUnusable, match=rf"aiohttp {installed} is installed.*pip install 'aiohttp>=3\.14\.5,<3\.15'"
    ):
        check_parser(installed, COMPILED)


def test_the_parser_in_python_is_refused() -> None:
    with pytest.raises(ParserUnusable, match="without its C extensions"):
        check_parser("3.14.5", "aiohttp.http_parser")


def test_the_range_is_the_one_that_is_installed_by() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    lowest, limit = (".".join(map(str, bound)) for bound in (MIN_AIOHTTP, BELOW_AIOHTTP))
    assert f"aiohttp>={lowest},<{limit}" in project["dependencies"]
