"""The Grafana dashboards: overview, edge, orders, store. Each panel says in its description how to read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, Threshold, ThresholdsMode

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
CHECKOUT = 'route="/v1/checkout",method="POST"'
CARTS_MADE = 'peakgate_requests_total{route="/v1/carts",method="POST",status="201"}'
Query = tuple[str, str]


def overview() -> dashboard.Dashboard:
    """For everybody, on the wall: whether the shop is selling."""
    return (
        _dashboard("overview", "Peakgate: overview", "Is the shop selling? Service levels first, then load and money.")
        .with_row(dashboard.Row("Service levels"))
        .with_panel(
            _share(
                "Checkouts that failed, last hour",
                "peakgate:checkout_availability:error_ratio_1h",
                0.001,
                "The objective is 0.1 %. Refusals with a reason and places in a waiting room do not count.",
            )
        )
        .with_panel(
            _share(
                "Cart reads above 100 ms, last hour",
                "peakgate:cart_latency:error_ratio_1h",
                0.01,
                "The objective is 1 %.",
            )
        )
        .with_panel(
            _share(
                "Orders not completed in 5 minutes, last hour",
                "peakgate:order_completion:error_ratio_1h",
                0.01,
                "The objective is 1 %. Orders that are not completed yet are on the dashboard of orders.",
            )
        )
        .with_row(dashboard.Row("Now"))
        .with_panel(
            _plot(
                "Requests",
                "reqps",
                [("sum(rate(peakgate_requests_total[$__rate_interval]))", "requests")],
                "All requests that a gateway received.",
            )
        )
        .with_panel(
            _plot(
                "Answers by class",
                "reqps",
                [
                    (
                        'sum by (class) (label_replace(rate(peakgate_requests_total[$__rate_interval]), "class", "${1}xx", "status", "(.).."))',
                        "{{class}}",
                    )
                ],
                "2xx served, 3xx unchanged, 4xx refused with a reason, 5xx failed, or a waiting room.",
            )
        )
        .with_panel(
            _plot(
                "Orders a minute",
                "short",
                [
                    (
                        '60 * sum by (status) (rate(peakgate_order_changes_total{status=~"accepted|completed|cancelled"}[$__rate_interval]))',
                        "{{status}}",
                    )
                ],
                "Accepted and completed run side by side. A gap that grows is a backlog.",
            )
        )
        .with_panel(
            _plot(
                "Money accepted a minute",
                "short",
                [
                    (
                        '60 * sum by (currency) (rate(peakgate_order_money_total{became="accepted"}[$__rate_interval]))',
                        "{{currency}}",
                    )
                ],
                "In major units of each currency.",
            )
        )
        .with_panel(
            _plot(
                "Refusals by reason",
                "reqps",
                [("sum by (problem) (rate(peakgate_problems_total[$__rate_interval]))", "{{problem}}")],
                "Responses that tell a problem, by its type. The page /problems/<type> of a gateway explains each.",
            )
        )
        .with_panel(
            _plot(
                "Shoppers in waiting rooms",
                "short",
                [
                    ("max by (room) (peakgate_room_waiting)", "{{room}} waiting"),
                    ("max by (room) (peakgate_room_active)", "{{room}} admitted"),
                ],
                "All workers count the same room.",
            )
        )
    )


def edge() -> dashboard.Dashboard:
    """For the person on call: why it is slow, or why it says no."""
    return (
        _dashboard("edge", "Peakgate: edge", "Latency, overload, limits, cache and upstreams of the gateways.")
        .with_row(dashboard.Row("Latency"))
        .with_panel(
            _plot(
                "Response times of carts and checkout",
                "s",
                [
                    (
                        f'histogram_quantile({q}, sum by (le) (rate(peakgate_request_seconds_bucket{{route=~"/v1/(carts.*|checkout)"}}[$__rate_interval])))',
                        f"p{label}",
                    )
                    for q, label in ((0.5, "50"), (0.95, "95"), (0.99, "99"))
                ],
                "From a complete request to its response, upper bounds of buckets interpolated.",
            )
        )
        .with_panel(
            _plot(
                "99th percentile by route",
                "s",
                [
                    (
                        "histogram_quantile(0.99, sum by (le, route) (rate(peakgate_request_seconds_bucket[$__rate_interval])))",
                        "{{route}}",
                    )
                ],
                "One slow route is its own cause; all of them are the processor or the store.",
            )
        )
        .with_row(dashboard.Row("Overload"))
        .with_panel(
            _plot(
                "Loop lag",
                "s",
                [("max by (instance, worker) (peakgate_loop_lag_seconds)", "{{instance}} {{worker}}")],
                "The time in which a worker's loop served everything that was ready. Above 50 ms shoppers feel it.",
            )
        )
        .with_panel(
            _plot(
                "CPU by worker",
                "percentunit",
                [
                    (
                        "sum by (instance, worker) (rate(peakgate_cpu_seconds_total[$__rate_interval]))",
                        "{{instance}} {{worker}}",
                    )
                ],
                "Cores. A worker has one.",
            )
        )
        .with_panel(
            _plot(
                "Pressure",
                "percentunit",
                [("max by (instance, worker) (peakgate_shedding_pressure)", "{{instance}} {{worker}}")],
                "Share of requests to shed, least critical first.",
            )
        )
        .with_panel(
            _plot(
                "Shed requests",
                "reqps",
                [("sum by (criticality) (rate(peakgate_shed_requests_total[$__rate_interval]))", "{{criticality}}")],
                "0 is the checkout: the last to be shed.",
            )
        )
        .with_panel(
            _plot(
                "Requests in flight and their limit",
                "short",
                [
                    ("sum by (dependency) (peakgate_requests_in_flight)", "{{dependency}}"),
                    ("sum by (dependency) (peakgate_concurrency_limit)", "limit of {{dependency}}"),
                ],
                "Requests that wait for a dependency.",
            )
        )
        .with_panel(
            _plot(
                "Memory by worker",
                "bytes",
                [("max by (instance, worker) (peakgate_memory_bytes)", "{{instance}} {{worker}}")],
                "Resident memory.",
            )
        )
        .with_row(dashboard.Row("Limits, cache, upstreams"))
        .with_panel(
            _plot(
                "Decisions of rate limits",
                "reqps",
                [
                    (
                        "sum by (limit, outcome) (rate(peakgate_limit_decisions_total[$__rate_interval]))",
                        "{{limit}} {{outcome}}",
                    )
                ],
                "Rejected ones got 429.",
            )
        )
        .with_panel(
            _plot(
                "Results of the response cache",
                "reqps",
                [("sum by (result) (rate(peakgate_cache_results_total[$__rate_interval]))", "{{result}}")],
                "Hits cost no upstream anything.",
            )
        )
        .with_panel(
            _plot(
                "Upstreams",
                "reqps",
                [
                    (
                        "sum by (upstream, outcome) (rate(peakgate_upstream_requests_total[$__rate_interval]))",
                        "{{upstream}} {{outcome}}",
                    )
                ],
                "Requests to the shop's own servers.",
            )
        )
        .with_panel(
            _plot(
                "Restarts",
                "short",
                [
                    (
                        "sum by (instance, process) (increase(peakgate_restarts_total[$__rate_interval]))",
                        "{{instance}} {{process}}",
                    )
                ],
                "A process that died and was started again.",
            )
        )
    )


def orders() -> dashboard.Dashboard:
    """From the checkout to the archive: where orders wait, and why."""
    return (
        _dashboard("orders", "Peakgate: orders", "From the checkout to the archive.")
        .with_row(dashboard.Row("Checkouts"))
        .with_panel(
            _plot(
                "Checkouts by result",
                "reqps",
                [("sum by (result) (rate(peakgate_checkouts_total[$__rate_interval]))", "{{result}}")],
                "Accepted, replayed, failed, or the reason of the refusal.",
            )
        )
        .with_panel(
            _plot(
                "Conversion of carts, by the hour",
                "percentunit",
                [
                    (
                        f'sum(increase(peakgate_checkouts_total{{result="accepted"}}[1h])) / sum(increase({CARTS_MADE}[1h]))',
                        "accepted checkouts / carts made",
                    )
                ],
                "Of the same hour, not of the same carts: a cart that is checked out later counts in the later hour.",
            )
        )
        .with_panel(
            _plot(
                "Money by fate",
                "short",
                [
                    (
                        "60 * sum by (became, currency) (rate(peakgate_order_money_total[$__rate_interval]))",
                        "{{became}} {{currency}}",
                    )
                ],
                "Major units a minute.",
            )
        )
        .with_row(dashboard.Row("On their way"))
        .with_panel(
            _plot(
                "Orders by status", "short", [("max by (status) (peakgate_orders)", "{{status}}")], "Of the whole shop."
            )
        )
        .with_panel(
            _plot(
                "Time from accepted to completed",
                "s",
                [
                    (
                        f"histogram_quantile({q}, sum by (le) (rate(peakgate_order_completion_seconds_bucket[$__rate_interval])))",
                        f"p{label}",
                    )
                    for q, label in ((0.5, "50"), (0.99, "99"))
                ],
                "The objective is 99 % within five minutes.",
            )
        )
        .with_panel(
            _plot(
                "What waits",
                "short",
                [
                    ("max(peakgate_outbox_messages)", "outbox"),
                    ("max(peakgate_queue_messages)", "queue"),
                    ("sum(peakgate_orders_in_progress)", "in progress"),
                    ("max(peakgate_stock_claims)", "open checkouts"),
                ],
                "The outbox is empty in good times; the queue is the signal by which workers are added.",
            )
        )
        .with_panel(
            _plot(
                "Age of the oldest",
                "s",
                [("max(peakgate_outbox_oldest_seconds)", "outbox"), ("max(peakgate_queue_oldest_seconds)", "queue")],
                "Above five minutes somebody is woken.",
            )
        )
        .with_panel(
            _plot(
                "Steps, 99th percentile",
                "s",
                [
                    (
                        "histogram_quantile(0.99, sum by (le, step) (rate(peakgate_order_step_seconds_bucket[$__rate_interval])))",
                        "{{step}}",
                    )
                ],
                "With retries. A slow step is a slow service.",
            )
        )
        .with_panel(
            _plot(
                "Runs by their end",
                "ops",
                [("sum by (end) (rate(peakgate_order_runs_total[$__rate_interval]))", "{{end}}")],
                "Deferred ones wait for a service, set aside ones for a person.",
            )
        )
        .with_row(dashboard.Row("For a person"))
        .with_panel(
            _plot(
                "Orders that need attention, dead letters, findings",
                "short",
                [
                    ("max(peakgate_orders_needing_attention)", "need attention"),
                    ("max(peakgate_dead_letters)", "dead letters"),
                    ("sum by (rule) (peakgate_audit_findings)", "{{rule}}"),
                ],
                "All of them are 0 on a good day.",
            )
        )
        .with_panel(
            _plot(
                "Events behind",
                "s",
                [
                    ("max by (sink) (peakgate_events_oldest_seconds)", "{{sink}}"),
                    ("max by (endpoint) (peakgate_webhook_oldest_due_seconds)", "{{endpoint}}"),
                ],
                "Age of the oldest event that a sink does not have.",
            )
        )
    )


def store() -> dashboard.Dashboard:
    """The store and the other dependencies, as the gateways see them."""
    return (
        _dashboard(
            "store", "Peakgate: store and dependencies", "As the gateways see them; the store has metrics of its own."
        )
        .with_row(dashboard.Row("Breakers"))
        .with_panel(
            _plot(
                "Breakers that are not closed",
                "short",
                [('sum by (dependency) (peakgate_breaker_state{state!="closed"})', "{{dependency}}")],
                "How many workers.",
            )
        )
        .with_panel(
            _plot(
                "Calls by outcome",
                "ops",
                [
                    (
                        "sum by (dependency, outcome) (rate(peakgate_breaker_calls_total[$__rate_interval]))",
                        "{{dependency}} {{outcome}}",
                    )
                ],
                "Rejected ones cost nothing: the breaker was open.",
            )
        )
        .with_row(dashboard.Row("Degraded"))
        .with_panel(
            _plot(
                "Degraded responses",
                "reqps",
                [("sum by (part) (rate(peakgate_degraded_responses_total[$__rate_interval]))", "{{part}}")],
                "Served from what was known last.",
            )
        )
        .with_panel(
            _plot(
                "Workers whose limits run without the store",
                "short",
                [("sum(peakgate_limit_local)", "workers")],
                "Each grants its share.",
            )
        )
        .with_panel(
            _plot(
                "Losses of data",
                "short",
                [("sum by (kind) (increase(peakgate_store_losses_total[$__rate_interval]))", "{{kind}}")],
                "The store came back emptied, or older than it was: see the runbook of restores.",
            )
        )
        .with_panel(
            _plot(
                "Archive",
                "ops",
                [
                    ("sum(rate(peakgate_archive_records_total[$__rate_interval]))", "records put"),
                    ("sum(rate(peakgate_orders_deleted_total[$__rate_interval]))", "orders that left the store"),
                ],
                "Both rise together over a day.",
            )
        )
    )


ALL: Sequence[Callable[[], dashboard.Dashboard]] = (overview, edge, orders, store)


def _dashboard(name: str, title: str, description: str) -> dashboard.Dashboard:
    return (
        dashboard.Dashboard(title)
        .uid(f"peakgate-{name}")
        .description(description)
        .tags(["peakgate"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )


def _plot(title: str, unit: str, queries: Sequence[Query], description: str) -> timeseries.Panel:
    panel = (
        timeseries.Panel().title(title).description(description).unit(unit).height(8).span(12).min(0).datasource(SOURCE)
    )
    for expression, legend in queries:
        target = prometheus.Dataquery().expr(expression).legend_format(legend)
        # Its buckets name traces; no other metric has exemplars.
        if "peakgate_request_seconds_bucket" in expression:
            target = target.exemplar(True)
        panel = panel.with_target(target)
    return panel


def _share(title: str, expression: str, objective: float, description: str) -> stat.Panel:
    """A share of bad events, red from the objective on."""
    steps = [Threshold(color="green", value=None), Threshold(color="red", value=objective)]
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .unit("percentunit")
        .decimals(3)
        .height(5)
        .span(8)
        .datasource(SOURCE)
        .no_value("no traffic")
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(prometheus.Dataquery().expr(expression).instant())
    )
