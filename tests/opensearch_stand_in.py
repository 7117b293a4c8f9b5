"""A server that speaks as much of OpenSearch's API as the product search uses, and refuses everything else.

A document is found by searches only after a refresh, as there; documents are read by their ids at once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from aiohttp import web


class Fault(Exception):
    """A request that the server refuses."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(kind)
        self.status = status
        self.kind = kind


class OpenSearchStandIn:
    """Its indexes. With `fail_with` it answers every request with that status."""

    def __init__(self, *, user: str = "", password: str = "") -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self._searchable: dict[str, dict[str, Any]] = {}
        self._expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else None
        self.fail_with: int | None = None
        # What a bulk request answers for each document, instead of storing it.
        self.bulk_status: int | None = None
        self.requests: list[str] = []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a request."""
        self.requests.append(f"{request.method} {request.path}")
        try:
            self._admit(request)
            status, reply = self._answer(request, await request.read())
        except Fault as fault:
            status, reply = fault.status, {"error": {"type": fault.kind}, "status": fault.status}
        return web.json_response(reply, status=status)

    def _admit(self, request: web.BaseRequest) -> None:
        if self._expected is not None and request.headers.get("Authorization") != self._expected:
            raise Fault(401, "security_exception")
        if self.fail_with is not None:
            raise Fault(self.fail_with, "unavailable")

    def _answer(self, request: web.BaseRequest, body: bytes) -> tuple[int, Any]:
        assert request.headers.get("Content-Type") == "application/json"
        _, index, *rest = [unquote(part) for part in request.raw_path.partition("?")[0].split("/")]
        match request.method, rest:
            case "PUT", []:
                return self._create(index, json.loads(body))
            case "POST", ["_bulk"]:
                return self._bulk(index, body, is_refreshed=request.query.get("refresh") == "true")
            case "POST", ["_mget"]:
                docs = self._of(index)
                return 200, {"docs": [_found(docs, each) for each in json.loads(body)["ids"]]}
            case "POST", ["_search"]:
                return self._search(index, json.loads(body))
            case "GET", ["_doc", name]:
                found = _found(self._of(index), name)
                return (200 if found["found"] else 404), found
            case "PUT", ["_doc", name]:
                self._of(index)[name] = json.loads(body)
                return 201, {"result": "created"}
        raise Fault(405, "method_not_allowed")

    def _create(self, index: str, body: Any) -> tuple[int, Any]:
        if index in self.documents:
            raise Fault(400, "resource_already_exists_exception")
        assert set(body) <= {"mappings", "settings"}
        self.documents[index], self._searchable[index] = {}, {}
        return 200, {"acknowledged": True, "index": index}

    def _of(self, index: str) -> dict[str, Any]:
        if index not in self.documents:
            raise Fault(404, "index_not_found_exception")
        return self.documents[index]

    def _bulk(self, index: str, body: bytes, *, is_refreshed: bool) -> tuple[int, Any]:
        if not body.endswith(b"\n"):
            raise Fault(400, "illegal_argument_exception")
        documents, items = self._of(index), []
        lines = iter(json.loads(line) for line in body.splitlines())
        for action in lines:
            ((kind, target),) = action.items()
            source = next(lines) if kind == "index" else None
            was = documents.get(target["_id"])
            if self.bulk_status is not None:
                items.append({kind: {"_id": target["_id"], "status": self.bulk_status, "error": {"type": "rejected"}}})
                continue
            if kind == "index":
                documents[target["_id"]] = source
                status = 200 if was is not None else 201
            else:
                assert kind == "delete"
                documents.pop(target["_id"], None)
                status = 200 if was is not None else 404
            items.append({kind: {"_id": target["_id"], "status": status}})
        if is_refreshed:
            self._searchable[index] = dict(documents)
        return 200, {"errors": self.bulk_status is not None, "items": items}

    def _search(self, index: str, body: Any) -> tuple[int, Any]:
        self._of(index)
        assert body["sort"] == [{"number": "asc"}]
        found = sorted(
            (
                (source["number"], name, source)
                for name, source in self._searchable[index].items()
                if _matches(body["query"], source)
            ),
            key=lambda each: each[0],
        )
        hits = [
            {
                "_id": name,
                "_source": {member: source[member] for member in body["_source"] if member in source},
                "sort": [number],
            }
            for number, name, source in found[: body["size"]]
        ]
        return 200, {"timed_out": False, "_shards": {"total": 1, "failed": 0}, "hits": {"hits": hits}}


def _found(documents: dict[str, Any], name: str) -> dict[str, Any]:
    if name in documents:
        return {"_id": name, "found": True, "_source": documents[name]}
    return {"_id": name, "found": False}


def _matches(query: Any, source: dict[str, Any]) -> bool:
    ((kind, clause),) = query.items()
    if kind == "bool":
        assert set(clause) <= {"filter", "should", "minimum_should_match"}
        is_filtered = all(_matches(each, source) for each in clause.get("filter", ()))
        should = clause.get("should", ())
        return is_filtered and (not should or any(_matches(each, source) for each in should))
    ((field, wanted),) = clause.items()
    value = source.get(field)
    if kind == "term":
        return wanted in value if isinstance(value, list) else value == wanted
    assert kind == "range", kind
    tests = {
        "gt": lambda bound: value > bound,
        "gte": lambda bound: value >= bound,
        "lte": lambda bound: value <= bound,
    }
    return value is not None and all(tests[name](bound) for name, bound in wanted.items())


@asynccontextmanager
async def opensearch_server(stand_in: OpenSearchStandIn) -> AsyncIterator[str]:
    """Serve it on a loopback port; the address of the server."""
    runner = web.ServerRunner(web.Server(stand_in.handle))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
