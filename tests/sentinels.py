"""Three Sentinels of the shipped server, that watch a primary and its replica."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.harness.gateway_process import await_port, start_child
from benchmarks.harness.ports import free_port
from benchmarks.harness.store_pair import PATIENCE_S, StoreServer, await_condition, store_pair
from store.embedded import find_binary

NAME: Final = "till"
# Until a primary that does not answer counts as down: long enough for one on a busy machine.
DOWN_MS: Final = 2_000


class Sentinel:
    """One of the Sentinels."""

    def __init__(self, folder: Path, primary_port: int, *options: str) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        # It writes to its file what it learns.
        config = folder / "sentinel.conf"
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {NAME} 127.0.0.1 {primary_port} 2",
            f"sentinel down-after-milliseconds {NAME} {DOWN_MS}",
            # Twice this time after a failover that came to nothing, the next one is tried.
            f"sentinel failover-timeout {NAME} 5000",
            *options,
        ]
        config.write_text("\n".join(lines) + "\n")
        self._words = [str(find_binary()), str(config), "--sentinel", "--logfile", str(folder / "sentinel.log")]
        self.start()

    def start(self) -> None:
        """Start it, again with all that it has learned."""
        self._process: subprocess.Popen[bytes] = start_child(self._words)
        await_port(self._process, self.port)

    def command(self, *words: Any) -> Any:
        with redis.Redis(port=self.port, socket_timeout=PATIENCE_S) as client:
            return client.execute_command(*words)

    def knows(self, others: int) -> bool:
        """Whether it has met so many others, and knows the replica."""
        try:
            state = self.command("SENTINEL", "MASTER", NAME)
        except redis.exceptions.RedisError:
            return False
        met, replicas = (int(state[name]) for name in (b"num-other-sentinels", b"num-slaves"))
        return met == others and replicas == 1

    def primary_port(self) -> int:
        """The port of the primary that it knows."""
        return int(self.command("SENTINEL", "MASTER", NAME)[b"port"])

    def signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()


class Watched:
    """A primary, its replica and their Sentinels."""

    def __init__(self, first: StoreServer, second: StoreServer, sentinels: Sequence[Sentinel]) -> None:
        self.first, self.second, self.sentinels = first, second, sentinels

    @property
    def primary(self) -> StoreServer:
        """The server that calls itself one; the first where both do for a moment."""
        return self.first if _role(self.first) == "master" else self.second

    @property
    def replica(self) -> StoreServer:
        """The other one."""
        return self.second if self.primary is self.first else self.first

    def is_well(self) -> bool:
        """Whether one of them is the primary, has the other as its replica, and the Sentinels know it."""
        try:
            replication = self.replica.info("replication")
            primary = self.primary.port
            return (
                replication.get("master_link_status") == "up"
                and replication["master_port"] == primary
                and all(each.primary_port() == primary for each in self.sentinels)
            )
        except redis.exceptions.RedisError:
            return False

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/{NAME}"


def _role(server: StoreServer) -> str:
    try:
        return str(server.info("replication")["role"])
    except redis.exceptions.RedisError:
        return "away"


@contextmanager
def watched_pair(folder: Path, *options: str, have_met: bool = True) -> Iterator[Watched]:
    """The pair with three Sentinels; unless they `have_met`, they know the primary only, and promote no other."""
    with ExitStack() as stack:
        first, second = stack.enter_context(store_pair(folder, *options))
        sentinels = []
        for number in range(3):
            sentinels.append(Sentinel(folder / f"sentinel-{number}", first.port))
            stack.callback(sentinels[-1].kill)
        for each in sentinels if have_met else ():
            await_condition(lambda each=each: each.knows(2))  # type: ignore[misc]
        yield Watched(first, second, sentinels)
