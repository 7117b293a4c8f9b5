"""A process that takes from a quota shared with others, on a line of its input, and prints how many requests passed."""

from __future__ import annotations

import asyncio
import sys

from gateway.config.policies import Limit
from gateway.http.message import Request, Response, resolve
from gateway.ratelimit.rate_limit import rate_limit
from gateway.ratelimit.redis_quota import RedisQuota
from store import open_client


async def passed(store_url: str, requests: int, limits: tuple[Limit, ...]) -> int:
    """The number of requests that pass, each in a task of its own."""
    client = await open_client(store_url, deadline_s=10.0)
    quota = RedisQuota(client, share=1.0, timeout_s=10.0)
    handler = rate_limit(limits, quota, route="GET /x", mark=_not_alone)(lambda _request: Response(200))

    async def one() -> int:
        request = Request("GET", "/x", "", {}, b"", "id", (), "192.0.2.1")
        return (await resolve(handler(request))).status

    statuses = await asyncio.gather(*(one() for _ in range(requests)))
    await quota.close()
    await client.close()
    return statuses.count(200)


def _not_alone(_request: Request, _what: str) -> None:
    raise AssertionError("the store was not asked")


if __name__ == "__main__":
    FIFTY = Limit(name="fifty", by="address", quota=50, window_s=3_600.0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{asyncio.run(passed(sys.argv[1], 200, (FIFTY,)))}\n")
