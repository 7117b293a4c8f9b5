"""The plots of the console: for each its title, a sentence that says how to read it, a runbook, and its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from gateway.admin.reading import WORKER, Reading, carts_made
from gateway.cache.stats import FETCHES, HITS

Lines = Mapping[str, float]
MINUTE: Final = 60.0
QUANTILES: Final = (0.5, 0.95, 0.99)
# Refusals that are shown by name; there are more kinds of problems than a plot has colours.
MAX_REASONS: Final = 8


class Plot(Struct, frozen=True):
    """A plot. `read` gives the value of each line from a look at the metrics, in the unit of the plot."""

    name: str
    title: str
    # per second, per minute, s, bytes, share, or a plain number
    unit: str
    meaning: str
    runbook: str
    read: Callable[[Reading], Lines]
    # Lines that a person wants one by one, on demand only: those of workers.
    detail: bool = False


def _named(name: str, values: Lines) -> Lines:
    """A single value under a name, or nothing."""
    return dict.fromkeys([name] if values else [], next(iter(values.values()), 0.0))


def _requests(reading: Reading) -> Lines:
    return _named("requests", reading.rate("peakgate_requests_total"))


def _classes(reading: Reading) -> Lines:
    classes: dict[str, float] = {}
    for status, rate in reading.rate("peakgate_requests_total", by="status").items():
        name = f"{status[:1]}xx"
        classes[name] = classes.get(name, 0.0) + rate
    return classes


def _refusals(reading: Reading) -> Lines:
    reasons = sorted(reading.rate("peakgate_problems_total", by="problem").items(), key=lambda each: -each[1])
    shown = dict(reasons[:MAX_REASONS])
    if others := sum(rate for _, rate in reasons[MAX_REASONS:]):
        shown["others"] = others
    return shown


def _latency(reading: Reading) -> Lines:
    times = reading.quantiles("peakgate_request_seconds", QUANTILES)
    return {f"p{share:.0%}".rstrip("%"): value for share, value in times.items()}


def _orders(reading: Reading) -> Lines:
    changes = reading.rate("peakgate_order_changes_total", by="status")
    return {status.replace("_", " "): rate * MINUTE for status, rate in changes.items()}


def _money(reading: Reading) -> Lines:
    taken = reading.rate(
        "peakgate_order_money_total", by="currency", where=lambda labels: labels["became"] == "accepted"
    )
    return {currency: rate * MINUTE for currency, rate in taken.items()}


def _waiting(reading: Reading) -> Lines:
    levels = {
        "outbox": "peakgate_outbox_messages",
        "queue": "peakgate_queue_messages",
        "need attention": "peakgate_orders_needing_attention",
        "dead letters": "peakgate_dead_letters",
    }
    return {name: value for name, metric in levels.items() for value in reading.level(metric).values()}


def _ages(reading: Reading) -> Lines:
    ages = {"outbox": "peakgate_outbox_oldest_seconds", "queue": "peakgate_queue_oldest_seconds"}
    return {name: value for name, metric in ages.items() for value in reading.level(metric).values()}


def _rooms(reading: Reading) -> Lines:
    waiting, inside = (
        reading.level("peakgate_room_waiting", by="room"),
        reading.level("peakgate_room_active", by="room"),
    )
    return {
        **{f"{room}: waiting": value for room, value in waiting.items()},
        **{f"{room}: inside": value for room, value in inside.items()},
    }


def _stock(reading: Reading) -> Lines:
    levels = reading.level("peakgate_room_stock", by="room")
    return {
        **{f"room {room}": units for room, units in levels.items()},
        **_named("SKUs with few units", reading.level("peakgate_low_stock_skus")),
    }


def _cache(reading: Reading) -> Lines:
    results = reading.rate("peakgate_cache_results_total", by="result")
    served = sum(results.get(result, 0.0) for result in HITS)
    all_of_them = served + sum(results.get(result, 0.0) for result in FETCHES)
    return {"hit share": served / all_of_them} if all_of_them else {}


def _breakers(reading: Reading) -> Lines:
    states = reading.level(
        "peakgate_breaker_state", by="dependency", where=lambda labels: labels["state"] != "closed", combine=sum
    )
    return {dependency: workers for dependency, workers in states.items() if workers}


def _funnel(reading: Reading) -> Lines:
    changes = reading.rate("peakgate_order_changes_total", by="status")
    steps = {
        "carts": carts_made(reading),
        "checkouts": sum(reading.rate("peakgate_checkouts_total").values()),
        "accepted": changes.get("accepted", 0.0),
        "paid": changes.get("payment_authorised", 0.0),
        "completed": changes.get("completed", 0.0),
    }
    return {name: rate * MINUTE for name, rate in steps.items()}


PLOTS: Final[Sequence[Plot]] = (
    Plot(
        "requests",
        "Requests",
        "per second",
        "All requests that reached a worker, refused ones too.",
        "overload",
        _requests,
    ),
    Plot(
        "classes",
        "Answers by class",
        "per second",
        "2xx served, 3xx unchanged, 4xx refused with a reason, 5xx failed or sent to a waiting room.",
        "checkout-failing",
        _classes,
    ),
    Plot(
        "refusals",
        "Refusals by reason",
        "per second",
        "Responses that tell a problem, by its type. Out of stock and rate limits are a shop at work; dependency-unavailable "
        "and internal-error are not.",
        "checkout-failing",
        _refusals,
    ),
    Plot(
        "latency",
        "Response times",
        "s",
        "From a complete request to its response in the gateway: half, 95 % and 99 % of them are faster.",
        "cart-reads-slow",
        _latency,
    ),
    Plot(
        "funnel",
        "From carts to orders",
        "per minute",
        "Carts made, checkouts tried, orders accepted, paid and completed. A step that falls behind the one before it is where "
        "shoppers are lost.",
        "checkout-failing",
        _funnel,
    ),
    Plot(
        "orders",
        "Orders by new status",
        "per minute",
        "Orders that reached a status. Accepted and completed run side by side; a gap that stays is a backlog.",
        "orders-late",
        _orders,
    ),
    Plot(
        "money",
        "Money accepted",
        "per minute",
        "Totals of accepted orders, in major units of each currency.",
        "checkout-failing",
        _money,
    ),
    Plot(
        "waiting",
        "Orders that wait",
        "",
        "Messages that the queue does not have yet, messages in the queue, orders that need a person, and messages that are no "
        "orders.",
        "orders-late",
        _waiting,
    ),
    Plot(
        "ages",
        "Age of the oldest message",
        "s",
        "How long the oldest message has waited in the outbox and in the queue. Minutes mean that shoppers wait for their "
        "confirmation.",
        "queue-away",
        _ages,
    ),
    Plot(
        "lag",
        "Loop lag",
        "s",
        "The time in which the busiest worker served all that was ready. Above 50 ms shoppers feel it.",
        "overload",
        lambda reading: _named("slowest worker", reading.level("peakgate_loop_lag_seconds")),
    ),
    Plot(
        "pressure",
        "Load shed",
        "share",
        "The share of requests that the worker under most pressure sheds, the least critical first.",
        "overload",
        lambda reading: _named("most", reading.level("peakgate_shedding_pressure")),
    ),
    Plot(
        "breakers",
        "Breakers that are not closed",
        "",
        "In how many workers calls to a dependency are stopped or tried again.",
        "store-away",
        _breakers,
    ),
    Plot(
        "rooms",
        "Waiting rooms",
        "",
        "Shoppers who wait, and who are inside.",
        "overload",
        _rooms,
    ),
    Plot(
        "stock",
        "Stock",
        "",
        "Units for sale of the products that a waiting room watches, all its SKUs together, and how many products a sale left with "
        "few units.",
        "hot-sku",
        _stock,
    ),
    Plot(
        "cache",
        "Cache hits",
        "share",
        "Of the requests that may be cached, the share that was served without the shop's own servers.",
        "overload",
        _cache,
    ),
    Plot(
        "cpu",
        "Processor by worker",
        "share",
        "Of a core. A worker has one; at 90 % it begins to shed.",
        "overload",
        lambda reading: reading.rate("peakgate_cpu_seconds_total", by=WORKER),
        detail=True,
    ),
    Plot(
        "memory",
        "Memory by worker",
        "bytes",
        "Resident memory. A line that rises for hours is a leak.",
        "gateway-down",
        lambda reading: reading.level("peakgate_memory_bytes", by=WORKER),
        detail=True,
    ),
    Plot(
        "lag_by_worker",
        "Loop lag by worker",
        "s",
        "One worker with a lag of its own is replaced; all of them are overload.",
        "overload",
        lambda reading: reading.level("peakgate_loop_lag_seconds", by=WORKER),
        detail=True,
    ),
    Plot(
        "requests_by_worker",
        "Requests by worker",
        "per second",
        "The kernel spreads connections over the workers; long ones make it uneven.",
        "overload",
        lambda reading: reading.rate("peakgate_requests_total", by=WORKER),
        detail=True,
    ),
)


def values(reading: Reading) -> dict[str, float]:
    """The values of all lines, by `plot/line`."""
    return {f"{plot.name}/{line}": value for plot in PLOTS for line, value in plot.read(reading).items()}
