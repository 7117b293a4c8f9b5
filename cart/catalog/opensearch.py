"""The product search on OpenSearch: one index for all hosts.

The index `<name>` has a document for each product, with its SKU as the id: its terms (see `search_terms`), its number in the order of first
imports, and its price. `<name>-state` has the number that was given last, the files imported into this index, and its position in
the changes of the catalogue. Terms are keywords, so no analyser changes them; queries are filters alone, and have no scores.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from cart.catalog.model import CatalogRow, ProductFilter
from cart.catalog.ports import SearchHits, SearchUnavailable
from cart.catalog.search_terms import (
    INSIDE_FROM,
    MEMBERS,
    NO_PRICE,
    Document,
    Found,
    Query,
    changes_of,
)
from cart.catalog.shared_index import page_of
from cart.model import Sku

NAME: Final = "opensearch"
DEFAULT_INDEX: Final = "peakgate-products"
BUDGET_S: Final = 0.1
# Products of one reply whose words are compared here.
CHUNK: Final = 200
# Products of one bulk request: some 1 MB.
BATCH: Final = 1000
_KEYWORD: Final = {"type": "keyword"}
_STORED: Final = {"type": "keyword", "index": False, "doc_values": False}
_MAPPINGS: Final = {
    "dynamic": False,
    "properties": {
        "terms": _KEYWORD,
        "number": {"type": "long"},
        "price": {"type": "long"},
        "currency": _KEYWORD,
        "category": _STORED,
        "words": _STORED,
    },
}


class Transport(Protocol):
    """HTTP to the server."""

    async def send(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request with a body of JSON, or of lines of JSON; returns status and body. Raises `SearchUnavailable`."""
        ...


class SearchRefused(SearchUnavailable):
    """The server refuses a request: it has no such index, or the user may not use it."""


