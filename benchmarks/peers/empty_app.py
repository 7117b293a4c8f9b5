"""The yardstick: aiohttp's `web.Application` with one route and an empty handler, on uvloop, without an access log.

`python -m benchmarks.peers.empty_app PORT` serves until SIGTERM.
"""

import sys

import uvloop
from aiohttp import web


async def empty(_: web.Request) -> web.Response:
    """Return 200 with an empty body."""
    return web.Response()


def empty_app() -> web.Application:
    """An application with this one route."""
    app = web.Application()
    app.router.add_get("/", empty)
    return app


def main() -> None:
    """Serve on 127.0.0.1 at the port given as the only argument."""
    port, loop = int(sys.argv[1]), uvloop.new_event_loop()
    web.run_app(empty_app(), host="127.0.0.1", port=port, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
