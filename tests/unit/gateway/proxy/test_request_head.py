from __future__ import annotations

from typing import Any

import pytest

from gateway.http.message import Request
from gateway.proxy.address import Address
from gateway.proxy.errors import AmbiguousRequest, NotForwarded
from gateway.proxy.request_head import RequestHeads
from gateway.proxy.request_path import check_path
from tests.integration.gateway.proxy.raw_upstream import request, rule

ADDRESS = Address.parse("http://shop.internal:8080")
TRACE = "0af7651916cd43dd8448eb211c80319c"
LB = "10.0.0.1"


def sent(asked: Request, *, length: int | None = 0, address: Address = ADDRESS, **options: Any) -> list[str]:
    """The lines of the request as the upstream gets it."""
    fields = RequestHeads(
        rule(**options), is_trusted=lambda peer: peer == LB, random_bytes=lambda count: b"\xab" * count
    )
    section = fields.of(asked, length or len(asked.body) if length is not None else None).render(address, 5000)
    assert section.endswith(b"\r\n\r\n")
    return section[:-4].decode("utf-8", "surrogateescape").split("\r\n")


def value(lines: list[str], name: str) -> str | None:
    found = [line for line in lines if line.lower().startswith(name.lower() + ": ")]
    assert len(found) <= 1, found
    return found[0].partition(": ")[2] if found else None


def test_a_request_is_passed_on_with_the_fields_of_the_gateway() -> None:
    lines = sent(request(path="/a/b", query="c=d&e", accept="text/html", peer="203.0.113.9"))
    assert lines == [
        "GET /a/b?c=d&e HTTP/1.1",
        "Host: shop.example",
        "accept: text/html",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: shop.example",
        'Forwarded: for=203.0.113.9;host="shop.example";proto=http',
        "Via: 1.1 peakgate",
        "X-Request-Id: 0123456789abcdef",
        "traceparent: 00-abababababababab0123456789abcdef-abababab00000001-00",
        "Request-Timeout-Ms: 5000",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "content-length",
        "expect",
        "x-api-key",
        "waiting-room-token",
        "x-real-ip",
        "upgrade",
    ],
)
def test_hop_by_hop_fields_and_those_for_the_gateway_are_dropped(name: str) -> None:
    assert value(sent(request(raw=((name, "x"),))), name) is None


def test_fields_named_by_connection_are_dropped_except_the_gateways_own() -> None:
    asked = request(connection="close, X-Secret, X-Forwarded-For, Host", x_secret="1", x_other="2")
    lines = sent(asked)
    assert value(lines, "x-secret") is None
    assert value(lines, "x-other") == "2"
    assert value(lines, "X-Forwarded-For") == "10.0.0.9"
    assert value(lines, "Host") == "shop.example"
    assert value(lines, "Connection") is None


def test_forwarding_fields_of_an_untrusted_peer_are_replaced() -> None:
    lines = sent(
        request(
            peer="203.0.113.9",
            x_forwarded_for="1.1.1.1",
            x_forwarded_proto="https",
            x_forwarded_host="evil",
            forwarded="for=1.1.1.1",
        )
    )
    assert value(lines, "X-Forwarded-For") == "203.0.113.9"
    assert value(lines, "X-Forwarded-Proto") == "http"
    assert value(lines, "X-Forwarded-Host") == "shop.example"
    assert value(lines, "Forwarded") == 'for=203.0.113.9;host="shop.example";proto=http'


@pytest.mark.parametrize(
    ("name", "text"), [("X-Forwarded-Port", "443"), ("X-Forwarded-Prefix", "/a,/b"), ("X-Forwarded-Ssl", "on")]
)
def test_other_forwarding_fields_are_passed_on_from_trusted_peers_only(name: str, text: str) -> None:
    assert value(sent(request(raw=((name, text),), peer="203.0.113.9")), name) is None
    assert value(sent(request(raw=((name, text),), peer=LB)), name) == text


