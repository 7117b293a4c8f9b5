"""Commands without a key that mean the whole store: they run on all primaries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from store.cluster_nodes import Node
from store.errors import StoreUnavailable
from store.resp import Arg

COMMANDS: Final = frozenset({"SCAN", "FLUSHDB", "FLUSHALL", "DBSIZE", "KEYS", "SCRIPT"})


async def execute(nodes: Sequence[Node], command: tuple[Arg, ...]) -> Any:
    """The replies of all primaries as one. SCAN asks one after the other. Raises `StoreError`."""
    if not nodes:
        raise StoreUnavailable("no primary of the cluster is known")
    if command[0] == "SCAN":
        return await _scan(nodes, command[1], command[2:])
    replies = await asyncio.gather(*(node.execute(*command) for node in nodes))
    if command[0] == "DBSIZE":
        return sum(replies)
    if command[0] == "KEYS":
        return [key for reply in replies for key in reply]
    return replies[0]


async def _scan(nodes: Sequence[Node], cursor: Arg, options: Sequence[Arg]) -> Any:
    """A cursor is that of a server and its address: `cursor@host:port`. A server that has left is passed over.

    A key whose slot moves meanwhile may be missed, or found twice.
    """
    text = cursor.decode() if isinstance(cursor, bytes) else str(cursor)
    of_node, _, address = text.partition("@")
    node = nodes[0] if not address else next((each for each in nodes if _name(each) >= address), None)
    if node is None:
        return [b"0", []]
    following, keys = await node.execute("SCAN", of_node if _name(node) == address else "0", *options)
    if following != b"0":
        return [b"%s@%s" % (following, _name(node).encode()), keys]
    position = nodes.index(node) + 1
    return [b"0@" + _name(nodes[position]).encode() if position < len(nodes) else b"0", keys]


def _name(node: Node) -> str:
    return f"{node.address[0]}:{node.address[1]:05}"
