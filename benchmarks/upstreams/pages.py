"""An upstream with a small page, a long one (`/long`, 1 MB), and uploads that it reads to their end.

`python -m benchmarks.upstreams.pages PORT` serves until SIGTERM.
"""

import asyncio
import contextlib
import sys
from typing import Final

import uvloop
from aiohttp import web

_SMALL: Final = b"<p>page</p>" * 200
_LONG: Final = bytes(1_000_000)


async def _page(request: web.Request) -> web.Response:
    with contextlib.suppress(ConnectionError):  # a slow client was closed
        await request.read()
    body = _LONG if request.path.endswith("/long") else _SMALL
    return web.Response(body=body, content_type="text/html")


async def serve(port: int) -> None:
    """Serve on 127.0.0.1."""
    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/{path:.*}", _page)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
