"""The commands that a user of the store needs: the list is complete, and each one that is missing is named at the start."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.prerequisites.permissions import COMMANDS, OPTIONAL, acl_rules, missing_permissions
from store import Client, StoreUnavailable, open_client
from store.embedded import EmbeddedServer
from tests.waiting import WITHIN_S

ROOT = Path(__file__).parents[4]
# Where commands are sent from; elsewhere such words are methods of HTTP.
SENDERS = (
    "cart",
    "checkout",
    "store",
    "gateway/ratelimit",
    "gateway/waitingroom",
    "gateway/cache",
    "gateway/prerequisites",
)
# Commands with subcommands of their own in the ACL.
CONTAINERS = {"CLIENT", "CLUSTER", "SCRIPT", "XGROUP", "XINFO", "CONFIG"}
WORD = re.compile(r"""["']([A-Z]{2,})["'](?:, *["']([A-Z]+)["'])?""")
# Answered by the checks before they are needed (CONFIG), or allowed to every user (HELLO); HEAD and the like are HTTP.
NOT_NEEDED = {"config|get", "hello"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    own = EmbeddedServer(tmp_path_factory.mktemp("permissions") / "data")
    own.start()
    yield own
    own.stop()


@pytest.fixture
async def admin(server: EmbeddedServer) -> Client:
    return await open_client(server.url, deadline_s=5.0)


async def missing(server: EmbeddedServer, admin: Client, *rules: str) -> list[str]:
    """Missing permissions of a user with these rules."""
    await admin.execute("ACL", "SETUSER", "till", "reset", "on", ">penny", *" ".join(rules).split())
    try:
        return list(await missing_permissions(f"unix://{quote(str(server.url[7:]))}?username=till&password=penny"))
    finally:
        await admin.close()


async def test_the_documented_user_has_all_permissions_and_is_in_the_page(
    server: EmbeddedServer, admin: Client
) -> None:
    assert await missing(server, admin, acl_rules()) == []
    assert f"ACL SETUSER peakgate on >password {acl_rules()}" in " ".join((ROOT / "docs/store.md").read_text().split())


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_user_without_one_command_lacks_this_one(server: EmbeddedServer, admin: Client, name: str) -> None:
    assert await missing(server, admin, acl_rules(), f"-{name}") == [name]


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
async def test_the_rules_do_for_redis_as_well(tmp_path: Path) -> None:
    """Redis 7.0 knows neither WAITAOF nor CLIENT SETINFO."""
    path = tmp_path / "redis.sock"
    process = subprocess.Popen(  # noqa: ASYNC220
        ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        admin = await opened(f"unix://{path}")
        rules = [rule for rule in acl_rules().split() if rule not in {"+waitaof", "+client|setinfo"}]
        for lacking in ([], ["xreadgroup"], ["client|id"]):
            await admin.execute(
                "ACL", "SETUSER", "till", "reset", "on", ">penny", *rules, *(f"-{name}" for name in lacking)
            )
            assert await missing_permissions(f"unix://{path}?username=till&password=penny") == lacking
        await admin.close()
    finally:
        process.terminate()
        process.wait()


async def opened(url: str) -> Client:
    """A client of a server that has just been started: its socket is there before it listens."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await open_client(url, deadline_s=5.0)
            await asyncio.sleep(0.01)


async def test_a_user_of_some_keys_or_no_channels_lacks_the_others(server: EmbeddedServer, admin: Client) -> None:
    rules = acl_rules().replace("~*", "~peakgate:*").replace("&*", "resetchannels")
    assert await missing(server, admin, rules) == ["all keys (~*)", "all channels (&*)"]


async def test_a_user_that_may_only_read_lacks_the_writes(server: EmbeddedServer, admin: Client) -> None:
    lacking = await missing(server, admin, "~*", "&*", "+@read", "+ping")
    assert {"set", "hset", "xadd", "eval", "xreadgroup"} <= set(lacking)
    assert not {"get", "hgetall", "zscore", "ping"} & set(lacking)


async def test_the_check_leaves_nothing_but_a_key_that_expires(server: EmbeddedServer, admin: Client) -> None:
    await admin.execute("FLUSHALL")
    await admin.execute("CONFIG", "RESETSTAT")
    assert await missing_permissions(server.url) == []
    assert await admin.execute("KEYS", "*") == [b"peakgate:permissions"]
    assert await admin.execute("TTL", "peakgate:permissions") > 0
    await admin.close()


def commands_in(text: str, known: set[str]) -> Iterator[str]:
    for word, following in WORD.findall(text):
        name = word.lower()
        if word in CONTAINERS:
            yield f"{name}|{following.lower()}" if following else name
        elif name in known:
            yield name


async def test_the_list_has_the_commands_that_the_sources_name_and_no_others(admin: Client) -> None:
    known = {name.decode() for name in await admin.execute("COMMAND", "LIST")}
    await admin.close()
    named: dict[str, str] = {}
    for folder in SENDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            text = path.read_text() if path.suffix in {".py", ".lua"} else ""
            if path.suffix == ".lua" or re.search(
                r"import.*\bStore\b|\bopen_client\b|_submit|encode_command|Client\b", text
            ):
                named |= dict.fromkeys(commands_in(text, known), str(path.relative_to(ROOT)))
    unlisted = {name: where for name, where in named.items() if name not in {*COMMANDS, *OPTIONAL, *NOT_NEEDED}}
    assert not unlisted, f"add these to gateway/prerequisites/permissions.py and docs/store.md: {unlisted}"
    unnamed = {*COMMANDS} - named.keys()
    assert not unnamed, f"the sources name these no more: {unnamed}"
