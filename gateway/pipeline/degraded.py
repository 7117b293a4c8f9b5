"""Say so when an answer is not what it would be on a good day: `Degraded: prices`, and a count for machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gateway.http.message import Handler, Layer, Request, Response, header, resolve
from gateway.metrics import Metric, Sample

# What can be degraded; docs/degrading.md tells for each what a shopper gets instead.
PARTS: Final = ("prices", "products", "limits", "queue", "cache", "waiting-room")
_LINES: Final = {what: header("Degraded", what) for what in PARTS}


class Degraded:
    """Marks degraded answers and counts them. Plain state of a worker, shared by all who answer."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(PARTS, 0)

    def mark(self, request: Request, what: str) -> None:
        """Add `Degraded: <what>` to the answer of this request, once. `what` is one of `PARTS`; else `KeyError`."""
        line = _LINES[what]
        if line not in request.extra_headers:
            request.extra_headers += line
            self.counts[what] += 1

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return dict(self.counts)

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_degraded_answers_total",
            "Answers that said what was degraded about them.",
            "counter",
            [Sample({"what": what}, float(count)) for what, count in self.counts.items()],
        )


def degraded_while(degraded: Degraded, what: str, is_so: Callable[[], bool], *, status: int) -> Layer:
    """Mark the answers of `status` for as long as `is_so`, such as orders accepted while their queue is cut off.

    A plain factory; for routes with a task of their own, as it waits for the answer.
    """

    def layer(handler: Handler) -> Handler:
        async def marked(request: Request) -> Response:
            response = await resolve(handler(request))
            if response.status == status and is_so():
                degraded.mark(request, what)
            return response

        return marked

    return layer