@pytest.mark.parametrize(
    ("name", "text", "instead"),
    [
        ("X-Forwarded-Proto", "https, evil host", "http"),
        ("X-Forwarded-Proto", "", "http"),
        ("X-Forwarded-Host", "evil.example/path", "shop.example"),
        ("X-Forwarded-Host", "user@evil.example", "shop.example"),
        ("X-Forwarded-Port", "443 evil", None),
        ("X-Forwarded-Prefix", "//evil.example", None),
        ("X-Forwarded-Prefix", "443", None),
        ("X-Forwarded-Prefix", "/a/../b c", None),
    ],
)
def test_a_malformed_forwarding_field_is_believed_of_no_peer(name: str, text: str, instead: str | None) -> None:
    assert value(sent(request(raw=((name, text),), peer=LB)), name) == instead


@pytest.mark.parametrize("text", ["https", "https, http", "wss"])
def test_schemes_of_a_trusted_peer_are_passed_on(text: str) -> None:
    assert value(sent(request(peer=LB, x_forwarded_proto=text)), "X-Forwarded-Proto") == text


@pytest.mark.parametrize(
    ("clients", "nodes"),
    [
        ("192.0.2.7:4711", 'for="192.0.2.7:4711"'),
        ("[2001:db8::7]:4711", 'for="[2001:db8::7]:4711"'),
        ("[2001:db8::7]", 'for="[2001:db8::7]"'),
        ("2001:db8::7", 'for="[2001:db8::7]"'),
        ("192.0.2.7, 198.51.100.2:5", 'for=192.0.2.7, for="198.51.100.2:5"'),
        ("::ffff:192.0.2.7", 'for="[::ffff:192.0.2.7]"'),
        ('"[2001:db8::7]:4711"', 'for="[2001:db8::7]:4711"'),
        ("unknown", "for=unknown"),
        ("Unknown:80", 'for="Unknown:80"'),
        ("_hidden", "for=_hidden"),
        ("_hidden:_port", 'for="_hidden:_port"'),
        ("192.0.2.256", "for=unknown"),
        ("192.0.2.07", "for=unknown"),
        ("192.0.2.7:123456", "for=unknown"),
        ("192.0.2.7:", "for=unknown"),
        ("2001:db8::7::", "for=unknown"),
        ("[2001:db8::7::]:80", "for=unknown"),
        ("[192.0.2.7]:80", "for=unknown"),
        ("fe80::1%eth0", "for=unknown"),
        ("shop.example", "for=unknown"),
        ("_", "for=unknown"),
        ('"', "for=unknown"),
        ("", None),
        (",", "for=unknown, for=unknown"),
    ],
)
def test_forwarded_has_every_address_that_x_forwarded_for_may_have(clients: str, nodes: str | None) -> None:
    lines = sent(request(peer=LB, x_forwarded_for=clients))
    own = 'for=10.0.0.1;host="shop.example";proto=http'
    assert value(lines, "Forwarded") == (f"{nodes}, {own}" if nodes else own)
    assert value(lines, "X-Forwarded-For") == (f"{clients}, {LB}" if clients else LB)


@pytest.mark.parametrize(
    ("peer", "text", "node"),
    [
        ("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1", '"[fe80::1]"'),
        ("", "unknown", "unknown"),
    ],
)
def test_the_peer_is_one_address_in_both_fields(peer: str, text: str, node: str) -> None:
    lines = sent(request(peer=peer))
    assert value(lines, "X-Forwarded-For") == text
    assert value(lines, "Forwarded") == f'for={node};host="shop.example";proto=http'


def test_the_stripped_prefix_is_passed_on() -> None:
    stripped: dict[str, Any] = {"prefix": "/shop/", "strip_prefix": True}
    assert value(sent(request(path="/shop/a"), **stripped), "X-Forwarded-Prefix") == "/shop"
    forged = request(path="/shop/a", peer="203.0.113.9", x_forwarded_prefix="/evil")
    assert value(sent(forged, **stripped), "X-Forwarded-Prefix") == "/shop"
    assert value(sent(request(path="/shop/a"), prefix="/shop/"), "X-Forwarded-Prefix") is None
    assert value(sent(request(path="/a"), prefix="/", strip_prefix=True), "X-Forwarded-Prefix") is None


