"""The hot-path benchmark: CPU time per request beside an empty aiohttp handler and other servers, and of Redis for long carts.

`python -m benchmarks.hot_path.measure [--quick]` starts the gateway with one worker on one core, every layer on; the store,
the upstream and the load (wrk) run on another. Ratios to the empty handler are taken within a round, so that a machine that
is slower for a while does not change them. A busy machine still makes them worse; the benchmark warns of it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.command import check_cores, exit_code_of
from benchmarks.harness.gateway_process import BUILDS, Api, GatewayProcess, HarnessError, serving
from benchmarks.harness.processes import busy_cores, cpu_time, pin
from benchmarks.harness.progress import show_steps
from benchmarks.harness.results import Result, number, results_table, write_results
from benchmarks.hot_path.every_layer import SHOPPERS, EveryLayer
from benchmarks.hot_path.instructions import callgrind, counting, why_perf_cannot_count
from benchmarks.hot_path.ratios import Measured, Sample, ratios_to_peers, ratios_to_yardstick, summarize
from benchmarks.hot_path.redis_cost import RedisCosts
from benchmarks.hot_path.rows import (
    ADD,
    CONNECTIONS,
    NAMES,
    PEER_ROWS,
    READ_LONG,
    YARDSTICK,
    Row,
    Server,
    World,
    check_status,
    gateway_rows,
    peer_rows,
    serving_module,
    yardstick_rows,
)
from benchmarks.load.wrk import find_wrk, play, wrk_version
from benchmarks.peers.servers import Peer, PeerMissing
from benchmarks.replay.tables import table
from store.embedded import store_url

SERVER_CORE, LOAD_CORE = 0, 1
# Cores in use before the measurement. With more, the worker is interrupted, and each wake-up serves fewer requests.
MAX_BUSY_CORES = 0.1
_TRIES = 3
_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Options:
    """The rows and peers to measure, for how long, and whether the results file is written."""

    rounds: int
    seconds: float
    redis_calls: int
    keys: Sequence[str] = tuple(NAMES)
    peers: Sequence[Peer] = tuple(PEER_ROWS)
    # `compiled` or `interpreted`: made before the measurement. None: the gateway as it is.
    build: str | None = None
    counts_instructions: bool = False
    writes_results: bool = False


@dataclass(slots=True)
class _Bench:
    """The rows and the servers that they go to, by name of the row."""

    rows: list[Row] = field(default_factory=list)
    servers: dict[str, Server] = field(default_factory=dict)

    def add(self, rows: Sequence[Row], servers: Mapping[str, Server]) -> None:
        self.rows += rows
        self.servers |= servers


def main() -> int:
    """Entry point of `make bench-hot-path`; 0 when everything could be measured, whether or not targets are met."""
    options = _parse()
    return exit_code_of("hot_path", lambda: measure(options))


def measure(options: Options) -> None:
    """Measure, print the tables and, unless it is a trial, write results/hot_path.json."""
    check_cores(SERVER_CORE, LOAD_CORE)
    find_wrk()
    if options.build is not None:
        _build(options.build)
    busy_before = busy_cores(over_s=1)
    if busy_before > MAX_BUSY_CORES:
        print(f"{busy_before:.1f} cores are in use by other programs: CPU times will be too high", file=sys.stderr)
    # Children inherit this; only the servers that are measured are moved to a core of their own.
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peakgate-bench-")))
        upstream = stack.enter_context(serving_module("benchmarks.upstreams.canned"))
        layers = EveryLayer.prepare(folder, upstream_port=upstream.port)
        gateway = stack.enter_context(
            serving("--workers", "1", "--role", "edge", "--config", str(layers.configuration))
        )
        build = gateway.build()
        if options.build not in {None, build}:
            raise HarnessError(f"the gateway runs {build}, not {options.build}")
        print(f"gateway ({build}) ready after {gateway.started_in_s:.2f} s; preparing carts", file=sys.stderr)
        bench = _Bench()
        bench.add(*yardstick_rows(stack, layers))
        with Api(gateway.port) as api:
            own = gateway_rows(api, layers, options.keys)
        worker = Server(gateway.port, find_worker(gateway, own[0]))
        bench.add(own, {row.name: worker for row in own})
        world = World(gateway, layers, upstream.port)
        for peer in options.peers:
            _add_peer(bench, stack, peer, options.keys, world)
        for server in bench.servers.values():
            pin(server.pid, SERVER_CORE)
        samples = _measure_in_rounds(bench, options)
        instructions = _count(bench, own, gateway, layers) if options.counts_instructions else {}
        store = f"valkey {gateway.store.info('server').get('valkey_version', '')}".strip()
    measured = summarize(bench.rows, samples, instructions)
    results = [*ratios_to_yardstick(measured), *ratios_to_peers(measured)]
    if ADD in options.keys:
        results += _redis_costs(options.redis_calls).results()
    print(f"the gateway ran {build}", _rows_table(measured), results_table(results), sep="\n\n")
    if options.writes_results:
        settings = {
            "build": build,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "connections": CONNECTIONS,
            "shoppers": SHOPPERS,
            "store": store,
            "load": wrk_version(),
            "busy_cores_before": round(busy_before, 2),
        }
        _write(settings, measured, results)


def _write(settings: Mapping[str, object], measured: Sequence[Measured], results: Sequence[Result]) -> None:
    path = write_results("hot_path", settings, {"calls": [each.as_json() for each in measured]}, results)
    print(f"\nwritten to {path}")


def _add_peer(bench: _Bench, stack: ExitStack, peer: Peer, keys: Sequence[str], world: World) -> None:
    compared = [key for key in PEER_ROWS[peer] if key in keys]
    for key in compared:
        if key in peer.cannot:
            print(f"without {peer.name} for the {NAMES[key]}: {peer.cannot[key]}", file=sys.stderr)
    if all(key in peer.cannot for key in compared):
        return
    try:
        rows, server = peer_rows(stack, peer, keys, world)
    except PeerMissing as missing:
        print(f"without {peer.name}: {missing}", file=sys.stderr)
        return
    bench.add(rows, {row.name: server for row in rows})


def _redis_costs(calls: int) -> RedisCosts:
    """Measured with a gateway without limits, whose store calls would be mixed with those of the carts."""
    with serving("--workers", "1", "--role", "edge") as gateway:
        for pid in gateway.server_processes():
            pin(pid, SERVER_CORE)
        return RedisCosts.measure(gateway, calls)


def find_worker(gateway: GatewayProcess, row: Row) -> int:
    """The process that uses CPU time under load; this warms the gateway up as well."""
    before = gateway.cpu_times()
    play(gateway.port, row.groups, seconds=1, connections=CONNECTIONS)
    return gateway.busiest(before)


def sample(server: Server, row: Row, *, seconds: float) -> Sample:
    """The CPU time per request of one row; repeated if there were wrong responses, as on a busy machine."""
    for _ in range(_TRIES):
        before = cpu_time(server.pid)
        load = play(server.port, row.groups, seconds=seconds, connections=CONNECTIONS)
        used = cpu_time(server.pid).since(before)
        wrong = load.requests - load.errors if row.expects_errors else load.errors
        if load.requests and not wrong and not load.socket_errors:
            return Sample(used.total_s / load.requests * 1e6, used.system_s / load.requests * 1e6, load)
    raise HarnessError(
        f"{row.name}: {wrong} of {load.requests} responses have the wrong status, {load.socket_errors} are missing"
    )


def _count(bench: _Bench, own: Sequence[Row], gateway: GatewayProcess, layers: EveryLayer) -> dict[str, float]:
    """Instructions per request by name of the row, by perf where it can count, else by callgrind."""
    reason = why_perf_cannot_count()
    if reason is None:
        return {row.name: _count_with_perf(row, bench.servers[row.name]) for row in bench.rows}
    print(f"{reason}: counting the gateway and the empty handler with callgrind", file=sys.stderr)
    yardsticks = [row for row in bench.rows if row.key == YARDSTICK]
    store = store_url(gateway.data_dir)
    options = ("--config", str(layers.configuration), "--data-dir", str(gateway.data_dir), "--store-url", store)
    counts: dict[str, float] = {}
    with callgrind("empty") as counter:
        counts |= {row.name: counter.count(row.groups, row.status) for row in yardsticks}
    with callgrind("gateway", *options) as counter:
        for row in own:
            # Its responses are written in several pieces, which in_process does not count.
            if row.key != READ_LONG:
                counts[row.name] = counter.count(row.groups, row.status)
                print(f"{row.name}: {counts[row.name]:,.0f} instructions", file=sys.stderr)
    return counts


def _count_with_perf(row: Row, server: Server) -> float:
    with counting(server.pid) as count:
        taken = sample(server, row, seconds=1)
    return count.instructions / taken.load.requests


def _measure_in_rounds(bench: _Bench, options: Options) -> dict[str, list[Sample]]:
    """All rows in each round, the yardsticks first, after one short round of warm-up that is not counted."""
    samples: dict[str, list[Sample]] = {row.name: [] for row in bench.rows}
    for row in bench.rows:
        sample(bench.servers[row.name], row, seconds=row.warm_up_s)
        check_status(bench.servers[row.name].port, row)
    with show_steps(options.rounds * len(bench.rows)) as step:
        for turn in range(1, options.rounds + 1):
            for row in bench.rows:
                taken = sample(bench.servers[row.name], row, seconds=options.seconds)
                samples[row.name].append(taken)
                step(f"round {turn} of {options.rounds}: {row.name} {number(taken.cpu_us)} µs")
    return samples


def _rows_table(measured: Sequence[Measured]) -> str:
    head = [f"{CONNECTIONS} connections, one worker", "CPU µs", "system", "ratio", "requests/s", "p99 ms"]
    yardsticks = {each.row.traffic: each.instructions for each in measured if each.row.key == YARDSTICK}
    if any(yardsticks.values()):
        head += ["instructions", "ratio"]
    rows = []
    for each in measured:
        cells = [each.row.name, number(each.cpu_us), number(each.system_us), f"{each.ratio:.2f}"]
        cells += [f"{each.requests_per_s:,.0f}", number(each.p99_ms)]
        yardstick = yardsticks.get(each.row.traffic)
        if each.instructions and yardstick:
            cells += [f"{each.instructions:,.0f}", f"{each.instructions / yardstick:.2f}"]
        rows.append([*cells, *[""] * (len(head) - len(cells))])
    return table(head, rows)


def _build(build: str) -> None:
    """Run `make compiled` or `make interpreted`. Raises HarnessError if it fails."""
    print(f"make {build}", file=sys.stderr)
    if subprocess.run(["make", build], cwd=_REPOSITORY, stdout=sys.stderr, check=False).returncode:
        raise HarnessError(f"make {build} failed; its output is above")


def _parse() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hot_path.measure", description=__doc__.partition("\n")[0]
    )
    peers = {peer.name.lower(): peer for peer in PEER_ROWS}
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of a second for each row, results not written: for trying it out",
    )
    parser.add_argument("--rounds", type=int, help="rounds (default: 5)")
    parser.add_argument("--seconds", type=float, help="seconds of load for each row in a round (default: 3)")
    parser.add_argument("--rows", metavar="KEY,…", help=f"only these rows, results not written; of {', '.join(NAMES)}")
    parser.add_argument("--peers", metavar="NAME,…", help=f"only beside these peers, or none; of {', '.join(peers)}")
    parser.add_argument("--build", choices=BUILDS, help="run `make compiled` or `make interpreted` first")
    parser.add_argument("--instructions", action="store_true", help="count instructions too, with perf or callgrind")
    args = parser.parse_args()
    keys = _chosen(parser, "--rows", args.rows, NAMES)
    names = [] if args.peers == "none" else _chosen(parser, "--peers", args.peers, peers)
    return Options(
        rounds=args.rounds or (1 if args.quick else 5),
        seconds=args.seconds or (1 if args.quick else 3),
        redis_calls=200 if args.quick else 2000,
        keys=keys,
        peers=[peers[name] for name in names],
        build=args.build,
        counts_instructions=args.instructions,
        writes_results=not args.quick and args.rows is None,
    )


def _chosen(parser: argparse.ArgumentParser, option: str, text: str | None, known: Mapping[str, object]) -> list[str]:
    chosen = list(known) if text is None else text.split(",")
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"{option}: there is no {', '.join(unknown)}; choose of {', '.join(known)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
