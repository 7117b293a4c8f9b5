from __future__ import annotations

import asyncio

from benchmarks.load.slow_peers import SlowPeer
from tests.waiting import until


async def test_a_peer_stays_and_notes_the_status_of_its_response() -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    peer = SlowPeer("/shop/upload", "198.18.0.1", 5_000)
    running = asyncio.create_task(peer.run(server.sockets[0].getsockname()[1], asyncio.Semaphore(0)))
    await until(lambda: peer.status == "503")
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})
    assert requests[0].startswith(b"POST /shop/upload HTTP/1.1\r\n")
    assert b"X-Forwarded-For: 198.18.0.1\r\nContent-Length: 5000\r\n" in requests[0]
    server.close()
