"""Clients that send slowly or do not read, all connected at the same time.

`python -m benchmarks.load.slow_peers PORT PATH COUNT ADDRESSES UPLOAD_BYTES` connects them, prints `ready` when all have begun, and on
SIGTERM their number by status. They upload `UPLOAD_BYTES` at 1 KB/s, or read nothing if that is 0.
"""

import asyncio
import signal
import socket
import sys
from collections import Counter
from typing import Final

import orjson
import uvloop

_BYTES_PER_S: Final = 1000
# The kernel must not take megabytes for a client that does not read.
_SMALL_WINDOW: Final = 8 * 1024
_STATUS: Final = slice(9, 12)
# So many bytes of a response to tell its status; no more is read.
_GLIMPSE: Final = 16


class SlowPeer:
    """One client, with the address that it has behind a trusted proxy."""

    def __init__(self, path: str, address: str, upload_bytes: int) -> None:
        self.status = "none"
        self._upload_bytes = upload_bytes
        method = "POST" if upload_bytes else "GET"
        length = f"Content-Length: {upload_bytes}\r\n" if upload_bytes else ""
        self._head = f"{method} {path} HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: {address}\r\n{length}\r\n"

    async def run(self, port: int, begun: asyncio.Semaphore) -> None:
        """Connect, send, and stay."""
        loop = asyncio.get_running_loop()
        with socket.socket() as own:
            own.setblocking(False)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
            await loop.sock_connect(own, ("127.0.0.1", port))
            await loop.sock_sendall(own, self._head.encode())
            begun.release()
            watching = loop.create_task(self._watch(own))
            try:
                await self._send_slowly(own)
                await asyncio.Event().wait()
            except OSError:
                pass  # it was closed
            finally:
                watching.cancel()

    async def _send_slowly(self, own: socket.socket) -> None:
        for _ in range(0, self._upload_bytes, _BYTES_PER_S):
            await asyncio.get_running_loop().sock_sendall(own, bytes(_BYTES_PER_S))
            await asyncio.sleep(1)

    async def _watch(self, own: socket.socket) -> None:
        glimpse = await asyncio.get_running_loop().sock_recv(own, _GLIMPSE)
        self.status = glimpse[_STATUS].decode(errors="replace") or "closed"


async def run_peers(port: int, path: str, count: int, addresses: int, upload_bytes: int) -> Counter[str]:
    """Run them until SIGTERM."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    peers = [
        SlowPeer(path, f"198.18.{n % addresses // 250}.{n % addresses % 250 + 1}", upload_bytes) for n in range(count)
    ]
    begun = asyncio.Semaphore(0)
    running = [loop.create_task(peer.run(port, begun)) for peer in peers]
    for _ in peers:
        await begun.acquire()
    print("ready", flush=True)
    await ending.wait()
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return Counter(peer.status for peer in peers)


def main() -> None:
    """Run the peers that the arguments describe."""
    port, path, *numbers = sys.argv[1:]
    count, addresses, upload_bytes = map(int, numbers)
    seen = uvloop.run(run_peers(int(port), path, count, addresses, upload_bytes))
    sys.stdout.buffer.write(orjson.dumps(seen) + b"\n")


if __name__ == "__main__":
    main()
