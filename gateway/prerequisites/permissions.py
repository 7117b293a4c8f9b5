"""The commands that Peakgate sends to the store, and a check that its user may run them all.

A user that lacks one is refused at the start, with the name of the command: without XREADGROUP orders would be accepted and
never worked off. A test holds that the adapters and their scripts use these commands and no others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from store import ReplyError
from store.exchange import exchange
from store.resp import Arg

TIMEOUT_S: Final = 5.0
_KEY: Final = "peakgate:permissions"
_UNUSED: Final = "{peakgate}:unused"
_CHANNEL: Final = "{peakgate}:unused"

# Each command as the ACL names it, with arguments that let it run without an effect. The key is a string, so that
# commands of other types end in WRONGTYPE: the server checks permissions before types.
COMMANDS: Final[Mapping[str, Sequence[Arg]]] = {
    "set": (_KEY, "text", "PX", 60_000),
    "get": (_KEY,),
    "exists": (_KEY,),
    "mget": (_KEY,),
    "incr": (_KEY,),
    "expire": (_KEY, 60),
    "pexpire": (_KEY, 60_000),
    "pttl": (_KEY,),
    "ttl": (_KEY,),
    "del": (_UNUSED,),
    "unlink": (_UNUSED,),
    "hdel": (_KEY, "field"),
    "hexists": (_KEY, "field"),
    "hget": (_KEY, "field"),
    "hgetall": (_KEY,),
    "hincrby": (_KEY, "field", 1),
    "hlen": (_KEY,),
    "hmget": (_KEY, "field"),
    "hrandfield": (_KEY, 1),
    "hscan": (_KEY, 0),
    "hset": (_KEY, "field", "value"),
    "hsetnx": (_KEY, "field", "value"),
    "scan": ("0",),
    "sadd": (_KEY, "member"),
    "scard": (_KEY,),
    "smembers": (_KEY,),
    "srem": (_KEY, "member"),
    "zadd": (_KEY, 1, "member"),
    "zcard": (_KEY,),
    "zpopmin": (_KEY,),
    "zrange": (_KEY, 0, 0),
    "zrank": (_KEY, "member"),
    "zrem": (_KEY, "member"),
    "zrevrange": (_KEY, 0, 0),
    "zrevrank": (_KEY, "member"),
    "zscore": (_KEY, "member"),
    "xack": (_KEY, "group", "1-1"),
    "xadd": (_KEY, "*", "field", "value"),
    "xautoclaim": (_KEY, "group", "consumer", 0, "0-0"),
    "xclaim": (_KEY, "group", "consumer", 0, "1-1"),
    "xdel": (_KEY, "1-1"),
    "xgroup|create": (_KEY, "group", "$"),
    "xgroup|delconsumer": (_KEY, "group", "consumer"),
    "xinfo|consumers": (_KEY, "group"),
    "xinfo|groups": (_KEY,),
    "xlen": (_KEY,),
    "xpending": (_KEY, "group"),
    "xrange": (_KEY, "-", "+"),
    "xrevrange": (_KEY, "+", "-"),
    "xreadgroup": ("GROUP", "group", "consumer", "STREAMS", _KEY, ">"),
    "eval": ("return 1", 0),
    "evalsha": ("0" * 40, 0),
    "script|load": ("return 1",),
    "ssubscribe": (_CHANNEL,),
    "sunsubscribe": (_CHANNEL,),
    "spublish": (_CHANNEL, ""),
    "time": (),
    "ping": (),
    "info": ("server",),
    "client|id": (),
    "client|unblock": (0,),
}
# WAITAOF is for the durability `aof`, WAIT for `replica`, SELECT for another database than 0, ASKING and CLUSTER SLOTS for a cluster; each connection names its library.
OPTIONAL: Final = ("wait", "waitaof", "select", "client|setinfo", "asking", "cluster|slots")
# Also for `peakgate store report`; a section that lacks one says so.
REPORT: Final = ("memory|usage", "object|freq", "slowlog|get", "cluster|slot-stats")
_CLUSTER: Final[Mapping[str, Sequence[Arg]]] = {"asking": (), "cluster|slots": ()}
_MAY_NOT_RUN: Final = re.compile(r"run the|unknown (?:sub)?command", re.IGNORECASE)


def acl_rules() -> str:
    """The rules of a user with the permissions that Peakgate needs, and no others."""
    return " ".join(["~*", "&*", "-@all", *(f"+{name}" for name in sorted([*COMMANDS, *OPTIONAL]))])


def report_rules() -> str:
    """The further rules of a user who makes a report of the store with all sections."""
    return " ".join(f"+{name}" for name in REPORT)


async def missing_permissions(url: str, *, is_cluster: bool = False) -> Sequence[str]:
    """The commands, keys and channels that the user of this address may not use. Raises `StoreUnavailable`."""
    needed = {**COMMANDS, **(_CLUSTER if is_cluster else {})}
    commands = [(*name.upper().split("|"), *arguments) for name, arguments in needed.items()]
    replies = await exchange(url, commands, timeout_s=TIMEOUT_S)
    missing = [_missing(name, reply) for name, reply in zip(needed, replies, strict=False)]
    return list(dict.fromkeys(each for each in missing if each is not None))


def _missing(name: str, reply: object) -> str | None:
    """The permission that this reply shows to be missing, if any."""
    if not isinstance(reply, ReplyError):
        return None
    text = str(reply)
    if _MAY_NOT_RUN.search(text):
        return name
    if reply.code != "NOPERM":
        return None
    return "all channels (&*)" if "channel" in text else "all keys (~*)"
