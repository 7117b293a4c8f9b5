"""The status page shows faults, and names them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from gateway.admin.alerts import Alert, find_alerts
from gateway.admin.status_page import status_page
from tests.unit.gateway.admin.statuses import AT, breaker, failing_gateway, status, without_reply, worker

VOID = {"meta"}


class Reader(HTMLParser):
    """Takes a page apart; fails at one whose tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_healthy_gateway_has_no_alerts() -> None:
    shown = status(worker("0a", {"breakers": {"store": breaker("closed")}}), worker("1a"))
    assert find_alerts(shown) == []
    page = Reader(status_page(shown))
    assert page.text.index("running normally") < page.text.index("Workers")


def test_alarms_come_first_and_the_title_counts_them() -> None:
    found = find_alerts(failing_gateway())
    assert [each.level for each in found] == sorted((each.level for each in found), key=lambda level: level != "alarm")
    page = status_page(failing_gateway())
    assert f"<title>({len(found)}) 8 alarms</title>" in page
    texts = "\n".join(each.text for each in found)
    for shown in (
        "The last reload was rejected",
        "Worker 2a did not reply within 1 s",
        "Worker 3a has other policies: 77ab00c1d2e3",
        "The breaker of payment is open in workers 0a, 3a: 31 of 40 calls failed within 60 s",
        "pages: http://10.0.0.6:8080 is ejected",
        "18,220 clients wait in the waiting room drop",
        "The switch reviews is off",
        "The switch search is at 25 %",
        "Worker 1 died once",
        "Load is being shed, up to 75% of requests, in workers 0a, 1b, 3a",
        "Rate limits run without the store in workers 0a, 1b, 3a: StoreTimeout",
        "The event midnight-drop is running",
        "The keys of the token issuer cannot be fetched: 503",
    ):
        assert shown in texts


def test_the_page_is_a_whole_document_that_reloads_without_a_script() -> None:
    page = Reader(status_page(failing_gateway()))
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert ("lang", "en") in page.attributes
    assert ("http-equiv", "refresh") in page.attributes
    assert "script" not in page.tags
    assert not any(name in {"src", "href"} or name.startswith("on") for name, _ in page.attributes)
    assert page.tags.count("th") == sum(name == "scope" for name, _ in page.attributes)


def test_text_of_others_is_never_markup() -> None:
    nasty = "<script>alert(1)</script>&\"'"
    shown = status(
        worker(
            "0a",
            {
                "breakers": {nasty: breaker("open", nasty)},
                "upstreams": {nasty: {"targets": [{"url": nasty, "state": nasty, "reason": nasty}]}},
                nasty: {nasty: nasty},
                "other": {nasty: {nasty: [nasty, {nasty: nasty}]}},
            },
        ),
        policies={"file": nasty, "digest": nasty, "needs_restart": [nasty]},
        last_reload={"at": AT, "outcome": "rejected", "errors": [nasty], "digest": None, "lagging_workers": [nasty]},
        version=nasty,
    )
    assert "script" not in Reader(status_page(shown)).tags


def test_workers_that_see_the_same_share_a_row() -> None:
    store = {"breakers": {"store": breaker("closed")}}
    assert ">0a, 1a<" in status_page(status(worker("0a", store), worker("1a", store)))


def test_times_sizes_and_shares_are_for_people() -> None:
    text = Reader(status_page(failing_gateway())).text
    assert "95 s ago (2026-11-21 11:36:54 UTC)" in text
    assert "in 60 min" in text
    assert "91.6 MiB" in text
    assert "200: 3,613,653; 202: 2,193; 503: 63,132" in text
    assert "Hit ratio: 90.0% of 300,000 requests." in text


def test_counters_at_zero_are_left_out() -> None:
    shown = status(worker("0a", {"degraded": {"prices": 0, "cache": 2}}))
    page = status_page(shown)
    assert re.search(r">cache</th><td>2</td>", page)
    assert ">prices<" not in page
    assert "None since the start" in status_page(status(worker("0a", {"degraded": {"prices": 0}})))


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_a_worker_that_comes_or_goes_is_no_alarm(state: str) -> None:
    shown = status(without_reply("0a", state, "is not there"))
    assert find_alerts(shown) == [Alert("note", f"Worker 0a is {state}", "gateway-down")]


def test_settings_that_need_a_restart_are_listed() -> None:
    shown = status(worker("0a"), policies={"file": "f", "digest": "a903db7670fc", "needs_restart": ["port"]})
    assert find_alerts(shown) == [
        Alert("note", "Settings of the file that need a restart: port", "configuration-rejected")
    ]


def test_settings_by_hand_are_listed_and_a_paused_room_is_an_alarm() -> None:
    room = {"enabled": True, "admissions_per_s": 0, "until": None}
    settings = {
        "room": {"drop": room, "other": {**room, "admissions_per_s": 5}},
        "event": {"sale": {"start": 1.0, "end": None, "until": None}},
    }
    assert [alert[:2] for alert in find_alerts(status(worker("0a"), manual_settings=settings))] == [
        ("alarm", "The waiting room drop is paused by hand: it admits nobody"),
        ("note", "The waiting room other is set by hand"),
        ("note", "The event sale is set by hand"),
    ]


