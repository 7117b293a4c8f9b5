import pytest

from benchmarks.harness.gateway_process import HarnessError
from benchmarks.hot_path.measure import Measured, Sample, ratios_to_peers, summarize
from benchmarks.hot_path.redis_cost import RedisCost, RedisCosts
from benchmarks.hot_path.rows import ADD, READ, YARDSTICK, Subject
from benchmarks.load.wrk import Call, LoadResult, parse_summary


def sample(cpu_us: float) -> Sample:
    return Sample(
        cpu_us, cpu_us / 4, LoadResult(requests=1000, seconds=0.5, refused=0, socket_errors=0, p50_ms=1, p99_ms=2)
    )


def test_ratios_are_taken_within_a_round_so_that_a_slow_machine_does_not_bend_them() -> None:
    subjects = [Subject(YARDSTICK, []), Subject("read", [], target=0.7)]
    # The machine was twice as slow in the second round, and something disturbed the third.
    samples = {
        YARDSTICK: [sample(50), sample(100), sample(50)],
        "read": [sample(30), sample(60), sample(90)],
    }

    yardstick, read = summarize(subjects, samples)

    assert (yardstick.ratio, read.ratio) == (1.0, 0.6)
    assert (read.cpu_us, read.system_us, read.requests_per_s, read.p99_ms) == (60, 15, 2000, 2)
    assert read.as_json()["cpu_us_by_round"] == [30, 60, 90]


def test_what_wrk_saw_is_read_from_the_line_of_our_script() -> None:
    printed = 'Running 1s test\n\nSUMMARY {"requests":7,"duration_us":1500000,"refused":1,"socket_errors":2,"p50_us":900,"p99_us":4200}\n'

    assert parse_summary(printed) == LoadResult(7, 1.5, 1, 2, 0.9, 4.2)


def test_wrk_that_gave_up_is_quoted() -> None:
    with pytest.raises(HarnessError, match="unable to connect"):
        parse_summary("", said="unable to connect to 127.0.0.1:1\n")


def test_redis_costs_are_compared_by_the_time_of_the_script() -> None:
    script, process, forgotten = RedisCosts(RedisCost(10, 40), RedisCost(15, 44), RedisCost(50, 90)).figures()

    assert (script.measured, script.target, script.met) == (1.5, 2, True)
    assert (process.measured, process.target) == (1.1, None)
    assert (forgotten.measured, forgotten.target) == (5.0, None)


def test_a_call_without_a_body_is_a_plain_request() -> None:
    call = Call("GET", "/v1/products/85123A")

    assert (call.body, call.headers) == (b"", ())
    assert call.to_line() == b"GET\t/v1/products/85123A\t\t\n"


def test_a_call_is_written_down_with_its_fields_and_its_body() -> None:
    call = Call(
        "POST", "/v1/carts", b'{"a": 1}', (("X-Forwarded-For", "198.18.0.1"), ("Authorization", "Bearer a.b.c"))
    )

    assert call.to_line() == (
        b'POST\t/v1/carts\tX-Forwarded-For: 198.18.0.1\x1fAuthorization: Bearer a.b.c\t{"a": 1}\n'
    )


def test_a_field_that_would_end_the_line_is_refused() -> None:
    with pytest.raises(ValueError, match="no tabs"):
        Call("GET", "/", headers=(("X-Odd", "a\nb"),)).to_line()


def test_refusals_are_right_where_they_are_asked_for() -> None:
    assert Subject("404", [], status=404).refused
    assert not Subject("read", []).refused


def measured(name: str, *cpu_us: float) -> Measured:
    return Measured(name, [sample(each) for each in cpu_us], 1.0, None)


def test_peers_are_compared_within_a_round_and_left_out_where_they_were_not_to_be_had() -> None:
    rows = [measured(READ, 20, 40), measured(ADD, 30, 60), measured(f"Fastify: {READ}", 50, 100)]
    rows += [measured(f"Fastify: {ADD}", 60, 120)]

    read, add = ratios_to_peers(rows)

    assert (read.measured, read.target, read.met) == (0.4, 0.5, True)
    assert (add.measured, add.target, add.met) == (0.5, None, None)
