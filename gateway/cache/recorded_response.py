"""A response whose body is being received and will be stored: what a request must have in common to be served it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.cache.cache import Positions
from gateway.cache.model import Selection
from gateway.cache.recording import Recording
from gateway.cache.stored_response import StoredResponse
from gateway.cache.variants import selection
from gateway.http.message import Response


class RecordedResponse:
    """`stored` is the response without its body, for requests whose fields `names` have the values `selected`."""

    __slots__ = ("_names", "_recording", "_selected", "since", "stored")

    def __init__(
        self,
        recording: Recording,
        stored: StoredResponse,
        names: tuple[str, ...],
        headers: Mapping[str, str],
        since: Positions,
    ) -> None:
        self._recording = recording
        self.stored = stored
        # The positions of purges when it was requested.
        self.since = since
        self._names = names
        self._selected: Selection = selection(names, headers)

    def selects(self, headers: Mapping[str, str]) -> bool:
        """Whether a request can be served this response from its beginning."""
        return self._recording.is_recording and selection(self._names, headers) == self._selected

    def response_with(self, cache_status: bytes, now: float) -> Response:
        """The response for one more client."""
        recording = self._recording
        return self.stored.streamed_with(cache_status, now, recording.reader(), recording.length)
