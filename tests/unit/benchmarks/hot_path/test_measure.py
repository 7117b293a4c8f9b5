import pytest

from benchmarks.harness.gateway_process import HarnessError
from benchmarks.hot_path.instructions import parse_count
from benchmarks.hot_path.ratios import Measured, Sample, ratios_to_peers, ratios_to_yardstick, summarize
from benchmarks.hot_path.redis_cost import RedisCost, RedisCosts
from benchmarks.hot_path.rows import ADD, NAMES, READ, READ_LONG, YARDSTICK, Row, Traffic
from benchmarks.load.wrk import Call, LoadResult, parse_summary


def sample(cpu_us: float) -> Sample:
    return Sample(
        cpu_us, cpu_us / 4, LoadResult(requests=1000, seconds=0.5, errors=0, socket_errors=0, p50_ms=1, p99_ms=2)
    )


def test_ratios_are_taken_within_a_round_so_that_a_slow_machine_does_not_bend_them() -> None:
    rows = [Row(YARDSTICK, YARDSTICK, []), Row("read", READ, [], target=0.7)]
    # The machine was twice as slow in the second round, and something disturbed the third.
    samples = {
        YARDSTICK: [sample(50), sample(100), sample(50)],
        "read": [sample(30), sample(60), sample(90)],
    }

    yardstick, read = summarize(rows, samples, {"read": 1234.4})

    assert (yardstick.ratio, read.ratio) == (1.0, 0.6)
    assert (read.cpu_us, read.system_us, read.requests_per_s, read.p99_ms) == (60, 15, 2000, 2)
    assert read.as_json()["cpu_us_by_round"] == [30, 60, 90]
    assert read.as_json()["instructions"] == 1234


def test_rows_of_plain_clients_are_compared_with_the_empty_handler_that_serves_plain_clients() -> None:
    plain = YARDSTICK + Traffic.PLAIN
    rows = [
        Row(YARDSTICK, YARDSTICK, []),
        Row(plain, YARDSTICK, [], traffic=Traffic.PLAIN),
        Row("read, plain clients", READ, [], traffic=Traffic.PLAIN),
    ]
    samples = {YARDSTICK: [sample(50)], plain: [sample(40)], "read, plain clients": [sample(30)]}

    assert [each.ratio for each in summarize(rows, samples, {})] == [1.0, 1.0, 0.75]


def test_the_summary_of_wrk_is_the_line_that_our_script_prints() -> None:
    printed = 'Running 1s test\n\nSUMMARY {"requests":7,"duration_us":1500000,"errors":1,"socket_errors":2,"p50_us":900,"p99_us":4200}\n'

    assert parse_summary(printed) == LoadResult(7, 1.5, 1, 2, 0.9, 4.2)


def test_the_error_of_wrk_is_in_the_message() -> None:
    with pytest.raises(HarnessError, match="unable to connect"):
        parse_summary("", stderr="unable to connect to 127.0.0.1:1\n")


def test_redis_costs_are_compared_by_the_time_of_the_script() -> None:
    script, process, forgotten = RedisCosts(RedisCost(10, 40), RedisCost(15, 44), RedisCost(50, 90)).results()

    assert (script.measured, script.target, script.met) == (1.5, 2, True)
    assert (process.measured, process.target) == (1.1, None)
    assert (forgotten.measured, forgotten.target) == (5.0, None)


def test_a_call_is_encoded_with_a_host_and_its_header_fields_in_order() -> None:
    assert Call("GET", "/v1/products/85123A").encode() == (
        b"GET /v1/products/85123A HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    )
    call = Call("POST", "/v1/carts", b'{"a": 1}', (("X-Forwarded-For", "198.18.0.1"), ("Host", "a"), ("X-B", "b")))
    assert call.encode() == (
        b"POST /v1/carts HTTP/1.1\r\nX-Forwarded-For: 198.18.0.1\r\nHost: a\r\nX-B: b\r\n"
        b'Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
    )


def test_a_header_field_with_a_line_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="line ends"):
        Call("GET", "/", headers=(("X-Odd", "a\nb"),)).encode()


def test_a_row_whose_status_is_an_error_expects_errors() -> None:
    assert Row("404", "404", [], status=404).expects_errors
    assert not Row("read", READ, []).expects_errors


def measured(name: str, *cpu_us: float, target: float | None = None) -> Measured:
    return Measured(Row(name, "", [], target), [sample(each) for each in cpu_us], 1.0)


def test_peers_are_compared_within_a_round_and_a_missing_peer_is_left_out() -> None:
    rows = [measured(NAMES[READ], 20, 40), measured(NAMES[ADD], 30, 60), measured(f"Fastify: {NAMES[READ]}", 50, 100)]
    rows += [measured(f"Fastify: {NAMES[ADD]}", 60, 120)]

    read, add = ratios_to_peers(rows)

    assert (read.measured, read.target, read.met) == (0.4, 0.33, False)
    assert (add.measured, add.target, add.met) == (0.5, 0.65, True)


def test_rows_with_a_target_and_the_read_of_a_long_cart_have_ratios() -> None:
    rows = [measured(NAMES[READ], 20, target=1.0), measured(NAMES[READ_LONG], 60), measured(NAMES[ADD], 30)]

    read, long = ratios_to_yardstick(rows)

    assert (read.measured, read.target) == (1.0, 1.0)
    assert (long.measured, long.target) == (3.0, 30)


@pytest.mark.parametrize(
    "output",
    ["<not supported>,,instructions:u,0,100.00,,\n", "<not counted>,,instructions:u,0,0,,\n", "No permission\n", ""],
)
def test_perf_without_a_count_is_an_error_with_its_reason(output: str) -> None:
    with pytest.raises(ValueError, match=r"^perf: "):
        parse_count(output)


def test_instructions_are_read_from_the_output_of_perf() -> None:
    assert parse_count("\n123456,,instructions:u,1000,100.00,,\n") == 123456
