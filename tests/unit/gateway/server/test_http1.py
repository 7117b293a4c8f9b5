"""The state machine of a connection, driven without a socket or a loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.http.head_limits import MAX_FIELDS, MAX_HEAD_BYTES, MAX_LINE_BYTES, HeadLimits
from gateway.server import http1
from gateway.server.http1 import Http1
from gateway.server.plain_head import PlainHeadReader
from gateway.server.protocol_error import ProtocolError
from gateway.server.request_head import RequestHead
from tests.http1_driver import MAX_BODY_BYTES, Driver, byte_by_byte, new_connection

GET = b"GET /first?x=1 HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n"
POST = b"POST /second HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = b"PUT /third HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\none\r\nC\r\n\r\n0\r\n\r\ntwo!!\r\n0\r\n\r\n"
TRAILER_LEAK = (
    b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\nCookie: session=attacker\r\n\r\n"
    b"GET /second HTTP/1.1\r\nHost: victim\r\n\r\n"
)
BODY_THAT_LOOKS_LIKE_A_REQUEST = (
    b"GET /attacker HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2d\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\nC: attac\r\n\r\n\r\n0\r\n\r\n"
)

Split = Callable[[bytes], list[bytes]]


def whole(data: bytes) -> list[bytes]:
    return [data]


both = pytest.mark.parametrize("split", [whole, byte_by_byte])


@both
def test_pipelined_requests_are_read_in_their_order(split: Split) -> None:
    driver = Driver().receive(*split(GET + POST + CHUNKED + GET))
    assert [(request.method, request.target, request.body) for request in driver.requests] == [
        ("GET", "/first?x=1", b""),
        ("POST", "/second", b"body"),
        ("PUT", "/third", b"one\r\n0\r\n\r\ntwo!!"),
        ("GET", "/first?x=1", b""),
    ]
    assert driver.http.state == http1.IDLE
    assert driver.http.buffered_bytes == 0


@both
def test_a_trailer_does_not_reach_the_next_message(split: Split) -> None:
    driver = Driver().receive(*split(TRAILER_LEAK))
    assert [request.headers for request in driver.requests] == [
        (("Host", "a"), ("Transfer-Encoding", "chunked")),
        (("Host", "victim"),),
    ]


@both
def test_a_body_that_looks_like_a_request_is_a_body(split: Split) -> None:
    driver = Driver().receive(*split(BODY_THAT_LOOKS_LIKE_A_REQUEST))
    assert [request.target for request in driver.requests] == ["/attacker"]
    assert driver.requests[0].body == b"GET /smuggled HTTP/1.1\r\nHost: x\r\nC: attac\r\n\r\n"


def test_a_request_alone_is_returned_by_the_call_that_brings_its_last_byte() -> None:
    http = new_connection()
    assert http.next_request(GET[:-1]) is None
    assert http.state == http1.READING_HEAD
    message = http.next_request(GET[-1:])
    assert message is not None
    assert (message.line.method, message.line.target) == ("GET", "/first?x=1")
    assert http.state == http1.RESPONDING


def test_the_next_request_waits_for_the_response_before_it() -> None:
    http = new_connection()
    assert http.next_request(GET + POST) is not None
    assert http.next_request() is None
    assert http.next_request(GET) is None
    http.response_sent()
    message = http.next_request()
    assert message is not None
    assert message.line.method == "POST"


def test_a_response_before_the_end_of_the_body_ends_the_connection() -> None:
    http = new_connection()
    assert http.next_request(POST[:-1]) is not None
    assert http.read_body(10) == b"bod"
    http.response_sent()
    assert http.is_closed
    assert http.next_request(b"y" + GET) is None
    assert http.buffered_bytes == 0


@both
@pytest.mark.parametrize(
    ("data", "slug"),
    [
        (b"nonsense\r\n\r\n", "malformed-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "malformed-request"),
        (b"GET / HTTP/1.1\nHost: shop\n\n", "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: shop\rX: y\r\n\r\n", "malformed-request"),
        (b"\n\nGET / HTTP/1.1\r\nHost: shop\r\n\r\n", "malformed-request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version-not-supported"),
        (b"GET / HTTP/2.0\r\nHost: shop\r\n\r\n", "version-not-supported"),
        (b"GET / HTTP/0.9\r\nHost: shop\r\n\r\n", "malformed-request"),
        (b"GET / HTTP/1.10\r\nHost: shop\r\n\r\n", "malformed-request"),
        (b"GET / HTTP/1.\r\nHost: shop\r\n\r\n", "malformed-request"),
        (b"GET / http/1.1\r\nHost: shop\r\n\r\n", "malformed-request"),
        (b"GET / HTTP/1.1\r\n\r\n", "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nContent-Length: 18446744073709551615\r\n\r\n", "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nContent-Length: %b1\r\n\r\n" % (b"9" * 20), "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding:\r\n\r\n", "ambiguous-request"),
        (
            b"GET / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "unknown-transfer-coding",
        ),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "malformed-request"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n", "ambiguous-request"),
        (b"GET /%b HTTP/1.1\r\nHost: shop\r\n\r\n" % (b"x" * MAX_LINE_BYTES), "target-too-long"),
        (b"GET /%b" % (b"x" * MAX_HEAD_BYTES), "target-too-long"),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "ambiguous-request"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\nX: %b\r\n\r\n" % (b"y" * (MAX_LINE_BYTES + 1)), "headers-too-large"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\n" + b"X: y\r\n" * MAX_FIELDS + b"\r\n", "headers-too-large"),
        (b"GET / HTTP/1.1\r\nHost: shop\r\n" + (b"X: %b\r\n" % (b"y" * 500)) * 70, "headers-too-large"),
        (b"\r\n" * MAX_HEAD_BYTES, "headers-too-large"),
    ],
)
def test_an_unacceptable_head_ends_the_connection(split: Split, data: bytes, slug: str) -> None:
    driver = Driver().receive(*split(GET + data + GET))
    assert driver.rejected == slug
    assert len(driver.requests) == 1
    assert driver.http.state == http1.CLOSED
    assert driver.http.buffered_bytes == 0


@both
def test_a_later_minor_version_is_read_as_the_latest_known_one(split: Split) -> None:
    sent = POST.replace(b"HTTP/1.1", b"HTTP/1.2") + GET.replace(b"HTTP/1.1", b"HTTP/1.9") + GET
    driver = Driver().receive(*split(sent))
    assert [request.target for request in driver.requests] == ["/second", "/first?x=1", "/first?x=1"]
    assert driver.requests[0].body == b"body"
    assert driver.http.state == http1.IDLE


@both
@pytest.mark.parametrize(
    ("limits", "data", "slug"),
    [
        (HeadLimits(line_bytes=1024), b"GET /%b HTTP/1.1\r\nHost: shop\r\n\r\n" % (b"x" * 1024), "target-too-long"),
        (HeadLimits(line_bytes=1024), b"GET / HTTP/1.1\r\nHost: shop\r\nX: %b\r\n\r\n" % (b"x" * 1025), "headers-too-large"),
        (HeadLimits(fields=10), b"GET / HTTP/1.1\r\nHost: shop\r\n" + b"X: y\r\n" * 10 + b"\r\n", "headers-too-large"),
        (HeadLimits(head_bytes=1024), b"GET / HTTP/1.1\r\nHost: shop\r\n" + b"X: yyyyyyyyyy\r\n" * 80 + b"\r\n", "headers-too-large"),
    ],
)  # fmt: skip
def test_limits_of_heads_are_settings(split: Split, limits: HeadLimits, data: bytes, slug: str) -> None:
    roomy = HeadLimits(line_bytes=2048, fields=200, head_bytes=64 * 1024)
    assert len(Driver(limited(roomy)).receive(*split(data)).requests) == 1
    assert Driver(limited(limits)).receive(*split(data)).rejected == slug


def limited(limits: HeadLimits) -> Http1:
    return Http1(keepalive_s=75.0, receive_timeout_s=10.0, plain_heads=PlainHeadReader(limits), limits=limits)


@both
def test_empty_lines_before_a_request_are_skipped(split: Split) -> None:
    driver = Driver().receive(*split(b"\r\n\r\n" + GET + b"\r\n" + POST))
    assert [request.target for request in driver.requests] == ["/first?x=1", "/second"]


@both
@pytest.mark.parametrize("length", [b"4", b"0004", b"4 ", b"%b4" % (b"0" * 6000)])
def test_a_length_may_have_zeros_before_it(split: Split, length: bytes) -> None:
    sent = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: %b\r\n\r\nbody" % length
    assert Driver().receive(*split(sent + GET)).requests[0].body == b"body"


@both
@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
def test_bytes_after_an_upgrade_are_http(split: Split, upgrade: bytes) -> None:
    sent = b"GET /up HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % upgrade
    driver = Driver().receive(*split(sent + POST))
    assert [request.target for request in driver.requests] == ["/up", "/second"]


@both
def test_nothing_is_read_after_the_last_request(split: Split) -> None:
    last = b"GET /last HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
    driver = Driver().receive(*split(GET + last + POST))
    assert [request.target for request in driver.requests] == ["/first?x=1", "/last"]
    assert driver.rejected is None


@both
def test_a_body_longer_than_its_limit_ends_the_connection(split: Split) -> None:
    head = b"POST / HTTP/1.1\r\nHost: shop\r\n"
    counted = head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    announced = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_BODY_BYTES + 1)
    small = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (MAX_BODY_BYTES // 2) + b"ffff\r\n"
    for data in (counted + b"x", announced, small):
        assert Driver().receive(*split(data)).rejected == "body-too-large"


# Time


def at_times(http: Http1, *times: float) -> list[int]:
    return [http.check(time) for time in times]


def test_an_idle_connection_ends_after_the_keepalive_time() -> None:
    driver = Driver()
    assert at_times(driver.http, 0, 70) == [http1.ON_TIME] * 2
    driver.receive(GET)
    assert at_times(driver.http, 80, 150, 155, 155.1) == [http1.ON_TIME] * 3 + [http1.IDLE_TOO_LONG]


def test_a_request_that_was_rejected_unparsed_counts_as_activity() -> None:
    http = new_connection()
    assert http.check(0) == http1.ON_TIME
    http.skip_request()
    assert at_times(http, 80, 155, 156) == [http1.ON_TIME, http1.ON_TIME, http1.IDLE_TOO_LONG]


def test_a_head_has_its_time_whatever_arrives_of_it() -> None:
    driver = Driver().receive(GET[:5])
    assert driver.http.check(0) == http1.ON_TIME
    driver.receive(GET[5:9])
    assert at_times(driver.http, 10, 10.1) == [http1.ON_TIME, http1.HEAD_TOO_SLOW]


def test_a_client_that_is_not_read_from_is_not_late() -> None:
    http = new_connection()
    assert http.next_request(GET[:5]) is None
    assert [http.check(time, is_blocked=True) for time in (0, 50, 100)] == [http1.ON_TIME] * 3
    assert at_times(http, 110, 111) == [http1.ON_TIME, http1.HEAD_TOO_SLOW]


def test_a_response_takes_the_time_it_takes() -> None:
    http = new_connection()
    assert http.next_request(GET) is not None
    assert at_times(http, 0, 1000, 2000) == [http1.ON_TIME] * 3


class Upload:
    """A body that arrives in chunks at the times a test says."""

    def __init__(self, *, is_buffered: bool, is_awaited: bool = True) -> None:
        self.http = new_connection()
        head = b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert self.http.next_request(head) is not None
        self.http.is_body_buffered = is_buffered
        self.http.is_body_awaited = is_awaited
        assert self.http.check(0) == http1.ON_TIME

    def at(self, time: float, *, size: int) -> int:
        """So many bytes arrive, then the time is checked."""
        if size:
            self.http.receive_data(b"%x\r\n%b\r\n" % (size, b"x" * size))
            assert len(self.http.read_body(2**40)) == size
        return self.http.check(time)


def test_a_body_may_pause_for_the_receive_timeout() -> None:
    upload = Upload(is_buffered=False)
    assert upload.at(5, size=0) == http1.ON_TIME
    assert upload.at(10, size=0) == http1.ON_TIME
    assert upload.at(10.1, size=0) == http1.BODY_TOO_SLOW


def test_received_bytes_earn_time_but_not_more_than_the_timeout() -> None:
    upload = Upload(is_buffered=False)
    assert upload.at(9, size=2048) == http1.ON_TIME
    assert upload.at(12, size=0) == http1.ON_TIME
    assert upload.at(12.1, size=2**20) == http1.ON_TIME
    assert upload.at(22, size=0) == http1.ON_TIME
    assert upload.at(22.2, size=0) == http1.BODY_TOO_SLOW


def test_a_body_that_dribbles_is_too_slow_though_each_byte_is_in_time() -> None:
    upload = Upload(is_buffered=False)
    verdicts = [upload.at(second, size=100) for second in range(1, 30)]
    assert http1.BODY_TOO_SLOW in verdicts
    assert verdicts.index(http1.BODY_TOO_SLOW) <= 12


def test_an_upload_that_keeps_the_rate_may_take_hours() -> None:
    upload = Upload(is_buffered=False)
    assert {upload.at(second, size=1024) for second in range(1, 7200)} == {http1.ON_TIME}


def test_the_time_of_a_slow_handler_is_not_the_clients() -> None:
    upload = Upload(is_buffered=False, is_awaited=False)
    assert {upload.at(second, size=0) for second in range(1, 1000)} == {http1.ON_TIME}
    upload.http.is_body_awaited = True
    assert upload.at(1000, size=0) == http1.ON_TIME
    assert upload.at(1009.9, size=0) == http1.ON_TIME
    assert upload.at(1010.1, size=0) == http1.BODY_TOO_SLOW


def test_a_buffered_body_must_be_complete_in_the_receive_timeout() -> None:
    upload = Upload(is_buffered=True)
    assert {upload.at(second, size=2048) for second in range(1, 11)} == {http1.ON_TIME}
    assert upload.at(10.5, size=2048) == http1.BODY_TOO_SLOW


def test_a_large_buffered_body_must_come_faster() -> None:
    slow, fast = Upload(is_buffered=True), Upload(is_buffered=True)
    assert slow.at(1, size=http1.MAX_SLOW_BODY_BYTES + 1) == http1.ON_TIME
    assert fast.at(1, size=http1.MAX_SLOW_BODY_BYTES + 1) == http1.ON_TIME
    slow_verdicts = [slow.at(second, size=8 * 1024) for second in range(2, 9)]
    assert {fast.at(second, size=32 * 1024) for second in range(2, 9)} == {http1.ON_TIME}
    assert http1.BODY_TOO_SLOW in slow_verdicts


def test_an_error_of_a_body_ends_the_connection() -> None:
    http = new_connection()
    assert http.next_request(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") is not None
    with pytest.raises(ProtocolError):
        http.read_body(100)
    assert http.is_closed
    assert http.read_body(100) == b""


def answered(http: http1.Http1, data: bytes) -> RequestHead:
    """The head of a request that is responded to."""
    head = http.next_request(data)
    assert head is not None
    http.read_body(MAX_BODY_BYTES)
    http.response_sent()
    return head


def test_a_repeated_section_of_a_connection_is_not_read_again() -> None:
    http = new_connection(PlainHeadReader())
    first = answered(http, GET)
    assert answered(http, GET) is first
    assert answered(http, GET.replace(b"first", b"other")).line.target == "/other?x=1"
    assert answered(http, GET).line.target == "/first?x=1"


def test_a_repeated_section_with_a_body_has_its_own_body() -> None:
    http = new_connection(PlainHeadReader())
    bodies = []
    for body in (b"one", b"two"):
        head = http.next_request(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\n" + body)
        assert head is not None
        bodies.append(http.read_body(MAX_BODY_BYTES))
        http.response_sent()
    assert bodies == [b"one", b"two"]


def test_a_repeated_section_is_read_again_when_the_routes_have_changed() -> None:
    reader = PlainHeadReader()
    http = new_connection(reader)
    first = answered(http, GET)
    reader.forget_request_lines()
    assert answered(http, GET).line is not first.line


def test_an_idle_connection_forgets_its_last_section() -> None:
    http = new_connection(PlainHeadReader())
    first = answered(http, GET)
    for now in (1.0, 2.0):
        http.check(now)
    assert answered(http, GET) is not first
