"""The first line says in one sentence what is wrong, since when, and the first thing to do."""

from __future__ import annotations

from gateway.admin.alerts import Alert
from gateway.admin.console.headline import FIRST_ACTS, Headline
from gateway.admin.console.plots import PLOTS
from gateway.admin.console.runbooks import runbook

SHED = Alert("alarm", "Load is being shed, up to 40% of requests, in worker 0a", "overload")
QUEUE = Alert("alarm", "The breaker of queue is open in workers 0a, 1a: timeout", "queue-away")
ROOM = Alert("note", "1,200 clients wait in the waiting room drop")


def test_a_healthy_gateway_says_so() -> None:
    headline, _ = Headline().of([], 100.0)
    assert (headline["level"], headline["text"], headline["since"]) == ("well", "Everything is running normally.", None)


def test_notes_are_no_alarm() -> None:
    headline, _ = Headline().of([ROOM], 100.0)
    assert (headline["level"], headline["text"]) == ("note", "Everything is running; a note is below.")


def test_an_alarm_has_its_beginning_its_first_act_and_its_runbook() -> None:
    headline = Headline()
    headline.of([SHED], 100.0)
    told, listed = headline.of([SHED, ROOM], 160.0)
    assert told == {
        "level": "alarm",
        "text": SHED.text,
        "since": 100.0,
        "do": FIRST_ACTS["overload"],
        "runbook": "overload",
    }
    assert [(each["text"], each["since"]) for each in listed] == [(SHED.text, 100.0), (ROOM.text, 160.0)]


def test_of_several_alarms_the_first_is_told() -> None:
    headline = Headline()
    headline.of([QUEUE], 100.0)
    told, _ = headline.of([SHED, QUEUE], 105.0)
    assert told["text"] == f"{QUEUE.text} (1 more below)"
    assert told["since"] == 100.0


def test_an_alarm_whose_figures_change_goes_on() -> None:
    headline = Headline()
    headline.of([SHED], 100.0)
    worse = SHED._replace(text="Load is being shed, up to 60% of requests, in workers 0a, 1a")
    assert headline.of([worse], 105.0)[0]["since"] == 100.0


def test_a_moment_without_it_does_not_end_an_alarm_and_a_minute_does() -> None:
    headline = Headline()
    headline.of([SHED], 100.0)
    headline.of([], 105.0)
    assert headline.of([SHED], 110.0)[0]["since"] == 100.0
    headline.of([], 130.0)
    assert headline.of([SHED], 170.0)[0]["since"] == 170.0


def test_all_runbooks_that_the_console_names_exist() -> None:
    named = {*FIRST_ACTS, *(plot.runbook for plot in PLOTS)}
    assert [name for name in named if runbook(name) is None] == []
