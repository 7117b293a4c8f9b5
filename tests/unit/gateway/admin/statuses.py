"""The status of a gateway in trouble, as `/admin/v1/status` returns it, for tests of pages."""

from __future__ import annotations

from typing import Any

AT = 1_795_261_109.0


def worker(name: str, parts: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """A healthy worker, except for the given members."""
    process = {"started_at": AT - 7200, "connections": 412, "memory_bytes": 96_000_000, "cpu_s": 4120.5}
    return {
        "service": name[0],
        "name": name,
        "pid": 4000 + ord(name[0]),
        "state": "ready",
        "started_at": AT - 7200,
        "restarts": 0,
        "responds": True,
        "no_reply_because": None,
        "digest": "a903db7670fc",
        "parts": {"process": process, "policies": {"digest": "a903db7670fc"}, **(parts or {})},
        **members,
    }


def without_reply(name: str, state: str, no_reply_because: str) -> dict[str, Any]:
    """A worker that does not reply."""
    return {**worker(name, state=state, responds=False, no_reply_because=no_reply_because, digest=None), "parts": {}}


def status(*workers: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A healthy gateway, except for the given members."""
    return {
        "at": AT,
        "version": "1.2.3",
        "policies": {"file": "/etc/peakgate/peakgate.toml", "digest": "a903db7670fc", "needs_restart": []},
        "last_reload": None,
        "switch_overrides": {},
        "workers": list(workers),
        "control": [{"service": "control", "name": "control", "state": "ready", "restarts": 0}],
        **members,
    }


def breaker(state: str, reason: str = "") -> dict[str, Any]:
    return {
        "state": state,
        "reason": reason,
        "since": AT - 95,
        "forced_open": False,
        "retry_after_s": 1.5,
        "window": {"calls": 40, "failures": 31, "slow": 2},
        "outcomes": {"success": 100, "failure": 31},
        "history": [{"at": AT - 95, "state": state, "reason": reason}],
    }


def failing_gateway() -> dict[str, Any]:
    """Much at once."""
    parts: dict[str, Any] = {
        "breakers": {
            "payment": breaker("open", "31 of 40 calls failed within 60 s"),
            "store": breaker("closed"),
            "queue": breaker("ramping", "a probe came back well"),
        },
        "requests": {"GET /v1/products": {"200": 1_204_551, "503": 21_044}, "POST /v1/checkout": {"202": 731}},
        "shedding": {
            "enabled": True,
            "limits": {"store": 84},
            "in_flight": {"store": 84},
            "loop_lag_ms": 12.5,
            "pressure": 0.75,
            "shed": {"checkout": 0, "cart-write": 0, "cart-read": 12, "browse": 21_044, "optional": 977},
        },
        "limits": {
            "limits": {"per-address": {"granted": 1_204_551, "rejected": 3_312, "rejected_from_cache": 120}},
            "shadows": ["per-key"],
            "local_for_s": 12.5,
            "local_because": "StoreTimeout: no reply within 250 ms",
            "batches": 1_204,
            "requests_per_batch": 6.3,
        },
        "rooms": {
            "drop": {
                "enabled": True,
                "waiting": 18_220,
                "active": 500,
                "admitted_per_s": 12.5,
                "factor": 0.5,
                "why": "checkout is shed",
                "stock": 731,
                "shown_sold_out": 17_489,
            }
        },
        "upstreams": {
            "pages": {
                "requests": {"answered": 5},
                "targets": [
                    {
                        "url": "http://10.0.0.5:8080",
                        "state": "healthy",
                        "since": AT - 7200,
                        "reason": "",
                        "outstanding": 12,
                    },
                    {
                        "url": "http://10.0.0.6:8080",
                        "state": "ejected",
                        "since": AT - 4,
                        "reason": "5 failures in a row: <connection reset>",
                        "outstanding": 0,
                    },
                ],
            }
        },
        "cache": {
            "enabled": True,
            "entries": 1200,
            "bytes": 31_000_000,
            "hit": 90_000,
            "miss": 9_000,
            "revalidated": 1_000,
        },
        "degraded": {"prices": 12, "products": 0, "cache": 4_001},
        "switches": {
            "reviews": {
                "enabled": False,
                "percent": 100.0,
                "override": {"enabled": False, "percent": None},
                "routes": ["/v1/reviews*"],
                "rejected": 31,
            },
            "search": {
                "enabled": True,
                "percent": 25.0,
                "override": {"enabled": None, "percent": None},
                "routes": ["/v1/products"],
                "rejected": 0,
            },
        },
        "events": {"running": ["midnight-drop"], "coming": [], "next_change": "2026-11-21T12:38:29+00:00"},
        "issuer": {
            "url": "https://id.example/keys",
            "keys": 2,
            "failures_in_row": 3,
            "last_error": "503",
            "tried_at": AT + 3600,
        },
    }
    errors = [
        "/etc/peakgate/peakgate.toml:14: limits[0].quota: must be a number from 1 to 1,000,000,000, not 'fifty'",
        "/etc/peakgate/peakgate.toml:31: rooms[0].rate: there is no such key; did you mean admissions_per_s?",
    ]
    other = {**parts, "degraded": {"prices": 9}, "breakers": {**parts["breakers"], "payment": breaker("half-open", "")}}
    return status(
        worker("0a", parts),
        worker("1b", other, restarts=1, started_at=AT - 40),
        without_reply("2a", "ready", "did not reply within 1 s"),
        worker("3a", parts, digest="77ab00c1d2e3"),
        last_reload={
            "at": AT - 300,
            "outcome": "rejected",
            "errors": errors,
            "digest": None,
            "needs_restart": [],
            "lagging_workers": [],
        },
    )