@pytest.mark.parametrize(
    ("outer", "told"),
    [
        ("/outer", "/outer/shop"),
        ("/outer/", "/outer/shop"),
        ("/", "/shop"),
        ("/a, /b", "/a/b/shop"),
        ("//evil.example", "/shop"),
        ("evil", "/shop"),
    ],
)
def test_the_prefix_of_a_trusted_peer_comes_before_the_stripped_one(outer: str, told: str) -> None:
    asked = request(path="/shop/a", peer=LB, x_forwarded_prefix=outer)
    assert value(sent(asked, prefix="/shop/", strip_prefix=True), "X-Forwarded-Prefix") == told


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL"])
def test_fields_that_rewrite_the_address_are_dropped(name: str) -> None:
    assert value(sent(request(raw=((name, "/admin"),), peer=LB)), name) is None


@pytest.mark.parametrize(
    "name", ["X_Forwarded_For", "x-forwarded_proto", "Content_Length", "Transfer_Encoding", "X_Api_Key", "Cookie_"]
)
def test_names_that_servers_take_for_a_field_of_the_gateway_are_dropped(name: str) -> None:
    lines = sent(request(raw=((name, "6.6.6.6"),), peer=LB, x_forwarded_for="198.51.100.7", cookie="a=b"))
    assert (value(lines, name) is None) is (name != "Cookie_")
    assert value(lines, "X-Forwarded-For") == "198.51.100.7, 10.0.0.1"
    assert value(lines, "Cookie") == "a=b"


def test_forwarding_fields_of_a_trusted_peer_are_extended() -> None:
    lines = sent(request(peer=LB, x_forwarded_for="198.51.100.7, 2001:db8::1", x_forwarded_proto="https"))
    assert value(lines, "X-Forwarded-For") == "198.51.100.7, 2001:db8::1, 10.0.0.1"
    assert value(lines, "X-Forwarded-Proto") == "https"
    assert value(lines, "Forwarded") == (
        'for=198.51.100.7, for="[2001:db8::1]", for=10.0.0.1;host="shop.example";proto=http'
    )
    lines = sent(request(peer=LB, forwarded='for=198.51.100.7;by=_x;host="a,b"'))
    assert value(lines, "Forwarded") == 'for=198.51.100.7;by=_x;host="a,b", for=10.0.0.1;host="shop.example";proto=http'


def test_a_balancer_that_writes_x_forwarded_for_is_not_believed_in_a_clients_forwarded() -> None:
    lines = sent(request(peer=LB, x_forwarded_for="198.51.100.7", forwarded="for=192.0.2.1;host=evil.example"))
    assert value(lines, "Forwarded") == 'for=198.51.100.7, for=10.0.0.1;host="shop.example";proto=http'


@pytest.mark.parametrize("forwarded", ['for="1.1.1.1', "for=1.1.1.1;", "for", 'for="a\\"', "for=[::1]", "for=a b"])
def test_a_malformed_forwarded_is_dropped(forwarded: str) -> None:
    lines = sent(request(peer=LB, forwarded=forwarded))
    assert value(lines, "Forwarded") == 'for=10.0.0.1;host="shop.example";proto=http'


def test_an_invalid_address_cannot_break_out_of_forwarded() -> None:
    lines = sent(request(peer=LB, x_forwarded_for='1.1.1.1;host="evil", _hid"den'))
    assert value(lines, "Forwarded") == 'for=unknown, for=unknown, for=10.0.0.1;host="shop.example";proto=http'


def test_a_trace_is_continued_with_a_span_of_the_gateway() -> None:
    lines = sent(request(traceparent=f"00-{TRACE}-b7ad6b7169203331-01", tracestate="a=1,b=2"))
    assert value(lines, "traceparent") == f"00-{TRACE}-abababab00000001-01"
    assert value(lines, "tracestate") == "a=1,b=2"


