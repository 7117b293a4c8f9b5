"""Conformance of the response cache: the public suite http-cache-tests against a gateway in front of its origin.

`python -m benchmarks.scenarios.cache_conformance [--workers N] [--suite FOLDER]`. Needs Node.js; without `--suite` also npm, which
installs the suite into a temporary folder.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.harness.command import exit_code_of
from benchmarks.harness.gateway_process import HarnessError, await_port, serving, start_child, stop_child
from benchmarks.harness.ports import free_port
from benchmarks.harness.results import Result, write_results

PACKAGE = "http-cache-tests"
VERSION = "0.4.5"
# The kinds of tests: a failed one is a fault, a missed chance, or neither.
REQUIRED, OPTIMAL, CHECK = "required", "optimal", "check"
_SUITE_TIMEOUT_S = 600.0
# Bursts of a hundred tests are not overload, and rejected requests would be counted as failures of the cache.
_CONFIGURATION = """\
[shedding]
enabled = false

[[upstreams]]
name = "origin"
targets = ["http://127.0.0.1:{port}"]

[[routes]]
prefix = "/"
upstream = "origin"
cache = true
"""
# Prints what the suite knows of its tests.
_LIST_TESTS = """
const load = async (name) => (await import(`file://${process.argv[1]}/tests/${name}.mjs`)).default
const suites = [...(await load('index')), await load('surrogate-control')]
const rows = suites.flatMap((suite) => suite.tests).map((test) => ({
  id: test.id, kind: test.kind ?? 'required', depends_on: test.depends_on ?? [], browser_only: test.browser_only ?? false
}))
console.log(JSON.stringify([...new Map(rows.map((row) => [row.id, row])).values()]))
"""


@dataclass(frozen=True, slots=True)
class Count:
    """The tests of one kind: how many there are, how many passed, and those that failed with the reason."""

    total: int
    passed: int
    failed: Mapping[str, str]


def count(tests: Sequence[Mapping[str, Any]], results: Mapping[str, Any], kind: str) -> Count:
    """Count the tests of a kind as the suite's own pages do: one passes only if those that it depends on pass too."""
    known = {test["id"]: test for test in tests}

    def failure(name: str) -> str:
        if results.get(name) is not True:
            result = results.get(name)
            return ": ".join(map(str, result)) if isinstance(result, list) else "not run"
        failing = [each for each in known[name]["depends_on"] if each in known and failure(each)]
        return f"depends on {', '.join(failing)}" if failing else ""

    names = [name for name, test in known.items() if test["kind"] == kind and not test["browser_only"]]
    failed = {name: reason for name in names if (reason := failure(name))}
    return Count(len(names), len(names) - len(failed), failed)


def main() -> int:
    """Entry point of `make bench-cache-conformance`; 0 when the suite could be run, whatever its results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scenarios.cache_conformance", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--workers", type=int, help="worker processes; the gateway's default unless given")
    parser.add_argument("--suite", type=Path, help=f"a folder with {PACKAGE} installed, instead of installing it")
    args = parser.parse_args()

    def run() -> None:
        with tempfile.TemporaryDirectory(prefix="peakgate-conformance-") as folder:
            suite = args.suite.resolve() if args.suite is not None else install(Path(folder))
            measure(suite, Path(folder), args.workers)

    return exit_code_of("cache_conformance", run)


def install(folder: Path) -> Path:
    """Install the suite below the folder; returns where it is."""
    npm = _program("npm")
    print(f"installing {PACKAGE} {VERSION} into {folder}", file=sys.stderr)
    options = ["--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]
    _output([npm, "install", *options, f"{PACKAGE}@{VERSION}"])
    return folder / "node_modules" / PACKAGE


def measure(suite: Path, folder: Path, workers: int | None) -> None:
    """Run the suite, print the counts and write results/cache_conformance.json."""
    node = _program("node")
    tests = orjson.loads(_output([node, "--input-type=module", "--eval", _LIST_TESTS, str(suite)]))
    results = run(node, suite, folder, workers)
    counts = {kind: count(tests, results, kind) for kind in (REQUIRED, OPTIMAL, CHECK)}
    for kind in (REQUIRED, OPTIMAL):
        counted = counts[kind]
        print(f"{kind}: {counted.passed} of {counted.total} passed")
        for name, reason in counted.failed.items():
            print(f"  {name}: {reason}")
    print(f"{CHECK}: {counts[CHECK].passed} of {counts[CHECK].total} answered yes")
    path = write_results(
        "cache_conformance",
        {"suite": f"{PACKAGE} {VERSION}", "workers": workers or os.cpu_count()},
        {kind: {"passed": each.passed, "of": each.total} for kind, each in counts.items()},
        [Result(name, 1, "failed", note=reason) for name, reason in sorted(_failures(counts).items())],
    )
    print(f"written to {path}")


def run(node: str, suite: Path, folder: Path, workers: int | None) -> Mapping[str, Any]:
    """The result of each test by its id: true, or a list with the kind of failure and the reason."""
    port, configuration = free_port(), folder / "peakgate.toml"
    configuration.write_text(_CONFIGURATION.format(port=port))
    origin = start_child(
        [node, str(suite / "server" / "server.mjs")],
        environment={
            "npm_config_protocol": "http",
            "npm_config_port": str(port),
            "npm_config_pidfile": str(folder / "origin.pid"),
        },
    )
    try:
        await_port(origin, port)
        options = [] if workers is None else ["--workers", str(workers)]
        with serving("--config", str(configuration), *options, catalogue=None) as gateway:
            environment = {"npm_config_base": gateway.url, "npm_config_id": "", "npm_package_config_id": ""}
            output = _output([node, "--no-warnings", str(suite / "cli.mjs")], environment)
    finally:
        stop_child(origin)
    results: Mapping[str, Any] = orjson.loads(output)
    return results


def _failures(counts: Mapping[str, Count]) -> Mapping[str, str]:
    return {f"{kind} {name}": reason for kind in (REQUIRED, OPTIMAL) for name, reason in counts[kind].failed.items()}


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise HarnessError(f"{name} is not on PATH; on Debian and Ubuntu `apt install nodejs npm` installs it")
    return path


def _output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> bytes:
    """The standard output of a command. Raises `HarnessError` if it fails."""
    try:
        done = subprocess.run(
            command,
            env=os.environ | dict(environment or {}),
            capture_output=True,
            check=True,
            timeout=_SUITE_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or [""]
        raise HarnessError(f"{command[0]} failed: {lines[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"{command[0]} did not end within {_SUITE_TIMEOUT_S:g} s") from error
    return done.stdout
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
