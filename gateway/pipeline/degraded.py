"""Mark degraded responses, such as `Degraded: prices`, and count them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gateway.http.contained import FAILURES
from gateway.http.message import Handler, Layer, Request, Response, header, resolve
from gateway.metrics import Metric, Sample

# The parts that can be degraded; docs/degrading.md describes the fallback of each.
PARTS: Final = ("prices", "products", "limits", "queue", "cache", "waiting-room", "orders")
_LINES: Final = {part: header("Degraded", part) for part in PARTS}


class Degraded:
    """Marks and counts degraded responses. One for a worker."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(PARTS, 0)

    def mark(self, request: Request, part: str) -> None:
        """Add `Degraded: <part>` to the response of this request, once. Raises `KeyError` for a part not in `PARTS`."""
        line = _LINES[part]
        if line not in request.extra_headers:
            request.extra_headers += line
            self.counts[part] += 1

    def snapshot(self) -> Mapping[str, Any]:
        """See `gateway.metrics.Observed`."""
        return dict(self.counts)

    def metrics(self) -> Iterable[Metric]:
        """See `gateway.metrics.Observed`."""
        yield Metric(
            "peakgate_degraded_responses_total",
            "Degraded responses, by the degraded part.",
            "counter",
            [Sample({"part": part}, float(count)) for part, count in self.counts.items()],
        )


def degraded_while(degraded: Degraded, part: str, is_degraded: Callable[[], bool], *, status: int) -> Layer:
    """Mark the responses of `status` while `is_degraded`, such as orders accepted while their queue is cut off.

    For routes with a task of their own, because it awaits the response.
    """

    def layer(handler: Handler) -> Handler:
        return lambda request: _marked(degraded, part, is_degraded, status, handler, request)

    return layer


async def _marked(  # noqa: PLR0917 - one call site, right above
    degraded: Degraded, part: str, is_degraded: Callable[[], bool], status: int, handler: Handler, request: Request
) -> Response:
    response = await resolve(handler(request))
    try:
        if response.status == status and is_degraded():
            degraded.mark(request, part)
    except Exception as error:  # noqa: BLE001 - the response is sent without the mark
        FAILURES.add("the mark of degraded responses", error)
    return response