class OpenSearch:
    """A `ProductSearch`. `open` makes the indexes where there are none. After `budget_s`, a page ends with the results so far.

    A batch that fails may be indexed in part: it is repeated. One import runs at a time, see `Catalog.lease`. Each batch ends
    with a refresh, so its products are found at once.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        index: str = DEFAULT_INDEX,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._index = index
        self._state = f"{index}-state"
        self._budget_s = budget_s
        self._clock = clock

    async def open(self) -> None:
        """Make the indexes where there are none. Raises `SearchUnavailable`."""
        for index, mappings in ((self._index, _MAPPINGS), (self._state, {"dynamic": False})):
            status, body = await self._send("PUT", f"/{index}", {"mappings": mappings})
            if status != 200 and b"resource_already_exists_exception" not in body:
                raise _fault(f"PUT /{index}", status, body)

    async def page(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, only: ProductFilter | None = None
    ) -> SearchHits:
        """See `ProductSearch`. A page that the time budget cut short may hold fewer SKUs and have a next cursor."""
        page = page_of(self, limit=limit, cursor=cursor, q=q, only=only, budget_s=self._budget_s, clock=self._clock)
        return await page

    async def chunks(
        self, queries: Sequence[Query], after: int, size: int
    ) -> AsyncIterator[tuple[list[tuple[int, Sku]], int | None]]:
        """See `SharedIndex.chunks`."""
        for query in queries:
            is_match = query.is_match
            if is_match is not None:
                size = max(size, CHUNK)
            elif after >= INSIDE_FROM:
                continue
            number, is_end = max(after - query.positions_from, 0), False
            while not is_end:
                rows = await self._find(query, number, size)
                is_end = len(rows) < size
                # Behind its last product, a query has been searched up to the first position of the next one.
                number = INSIDE_FROM if is_end else rows[-1].number
                position = None if is_end and query is queries[-1] else query.positions_from + number
                matches = [row for row in rows if is_match is None or is_match(row)]
                yield [(query.positions_from + row.number, row.sku) for row in matches], position

    async def _find(self, query: Query, after: int, size: int) -> list[Found]:
        body = {
            "size": size,
            "track_total_hits": False,
            "_source": ["number", "words"],
            "sort": [{"number": "asc"}],
            "query": {"bool": {"filter": [{"range": {"number": {"gt": after}}}, *_conditions(query)]}},
        }
        reply = await self._call("POST", f"/{self._index}/_search", body)
        if reply.get("timed_out") or reply.get("_shards", {}).get("failed"):
            raise SearchUnavailable("the product search of OpenSearch: a shard did not answer")
        return [
            Found(hit["_source"]["number"], Sku(hit["_id"]), frozenset(hit["_source"].get("words", "").split()))
            for hit in reply["hits"]["hits"]
        ]

    async def read(self, skus: Sequence[Sku]) -> dict[Sku, Document | None]:
        """See `SharedIndex.read`."""
        reply = await self._call("POST", f"/{self._index}/_mget", {"ids": list(skus)})
        return {
            sku: _document(sku, found["_source"]) if found.get("found") else None
            for sku, found in zip(skus, reply["docs"], strict=True)
        }

    async def upsert(self, rows: Sequence[CatalogRow]) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        for start in range(0, len(rows), BATCH):
            await self._upsert_batch(rows[start : start + BATCH])

    async def _upsert_batch(self, rows: Sequence[CatalogRow]) -> None:
        changed = changes_of(rows, await self.read(list(dict.fromkeys(row.sku for row in rows))))
        new = [sku for sku, document in changed.items() if not document.number]
        if new:
            last = (await self._stored("numbers")).get("last", 0)
            # Before the products: after a crash numbers are left out, and none is given twice.
            await self._put("numbers", {"last": last + len(new)})
            for number, sku in enumerate(new, start=last + 1):
                changed[sku] = msgspec.structs.replace(changed[sku], number=number)
        await self._bulk(
            line for sku, document in changed.items() for line in ({"index": {"_id": sku}}, _source(document))
        )

    async def remove(self, skus: Sequence[Sku]) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        for start in range(0, len(skus), BATCH):
            await self._bulk({"delete": {"_id": sku}} for sku in skus[start : start + BATCH])

    async def _bulk(self, lines: Any) -> None:
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        if not body:
            return
        status, content = await self._transport.send("POST", f"/{self._index}/_bulk?refresh=true", body)
        reply = _decoded("POST _bulk", status, content)
        faults = [each for item in reply["items"] for each in item.values() if each["status"] not in {200, 201, 404}]
        if faults:
            raise SearchUnavailable(f"the product search of OpenSearch refused {len(faults)} products: {faults[0]}")

    async def name(self) -> str:
        """See `ProductSearch`: the same on all hosts, which share the index."""
        return NAME

    async def position(self) -> str:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        position: str = (await self._stored("feed")).get("position", "")
        return position

    async def mark_position(self, position: str) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        await self._put("feed", {"position": position})

    async def has_imported(self, digest: str) -> bool:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        return bool(await self._stored(f"import-{digest}"))

    async def mark_imported(self, digest: str) -> None:
        """See `ProductSearch`. Raises `SearchUnavailable`."""
        await self._put(f"import-{digest}", {"imported": True})

    async def _stored(self, name: str) -> Mapping[str, Any]:
        """A document of the state; empty if there is none."""
        path = f"/{self._state}/_doc/{quote(name, safe='')}"
        status, body = await self._transport.send("GET", path)
        if status == 404:
            return {}
        source: Mapping[str, Any] = _decoded(f"GET {path}", status, body)["_source"]
        return source

    async def _put(self, name: str, source: Mapping[str, Any]) -> None:
        await self._call("PUT", f"/{self._state}/_doc/{quote(name, safe='')}", source)

    async def _call(self, method: str, path: str, body: Any) -> Any:
        status, content = await self._send(method, path, body)
        return _decoded(f"{method} {path}", status, content)

    async def _send(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        return await self._transport.send(method, path, msgspec.json.encode(body))


def _conditions(query: Query) -> list[Any]:
    conditions: list[Any] = [{"term": {"terms": term}} for term in query.terms]
    only = query.only
    if only is not None and only.has_prices:
        bounds = {"gte": only.min_price or 0} | ({} if only.max_price is None else {"lte": only.max_price})
        in_range = {"bool": {"filter": [{"term": {"currency": only.currency}}, {"range": {"price": bounds}}]}}
        unknown = {"term": {"terms": NO_PRICE}}
        conditions.append({"bool": {"should": [unknown, in_range], "minimum_should_match": 1}})
    return conditions


def _source(document: Document) -> Mapping[str, Any]:
    return {**dict(document.fields()), "number": document.number, "terms": document.terms()}


def _document(sku: Sku, source: Mapping[str, Any]) -> Document:
    return Document(sku, **{name: source[name] for name in MEMBERS if name in source}, number=source["number"])


def _decoded(what: str, status: int, body: bytes) -> Any:
    if status not in {200, 201}:
        raise _fault(what, status, body)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise SearchUnavailable(f"the product search of OpenSearch: {what} was answered with no JSON") from error


def _fault(what: str, status: int, body: bytes) -> SearchUnavailable:
    kind = SearchRefused if 400 <= status < 500 and status != 429 else SearchUnavailable
    return kind(f"the product search of OpenSearch: {what} was answered with {status} {body[:200]!a}")