@pytest.mark.parametrize(
    "bad", ["", "00-0-0-0", f"ff-{TRACE}-b7ad6b7169203331-01", f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-{TRACE}-x-01"]
)
def test_an_invalid_trace_is_replaced_without_its_state(bad: str) -> None:
    lines = sent(request(traceparent=bad, tracestate="a=1"))
    assert value(lines, "traceparent") == "00-abababababababab0123456789abcdef-abababab00000001-00"
    assert value(lines, "tracestate") is None


@pytest.mark.parametrize(
    ("version", "flags", "sent_flags"), [("00", "ff", "03"), ("cc", "02", "02"), ("01", "09", "01")]
)
def test_unknown_flags_of_a_trace_are_cleared(version: str, flags: str, sent_flags: str) -> None:
    lines = sent(request(traceparent=f"{version}-{TRACE}-b7ad6b7169203331-{flags}"))
    assert value(lines, "traceparent") == f"00-{TRACE}-abababab00000001-{sent_flags}"


@pytest.mark.parametrize("version", ["00", "01"])
def test_two_traceparents_are_none(version: str) -> None:
    parent = f"{version}-{TRACE}-b7ad6b7169203331-01"
    for first in (parent, f"01-{TRACE}-b7ad6b7169203331-01-x"):
        lines = sent(request(raw=(("traceparent", first), ("Traceparent", parent)), tracestate="a=1"))
        assert value(lines, "traceparent") == "00-abababababababab0123456789abcdef-abababab00000001-00"
        assert value(lines, "tracestate") is None


@pytest.mark.parametrize(
    "state",
    [
        "a=1",
        "a=1,b=2",
        "a=1 \t, \tb=2,,",
        "congo=ucfJifl5GOE,rojo=00f067aa0ba902b7",
        "0tenant@system=v",
        "a_b-c*d/e=x y!z~",
        "a=1,a=1",
        f"{'k' * 256}={'v' * 256}",
        f"{'t' * 241}@{'s' * 14}=v",
        ",".join(f"k{number}=v" for number in range(32)),
    ],
)
def test_a_valid_trace_state_is_passed_on_unchanged(state: str) -> None:
    lines = sent(request(traceparent=f"00-{TRACE}-b7ad6b7169203331-01", tracestate=state))
    assert value(lines, "tracestate") == state


@pytest.mark.parametrize(
    "state",
    [
        "",
        ",",
        "a",
        "=1",
        "a=",
        "A=1",
        "1a=1",
        "a=1=2",
        "a =1",
        "a@=1",
        "@b=1",
        "a@1=1",
        "a@b@c=1",
        "a=\u00e9",
        "\u0131=1",
        "a=x\ty",
        "a=1;b=2 c,d",
        f"{'k' * 257}=v",
        f"k={'v' * 257}",
        f"{'t' * 242}@s=v",
        f"t@{'s' * 15}=v",
        ",".join(f"k{number}=v" for number in range(33)),
    ],
)
def test_an_invalid_trace_state_is_dropped_without_its_trace(state: str) -> None:
    lines = sent(request(traceparent=f"00-{TRACE}-b7ad6b7169203331-01", tracestate=state))
    assert value(lines, "traceparent") == f"00-{TRACE}-abababab00000001-01"
    assert value(lines, "tracestate") is None


def test_lines_of_a_trace_state_are_one_list() -> None:
    parent = f"00-{TRACE}-b7ad6b7169203331-01"
    lines = sent(request(traceparent=parent, raw=(("tracestate", "a=1"), ("TraceState", "b=2,c=3"))))
    assert value(lines, "tracestate") == "a=1, b=2,c=3"
    many = tuple(("tracestate", f"k{number}=v") for number in range(33))
    assert value(sent(request(traceparent=parent, raw=many)), "tracestate") is None


def test_every_request_has_a_span_of_its_own() -> None:
    fields = RequestHeads(rule(), is_trusted=lambda _peer: False)
    spans = {fields.of(request(), 0).render(ADDRESS, 1).partition(b"traceparent: ")[2][36:52] for _ in range(9)}
    assert len(spans) == 9


def test_the_host_is_the_clients_or_the_targets_own() -> None:
    assert value(sent(request()), "Host") == "shop.example"
    lines = sent(request(), preserve_host=False)
    assert value(lines, "Host") == "shop.internal:8080"
    assert value(lines, "X-Forwarded-Host") == "shop.example"
    nameless = request()
    nameless.headers = {}
    assert value(sent(nameless), "Host") == "shop.internal:8080"


def test_the_prefix_is_stripped_if_configured() -> None:
    stripped: dict[str, Any] = {"prefix": "/shop/", "strip_prefix": True}
    assert sent(request(path="/shop/a/b", query="c"), **stripped)[0] == "GET /a/b?c HTTP/1.1"
    assert sent(request(path="/shop/"), **stripped)[0] == "GET / HTTP/1.1"
    assert sent(request(path="/shop/a"), prefix="/shop/")[0] == "GET /shop/a HTTP/1.1"
    for path in ("/shop//evil.example/", "/other/"):
        with pytest.raises(AmbiguousRequest):
            sent(request(path=path), **stripped)


def test_framing_is_written_by_the_gateway() -> None:
    assert value(sent(request("POST", body=b"12345", content_length="9")), "Content-Length") == "5"
    assert value(sent(request("POST")), "Content-Length") == "0"
    assert value(sent(request("GET")), "Content-Length") is None
    streamed = sent(request("POST"), length=None)
    assert value(streamed, "Content-Length") is None
    assert value(streamed, "Transfer-Encoding") == "chunked"
    of_known_length = sent(request("POST", content_length="9"), length=9)
    assert value(of_known_length, "Content-Length") == "9"
    assert value(of_known_length, "Transfer-Encoding") is None


def test_via_is_appended_to() -> None:
    assert value(sent(request(via="1.1 edge")), "Via") == "1.1 edge, 1.1 peakgate"


def test_cookies_of_the_gateway_are_dropped() -> None:
    assert value(sent(request(cookie="a=1; peakgate_drop=secret; b=2")), "Cookie") == "a=1; b=2"
    assert value(sent(request(cookie="peakgate_drop=secret")), "Cookie") is None
    assert value(sent(request(cookie="a=1")), "Cookie") == "a=1"


def test_bytes_beyond_ascii_are_passed_on_unchanged() -> None:
    raw = b"caf\xc3\xa9 \xff".decode("utf-8", "surrogateescape")
    assert value(sent(request(x_name=raw)), "x-name") == raw


@pytest.mark.parametrize(
    ("asked", "timeout_s"), [("100", 0.1), ("0", 0.001), ("999999", 0.3), ("-5", 0.3), ("x", 0.3), ("９", 0.3)]
)
def test_a_client_may_only_shorten_the_timeout(asked: str, timeout_s: float) -> None:
    fields = RequestHeads(rule(timeout_s=0.3), is_trusted=lambda _peer: False)
    assert fields.of(request(request_timeout_ms=asked), 0).timeout_s == timeout_s


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "GET /x HTTP/1.1\r\nX:", "", "get"])
def test_other_methods_are_not_forwarded(method: str) -> None:
    with pytest.raises(NotForwarded):
        sent(request(method))


