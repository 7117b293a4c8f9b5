"""The times of steps are counted by step and result."""

from __future__ import annotations

from gateway.admin.step_times import StepTimes


def test_a_call_is_in_every_bucket_of_its_time_and_above() -> None:
    times = StepTimes()
    times.step_called("authorise_payment", 0.25, "done")
    times.step_called("authorise_payment", 0.3, "done")
    times.step_called("authorise_payment", 60.0, "failed")

    (metric,) = times.metrics()
    assert (metric.name, metric.kind) == ("peakgate_order_step_seconds", "histogram")
    done = {
        sample.labels.get("le", "sum"): sample.value for sample in metric.samples if sample.labels["result"] == "done"
    }
    assert (done["0.1"], done["0.25"], done["0.5"], done["+Inf"], done["sum"]) == (0, 1, 2, 2, 0.55)
    failed = {sample.labels.get("le"): sample.value for sample in metric.samples if sample.labels["result"] == "failed"}
    assert (failed["30"], failed["+Inf"]) == (0, 1)


def test_people_see_the_mean_time_of_calls_that_succeeded() -> None:
    times = StepTimes()
    times.step_called("Notify", 0.002, "done")
    times.step_called("Notify", 0.004, "done")
    times.step_called("Notify", 5.0, "declined")
    assert times.snapshot() == {"Notify": {"done": 2, "declined": 1, "failed": 0, "mean_ms": 3.0}}
