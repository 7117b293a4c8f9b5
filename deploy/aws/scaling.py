"""A recorded peak played against the scaling rules of service.yaml, in simulation: when tasks are added, and by what.

`make bench-scaling`, or `python deploy/aws/scaling.py [--peak 20000] [--write]`. The recording is examples/baskets.csv.gz:
its invoices on one day, twelve times as fast, so that the rise of a morning takes ten minutes. Nothing is random.

Application Auto Scaling is modelled by what AWS documents of target tracking: a metric each minute, three minutes above
the target add tasks, fifteen below nine tenths remove them, in proportion to the metric; the highest of several policies
wins. How long a metric and a task take is assumed, below.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from cloudformation import Template, load

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "deploy" / "aws" / "README.md"
PLOT: Final = ROOT / "deploy" / "aws" / "scaling.svg"
MARK: Final = ("<!-- scaling: begin -->", "<!-- scaling: end -->")

# Assumed: from the end of a minute until its metric can trip an alarm, and from the start of a task until it takes requests.
METRIC_DELAY_S: Final = 60
TASK_START_S: Final = 90
# Documented: minutes that a metric has to be above the target, and below nine tenths of it.
MINUTES_ABOVE: Final = 3
MINUTES_BELOW: Final = 15
# A worker task works on so many orders at a time (`--order-concurrency`); each is assumed to take a second, most of it at
# the payment service.
SLOTS: Final = 64
ORDER_S: Final = 1.0
ORDERS_PER_WORKER: Final = SLOTS / ORDER_S
FASTER: Final = 12
# The recording begins this long after the simulation does.
LEAD_MINUTES: Final = 45
TAIL_MINUTES: Final = 20


@dataclass(frozen=True)
class TargetTracking:
    """One policy: the metric that it holds at `target`, and the seconds between two of its actions."""

    name: str
    target: float
    out_cooldown_s: int
    in_cooldown_s: int


@dataclass(frozen=True)
class Rules:
    """The scaling of one service: numbers of tasks, the number during an event, and the policies."""

    least: int
    most: int
    event_least: int
    policies: Sequence[TargetTracking]


def rules_of(template: Template, service: str) -> Rules:
    """The rules of `service` (Edge or Worker) in the template, with the defaults of its parameters."""

    def value(written: Any) -> Any:
        return template["Parameters"][written["Ref"]]["Default"] if isinstance(written, Mapping) else written

    resources = template["Resources"]
    target = resources[f"{service}Scaling"]["Properties"]
    event = target["ScheduledActions"]["Fn::If"][1][0]["ScalableTargetAction"]
    policies = [
        each["Properties"]
        for each in resources.values()
        if each["Type"] == "AWS::ApplicationAutoScaling::ScalingPolicy"
        and each["Properties"]["ScalingTargetId"] == {"Ref": f"{service}Scaling"}
        and each["Properties"]["PolicyType"] == "TargetTrackingScaling"
    ]
    tracking = [(each["PolicyName"], each["TargetTrackingScalingPolicyConfiguration"]) for each in policies]
    return Rules(
        least=value(target["MinCapacity"]),
        most=value(target["MaxCapacity"]),
        event_least=value(event["MinCapacity"]),
        policies=[
            TargetTracking(name, float(value(each["TargetValue"])), each["ScaleOutCooldown"], each["ScaleInCooldown"])
            for name, each in tracking
        ],
    )


# --- the recorded peak -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peak:
    """Requests and orders a second, for each minute."""

    requests: Sequence[float]
    orders: Sequence[float]


def recorded_peak(rows: Iterable[Mapping[str, str]], *, requests_per_s: float) -> Peak:
    """The invoices in `rows` on one day, `FASTER` times as fast, with `requests_per_s` in the busiest minute.

    An invoice is a cart, its lines, a read and a checkout, as `peakgate replay` plays it; all have the mean of the lines,
    because one large order among so few would be a peak by itself.
    """
    times: dict[str, float] = {}
    lines = 0
    for row in rows:
        at = datetime.strptime(row["InvoiceDate"], "%d/%m/%Y %H:%M")  # noqa: DTZ007 - the shop's own clock
        times[row["InvoiceNo"]] = at.hour * 60 + at.minute
        lines += 1
    first, last = min(times.values()), max(times.values())
    counts = [0.0] * (math.ceil((last - first) / FASTER) + 1)
    for at_minute in times.values():
        counts[int((at_minute - first) / FASTER)] += 1
    curve = _smooth(counts)
    factor = requests_per_s / max(curve)
    requests = [each * factor for each in curve]
    orders = [each / (lines / len(times) + 3) for each in requests]
    lead, tail = [0.0] * LEAD_MINUTES, [0.0] * TAIL_MINUTES
    return Peak([*lead, *requests, *tail], [*lead, *orders, *tail])


def _smooth(counts: Sequence[float]) -> list[float]:
    """The mean of seven minutes, or of those that there are: 190 invoices are few for a curve."""
    windows = [counts[max(0, index - 3) : index + 4] for index in range(len(counts))]
    return [sum(window) / len(window) for window in windows]


def recording() -> list[dict[str, str]]:
    """The rows of examples/baskets.csv.gz."""
    with gzip.open(ROOT / "examples" / "baskets.csv.gz", "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- Application Auto Scaling ----------------------------------------------------------------------------------------


@dataclass
class Fleet:
    """The tasks of one service; those that start take requests after `TASK_START_S`."""

    rules: Rules
    least: int = 0
    desired: int = 0
    running: int = 0
    _ready_at: list[int] = field(default_factory=list)
    _metrics: dict[str, list[float]] = field(default_factory=dict)
    _acted_s: int = -(1 << 31)

    def __post_init__(self) -> None:
        """As many tasks as the rules ask for at least, running."""
        self.least = self.desired = self.running = self.rules.least

    def raise_least(self, least: int, now_s: int) -> None:
        """A scheduled action: at least so many tasks from now on."""
        self.least = least
        self._set(max(self.desired, least), now_s)

    def tick(self, now_s: int) -> None:
        """Tasks that have started take requests."""
        self.running += sum(1 for at in self._ready_at if at <= now_s)
        self._ready_at = [at for at in self._ready_at if at > now_s]

    def observe(self, metrics: Mapping[str, float], tasks: int, now_s: int) -> None:
        """These are the policies' metrics of a minute in which so many tasks ran; add or remove tasks."""
        for name, value in metrics.items():
            self._metrics.setdefault(name, []).append(value)
        wanted = [self._wanted(policy, tasks) for policy in self.rules.policies]
        out = [each for each in wanted if each is not None and each > self.desired]
        since_s = now_s - self._acted_s
        if out and since_s >= min(policy.out_cooldown_s for policy in self.rules.policies):
            self._set(max(out), now_s)
        elif since_s >= max(policy.in_cooldown_s for policy in self.rules.policies):
            lower = [each for each in wanted if each is not None and each < self.desired]
            # Tasks are removed once all policies agree, and as few as any of them wants.
            if len(lower) == len(wanted):
                self._set(max(lower), now_s)

    def _wanted(self, policy: TargetTracking, tasks: int) -> int | None:
        """The number of tasks that this policy would set now; None if its alarms are quiet."""
        seen = self._metrics[policy.name]
        above = len(seen) >= MINUTES_ABOVE and min(seen[-MINUTES_ABOVE:]) > policy.target
        below = len(seen) >= MINUTES_BELOW and max(seen[-MINUTES_BELOW:]) < 0.9 * policy.target
        return math.ceil(tasks * seen[-1] / policy.target) if above or below else None

    def _set(self, desired: int, now_s: int) -> None:
        desired = min(max(desired, self.least), self.rules.most)
        if desired == self.desired:
            return
        self._acted_s = now_s
        if desired > self.desired:
            self._ready_at += [now_s + TASK_START_S] * (desired - self.desired)
        else:
            surplus = self.desired - desired
            starting = min(surplus, len(self._ready_at))
            self._ready_at = self._ready_at[starting:]
            self.running -= surplus - starting
        self.desired = desired