@pytest.mark.parametrize(
    "asked",
    [
        request(x_one="a\r\nb: c"),
        request(x_one="a\nb"),
        request(x_one="a\rb"),
        request(x_one="a\x00b"),
        request(x_one="a\x7fb"),
        request(raw=(("x one", "a"),)),
        request(raw=(("x-one ", "a"),)),
        request(raw=(("x\r\ny", "a"),)),
        request(raw=(("", "a"),)),
        request(raw=(("ñ", "a"),)),
        request(host="a b"),
        request(host="a/b"),
        request(host="a@b"),
        request(host="a,b"),
        request(query="a b"),
        request(query="a\r\nb"),
        request(query="a#b"),
        request(query="é"),
    ],
)
def test_ambiguous_fields_are_rejected(asked: Request) -> None:
    with pytest.raises(AmbiguousRequest):
        sent(asked)


def test_two_hosts_are_rejected() -> None:
    asked = request(raw=(("host", "other"),))
    with pytest.raises(AmbiguousRequest):
        sent(asked)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "*",
        "/..",
        "/../a",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/.",
        "/%2e%2e/a",
        "/a/%2E./b",
        "/a/..;/b",
        "/a/.%2e",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%00b",
        "/a%0d%0ab",
        "/a%7f",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a b",
        "/a\tb",
        "/a\r\nb",
        "/a\x00",
        "/é",
        "/a#b",
        "/a?b",
        "http://other/a",
    ],
)
def test_ambiguous_paths_are_rejected(path: str) -> None:
    with pytest.raises(AmbiguousRequest):
        check_path(path)
    with pytest.raises(AmbiguousRequest):
        sent(request(path=path))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "/a/",
        "/a//b",
        "/.well-known/x",
        "/a..b",
        "/...",
        "/a%20b",
        "/%C3%A9",
        "/a;b=c/d",
        "/a%252fb",
        '/"{|}',
    ],
)
def test_other_paths_are_passed_on_as_they_were_sent(path: str) -> None:
    assert sent(request(path=path))[0] == f"GET {path} HTTP/1.1"
