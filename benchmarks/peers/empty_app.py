"""The yardstick: aiohttp's `web.Application` with one route and an empty handler, on uvloop, without an access log.

`python -m benchmarks.peers.empty_app PORT` serves until SIGTERM.
"""

import sys

import uvloop
from aiohttp import web


async def empty(_: web.Request) -> web.Response:
    """Return 200 with an empty body."""
    return web.Response()


def main() -> None:
    """Serve on 127.0.0.1 at the port given as the only argument."""
    app = web.Application()
    app.router.add_get("/", empty)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