# --- the simulation --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Minute:
    """What one minute looked like; `excess` is the share of requests above what the tasks can serve."""

    requests_per_s: float
    edge_tasks: int
    excess: float
    worker_tasks: int
    wait_s: float


def simulate(peak: Peak, edge: Rules, worker: Rules, *, event_minute: int | None = None) -> list[Minute]:
    """Play `peak`; `event_minute` is when the scheduled actions of an event raise the least numbers of tasks."""
    requests_target = next(each.target for each in edge.policies if each.name == "requests-per-target")
    cpu_target = next(each.target for each in edge.policies if each.name == "cpu")
    # The template asks for targets at half of what a load test finds.
    serves_per_s = requests_target / 60 * 100 / cpu_target
    edges, workers = Fleet(edge), Fleet(worker)
    backlog = 0.0
    played = []
    pending: list[tuple[int, Callable[[int], None]]] = []
    for index, (requests, orders) in enumerate(zip(peak.requests, peak.orders, strict=True)):
        start_s = index * 60
        if index == event_minute:
            edges.raise_least(edge.event_least, start_s)
            workers.raise_least(worker.event_least, start_s)
        for second in range(start_s, start_s + 60):
            edges.tick(second)
            workers.tick(second)
            backlog = max(0.0, backlog + orders - workers.running * ORDERS_PER_WORKER)
        served = edges.running * serves_per_s
        played.append(
            Minute(
                requests_per_s=requests,
                edge_tasks=edges.running,
                excess=max(0.0, 1 - served / requests) if requests else 0.0,
                worker_tasks=workers.running,
                wait_s=backlog / (workers.running * ORDERS_PER_WORKER),
            )
        )
        of_edge = {
            "requests-per-target": requests * 60 / edges.running,
            "cpu": min(100.0, 100 * requests / served),
        }
        in_progress = min(backlog + orders * ORDER_S, workers.running * SLOTS)
        of_worker = {
            "backlog-per-task": backlog / workers.running,
            "orders-in-progress-per-task": in_progress / workers.running,
        }
        due_s = start_s + 60 + METRIC_DELAY_S
        pending += [
            (due_s, partial(edges.observe, of_edge, edges.running)),
            (due_s, partial(workers.observe, of_worker, workers.running)),
        ]
        now_s = start_s + 60
        for _at, act in [each for each in pending if each[0] <= now_s]:
            act(now_s)
        pending = [each for each in pending if each[0] > now_s]
    return played


