"""aiohttp's private attributes that the server leans on are still there, and no others are used."""

from __future__ import annotations

import ast
import inspect
import re

import aiohttp.web_protocol
import pytest
from aiohttp import web
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web_protocol import RequestHandler

from gateway.server import connection, edge_server, normal_way

DOCUMENTED = frozenset(re.findall(r"`(_\w+)`", (connection.__doc__ or "").partition("private attributes")[2]))


def foreign_private_names(module: object) -> frozenset[str]:
    """The private attributes that a module takes from others."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")}
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiohttp")
        for alias in node.names
        if alias.name.startswith("_")
    }
    own: set[str] = set()
    for kind in ast.walk(tree):
        if isinstance(kind, ast.ClassDef):
            own |= {node.name for node in kind.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            own |= {
                node.attr
                for node in ast.walk(kind)
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr.startswith("_")
            }
    overridden = {name for name in own if hasattr(RequestHandler, name) or hasattr(web.Server, name)}
    foreign = (used - own) | imported | (overridden & own)
    return frozenset(name for name in foreign if name.startswith("_") and not name.startswith("__"))


def test_the_connection_uses_the_private_attributes_that_it_names_and_no_others() -> None:
    assert foreign_private_names(connection) == DOCUMENTED


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_aiohttp_still_has_it(name: str) -> None:
    assert hasattr(RequestHandler, name) or hasattr(aiohttp.web_protocol, name), (
        f"aiohttp's RequestHandler has no {name} any more: see what gateway/server/connection.py does with it"
    )


def test_the_loop_in_aiohttps_handler_still_works_as_the_short_path_expects() -> None:
    start = inspect.getsource(RequestHandler.start)
    for expected in (
        "if not self._messages:",
        "self._waiter = loop.create_future()",
        "message, payload = self._messages.popleft()",
        "self._parser.message_consumed()",
        "self._make_error_handler(message)",
    ):
        assert expected in start, f"RequestHandler.start() is another one now: no {expected!r} in it"
    assert "self._waiter and not self._waiter.done()" in inspect.getsource(RequestHandler._process_keepalive)


def test_the_parser_is_the_compiled_one_with_the_calls_that_are_used() -> None:
    assert HttpRequestParser.__module__ == "aiohttp._http_parser"
    assert hasattr(HttpRequestParser, "feed_data")
    assert hasattr(HttpRequestParser, "message_consumed")


def test_the_rest_of_the_server_needs_nothing_private_but_the_loop() -> None:
    assert foreign_private_names(edge_server) <= {"_loop"}
    assert hasattr(RequestHandler, "_loop")
    assert foreign_private_names(normal_way) == frozenset()
