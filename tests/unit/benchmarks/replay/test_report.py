from benchmarks.replay.latency import LatencyRow
from benchmarks.replay.reconciliation import Expectation, Reconciliation, StockCheck
from benchmarks.replay.report import ReplayReport
from benchmarks.replay.shopper import Purchase


def report(*faults: str) -> ReplayReport:
    reconciliation = Reconciliation(Expectation(baskets=1, lines=2, units=1440, money=367200))
    reconciliation.record(
        Purchase("1", 2, 1440, 367200, order_id="o", state="completed", accepted=367200, units_ordered=1440)
    )
    return ReplayReport(
        reconciliation=reconciliation,
        currency="GBP",
        stock=StockCheck(before=1440, after=0, below_zero=()),
        latencies=[LatencyRow("check out", 1, 12.345, 12.345, 12.345, 1234.5)],
        retries={"connection lost": 3},
        requests=7,
        seconds=2.0,
        faults=faults,
    )


def test_the_table_has_accepted_and_expected_totals() -> None:
    text = report().text()

    rows = [line.split() for line in text.splitlines()]
    assert ["units", "1,440", "1,440"] in rows
    assert ["completed", "1"] in rows
    assert ["money,", "minor", "units", "of", "GBP", "367,200", "367,200"] in rows
    assert ["check", "out", "1", "12.3", "12.3", "12.3", "1,234.5"] in rows
    assert ["connection", "lost", "3"] in rows
    assert text.endswith("7 requests in 2.0 s (4/s). Everything adds up.")


def test_faults_are_listed_up_to_a_maximum() -> None:
    lines = report(*(f"fault {number}" for number in range(25))).text().splitlines()

    assert lines[-12] == "7 requests in 2.0 s (4/s). It does NOT add up:"
    assert lines[-2:] == ["  fault 9", "  and 15 more"]


def test_the_json_has_every_result_of_the_table() -> None:
    results = report("it rained").as_json()

    assert results["expected"] == {"baskets": 1, "lines": 2, "units": 1440, "money": 367200}
    assert (results["orders"], results["units"], results["money"]) == (1, 1440, 367200)
    assert results["faults"] == ["it rained"]
    assert results["latencies"][0]["max_ms"] == 1234.5