@dataclass(frozen=True)
class Outcome:
    """A simulation in a few figures; minutes count from the first recorded request, before it they are negative."""

    first_added: int
    most_edge_tasks: int
    most_worker_tasks: int
    excess_minutes: int
    excess_share: float
    longest_wait_s: float


def outcome_of(played: Sequence[Minute]) -> Outcome:
    """The figures of a simulation."""
    requests = sum(each.requests_per_s for each in played)
    added = next((index for index, each in enumerate(played) if each.edge_tasks > played[0].edge_tasks), len(played))
    return Outcome(
        first_added=added - LEAD_MINUTES,
        most_edge_tasks=max(each.edge_tasks for each in played),
        most_worker_tasks=max(each.worker_tasks for each in played),
        excess_minutes=sum(1 for each in played if each.excess > 0),
        excess_share=sum(each.requests_per_s * each.excess for each in played) / requests,
        longest_wait_s=max(each.wait_s for each in played),
    )


def table(alone: Sequence[Minute], event: Sequence[Minute]) -> str:
    """Both simulations side by side, in Markdown."""
    rows = [
        "| minute | requests a second | edge tasks: alone, event | above capacity: alone, event | worker tasks: alone, event | wait of an order: alone, event |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for index in [*range(LEAD_MINUTES - 30, LEAD_MINUTES, 10), *range(LEAD_MINUTES, LEAD_MINUTES + 60, 3)]:
        one, two = alone[index], event[index]
        rows.append(
            f"| {index - LEAD_MINUTES} | {one.requests_per_s:,.0f} | {one.edge_tasks}, {two.edge_tasks} "
            f"| {one.excess:.0%}, {two.excess:.0%} | {one.worker_tasks}, {two.worker_tasks} "
            f"| {one.wait_s:,.0f} s, {two.wait_s:,.0f} s |"
        )
    return "\n".join(rows)


def summary(alone: Outcome, event: Outcome) -> str:
    """The figures of both, in Markdown."""
    rows = [
        ("first tasks added, minutes after the first request", f"{alone.first_added}", f"{event.first_added}"),
        ("edge tasks at most", f"{alone.most_edge_tasks}", f"{event.most_edge_tasks}"),
        ("worker tasks at most", f"{alone.most_worker_tasks}", f"{event.most_worker_tasks}"),
        ("minutes with more requests than the tasks can serve", f"{alone.excess_minutes}", f"{event.excess_minutes}"),
        ("share of all requests above that", f"{alone.excess_share:.1%}", f"{event.excess_share:.1%}"),
        ("longest wait of an order in the queue", f"{alone.longest_wait_s:,.0f} s", f"{event.longest_wait_s:,.0f} s"),
    ]
    head = ["| | target tracking alone | with the event's schedule |", "| --- | --- | --- |"]
    return "\n".join([*head, *(f"| {name} | {one} | {two} |" for name, one, two in rows)])


def both(requests_per_s: float) -> tuple[list[Minute], list[Minute]]:
    """A peak of so many requests a second, by target tracking alone, and with the event's schedule."""
    template = load("service")
    peak = recorded_peak(recording(), requests_per_s=requests_per_s)
    edge, worker = rules_of(template, "Edge"), rules_of(template, "Worker")
    return simulate(peak, edge, worker), simulate(peak, edge, worker, event_minute=LEAD_MINUTES - 30)


def report(requests_per_s: float) -> str:
    """Both tables for a peak of so many requests a second."""
    alone, event = both(requests_per_s)
    return f"{summary(outcome_of(alone), outcome_of(event))}\n\n{table(alone, event)}"


def plot(alone: Sequence[Minute], event: Sequence[Minute]) -> str:
    """Requests, and edge tasks of both simulations, as an SVG of 720 by 300."""
    most_requests = max(each.requests_per_s for each in alone)
    most_tasks = max(each.edge_tasks for each in [*alone, *event])

    def line(values: Sequence[float], most: float, style: str) -> str:
        points = " ".join(
            f"{40 + 640 * at / len(values):.0f},{260 - 220 * each / most:.0f}" for at, each in enumerate(values)
        )
        return f'<polyline points="{points}" fill="none" {style}/>'

    def tick(minute: int) -> str:
        x = 40 + 640 * (minute + LEAD_MINUTES) / len(alone)
        return f'<text x="{x:.0f}" y="278" text-anchor="middle">{minute}</text>'

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 300" font-family="sans-serif" font-size="12" role="img">',
        "<title>Requests of the recorded peak, and edge tasks with and without the schedule of an event</title>",
        '<rect width="720" height="300" fill="#fff"/>',
        '<path d="M40 40V260H680" fill="none" stroke="#888"/>',
        line([each.requests_per_s for each in alone], most_requests, 'stroke="#888" stroke-width="1"'),
        line(
            [each.edge_tasks for each in alone], most_tasks, 'stroke="#b5420e" stroke-width="2" stroke-dasharray="6 3"'
        ),
        line([each.edge_tasks for each in event], most_tasks, 'stroke="#0b5cad" stroke-width="2"'),
        *(tick(minute) for minute in range(-40, 70, 10)),
        '<text x="360" y="295" text-anchor="middle">minutes after the first request</text>',
        f'<text x="44" y="20" fill="#666">requests a second (thin), up to {most_requests:,.0f}</text>',
        f'<text x="300" y="20" fill="#b5420e">edge tasks, target tracking alone (dashed), up to {most_tasks}</text>',
        '<text x="300" y="36" fill="#0b5cad">edge tasks, with the event</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def with_report(text: str, tables: str) -> str:
    """The README with these tables between its marks."""
    before, rest = text.split(MARK[0])
    _old, after = rest.split(MARK[1])
    return f"{before}{MARK[0]}\n{tables}\n{MARK[1]}{after}"


PEAK: Final = 20_000.0


def main() -> int:
    """Entry point of `make bench-scaling`."""
    parser = argparse.ArgumentParser(description="Play a recorded peak against the scaling rules of service.yaml.")
    parser.add_argument(
        "--peak", type=float, default=PEAK, help="requests a second in the busiest minute (default: 20000)"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the tables into deploy/aws/README.md, and the plot beside it"
    )
    args = parser.parse_args()
    tables = report(args.peak)
    print(tables)
    if args.write:
        README.write_text(with_report(README.read_text(encoding="utf-8"), tables), encoding="utf-8")
        PLOT.write_text(plot(*both(args.peak)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