def test_background_tasks_that_died_are_listed() -> None:
    waits = {"is_running": False, "restarts": 3, "last_error": "ValueError: no such partition"}
    died = {"is_running": True, "restarts": 1, "last_error": "KeyError: 'a'"}
    runs = {"is_running": True, "restarts": 0, "last_error": None}
    shown = status(worker("0a", {"background": {"outbox": waits, "prices": died, "purges": runs}}))
    assert find_alerts(shown) == [
        Alert("alarm", "Background task outbox of worker 0a died: ValueError: no such partition", "gateway-down"),
        Alert("note", "Background task prices of worker 0a died once", "gateway-down"),
    ]


def test_orders_that_need_attention_are_one_alarm_of_all_workers() -> None:
    parts = [{"orders": {"needing_attention": count, "dead_letters": 1, "runs": {"ended": 5}}} for count in (2, 3)]
    shown = status(worker("0a", parts[0]), worker("1a", parts[1]))
    assert find_alerts(shown) == [
        Alert("alarm", "3 orders need attention: peakgate orders list --state attention", "orders-need-attention"),
        Alert("note", "1 dead letter of the order queue: peakgate orders dead list", "dead-letters"),
    ]
    assert "3 orders need attention" in status_page(shown)


def a_shop(**more: Any) -> dict[str, Any]:
    counts = {"by_status": {"accepted": 4, "stock_confirmed": 0, "completed": 1200}, "open_claims": 2}
    return {**counts, "outbox": 0, "outbox_age_s": 0.0, "queue": 7, "queue_age_s": 3.0, **more}


def test_the_orders_of_the_shop_are_shown_once_whichever_worker_counts_them() -> None:
    parts = [
        {"shop": {}, "orders": {"needing_attention": 1, "dead_letters": 3}},
        {"shop": a_shop(), "orders": {"needing_attention": 2, "dead_letters": 3}},
    ]
    page = status_page(status(*(worker(f"{number}a", part) for number, part in enumerate(parts))))
    assert page.count("<h2>Orders of the shop</h2>") == 1
    section = page.split("<h2>Orders of the shop</h2>")[1].split("</section>")[0]
    assert "stock confirmed" in section
    assert "<td>1,200</td>" in section
    assert '<th scope="row">Messages in the queue</th><td>7</td><td>3 s</td>' in section
    assert '<th scope="row">Messages that the queue does not have yet</th><td>0</td><td>-</td>' in section
    assert '<th scope="row">Orders that need attention</th><td>2</td>' in section
    assert '<th scope="row">Dead letters</th><td>3</td>' in section


def test_a_queue_that_does_not_tell_its_depth_is_left_out() -> None:
    page = status_page(status(worker("0a", {"shop": a_shop(queue=None, queue_age_s=None)})))
    assert "Messages in the queue" not in page


def test_findings_of_the_audit_are_an_alarm() -> None:
    shown = status(worker("0a", {"audit": {"findings": {"stock": 2, "holds": 1}}}), worker("1a", {"audit": {}}))
    text = "The books do not agree, 3 findings: peakgate audit"
    assert find_alerts(shown) == [Alert("alarm", text, "oversell-suspected")]


def test_messages_that_wait_for_long_are_alerts() -> None:
    old = a_shop(outbox=3, outbox_age_s=90.0, queue_age_s=400.0)
    assert find_alerts(status(worker("0a", {"shop": old}))) == [
        Alert("alarm", "3 messages are not in the order queue yet, the oldest for 90 s", "queue-away"),
        Alert("note", "The oldest message in the order queue is 400 s old", "orders-late"),
    ]
    assert find_alerts(status(worker("0a", {"shop": a_shop()}))) == []


def test_webhooks_that_are_disabled_and_events_that_wait_for_long_are_alerts() -> None:
    webhooks = {
        "crm": {"delivered": 3, "waiting_orders": 2, "oldest_due_s": 5.0, "disabled": "gone"},
        "mails": {"delivered": 3, "waiting_orders": 0, "oldest_due_s": 0.0, "disabled": None},
    }
    relays = {
        "archive": {"relayed": 7, "failures": 1, "waiting": 1200, "oldest_age_s": 61.0},
        "sns": {"relayed": 7, "failures": 0, "waiting": 1, "oldest_age_s": 59.0},
    }
    at_work = status(worker("0a", {"webhooks": webhooks, "event_relays": relays}))
    assert find_alerts(at_work) == [
        Alert("note", "Webhooks to crm are disabled (gone): peakgate webhooks list", "webhooks-late"),
        Alert("note", "1,200 events wait for archive, the oldest for 61 s", "archive-behind"),
    ]
    page = Reader(status_page(at_work))
    assert "Events on their way to sinks" in page.text
    assert "crm" in page.text
