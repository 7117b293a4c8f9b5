"""Reading the configuration file: values, defaults and error messages."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest
from msgspec.structs import replace

from gateway.config.cross_checks import unmatched_route_patterns
from gateway.config.file import ConfigError, read_file, read_text
from gateway.config.policies import BREAKERS, Breaker, Event, HealthCheck, Limit, Policies, Upstream
from gateway.config.secret_file import read_secret_file


def errors_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_text(dedent(text), name="f")
    return caught.value.errors


def test_an_empty_file_is_all_defaults() -> None:
    config = read_text("")
    assert config.policies == Policies()
    assert config.settings == {}


def test_settings_are_top_level_keys_and_policies_are_tables() -> None:
    config = read_text(
        dedent("""\
        port = 9000
        data_dir = "var"
        drain_timeout = 5
        show_stock = false

        [[limits]]
        name = "per-client"
        by = "address"
        quota = 50
        window_s = 2

        [breaker.payment]
        open_s = 3

        [[upstreams]]
        name = "web"
        targets = ["http://10.0.0.5:3000", "http://[::1]:3000/"]
        [upstreams.health]
        path = "/healthz"

        [[events]]
        name = "sale"
        start = 2026-11-27T09:00:00+00:00
        end = 2026-11-27T12:00:00Z
        limits = { per-client = 5 }
        """)
    )
    assert config.settings == {"port": 9000, "data_dir": Path("var"), "drain_timeout": 5.0, "show_stock": False}
    assert config.policies == Policies(
        limits=(Limit(name="per-client", by="address", quota=50, window_s=2.0),),
        breaker={"payment": replace(BREAKERS["payment"], open_s=3.0)},
        upstreams=(
            Upstream(
                name="web",
                targets=("http://10.0.0.5:3000", "http://[::1]:3000/"),
                health=HealthCheck(path="/healthz"),
            ),
        ),
        events=(
            Event(
                name="sale",
                start=datetime(2026, 11, 27, 9, tzinfo=UTC),
                end=datetime(2026, 11, 27, 12, tzinfo=UTC),
                limits={"per-client": 5},
            ),
        ),
    )


def test_the_digest_is_of_the_text() -> None:
    text = "port = 9000 # ½\n"
    assert read_text(text).digest == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert read_text(text).text == text


def test_all_errors_are_reported_at_once_in_the_order_of_the_file() -> None:
    assert errors_of("""\
        port = 80800
        workers = "4"
        show_stock = "yes"
        hots = "0.0.0.0"

        [identity]
        trusted_proxies = ["10.0.0.1/8", "balancer"]
        max_lines = 4

        [[limits]]
        name = "Per Client"
        by = "adress"
        quota = 0
        window_s = nan

        [[limits]]
        name = "checkout"
        quota = true

        [shedding]
        enabled = "yes"
        [access_logs]
        """) == [
        "f:1: port: must be a number from 0 to 65535, not 80800",
        "f:2: workers: must be a number from 1 to 256, without quotes, not '4'",
        "f:3: show_stock: must be true or false, without quotes, not 'yes'",
        "f:4: hots: there is no such key; did you mean host?",
        "f:7: identity.trusted_proxies[0]: '10.0.0.1/8' has bits set beyond its prefix; 10.0.0.0/8 would be right",
        "f:7: identity.trusted_proxies[1]: 'balancer' is neither an address nor a network such as 10.0.0.0/8",
        "f:8: identity.max_lines: there is no such key; as a setting of the top level it belongs above the first table",
        "f:11: limits[0].name: must be text in quotes (lower case, digits, - and _), not 'Per Client'",
        "f:12: limits[0].by: must be one of address, api_key, global, route, shopper, not 'adress'",
        "f:13: limits[0].quota: must be a whole number from 1 to 1000000000, not 0",
        "f:14: limits[0].window_s: must be a number above 0 to 86400, not nan",
        "f:16: limits[1]: by is missing",
        "f:18: limits[1].quota: must be a whole number from 1 to 1000000000, not true",
        "f:21: shedding.enabled: must be true or false, without quotes, not 'yes'",
        "f:22: access_logs: there is no such key; did you mean access_log?",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("port = ", "f:1: is not TOML: Invalid value"),
        ("a = 1\n\nport = 1\nport = 2\n", "f:4: is not TOML: Cannot overwrite a value"),
        ("[limits", "f:1: is not TOML: "),
        ("a = " + "[" * 5000, "f: nested too deeply"),
        ("n = " + "9" * 5000, "f: is not TOML: a value is out of all bounds"),
        ("# " + "x" * 5_000_000, "f: must be no longer than 4,194,304 characters"),
    ],
)
def test_invalid_toml_is_one_error_with_its_line(text: str, error: str) -> None:
    (message,) = errors_of(text)
    assert message.startswith(error)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('config = "other.toml"', "config: a file cannot name another; use --config or PEAKGATE_CONFIG"),
        ('host = "a\\nb"', "host: must not hold control characters"),
        ("host = ''", "host: must not be empty, not ''"),
        ("host = 1", "host: must be text in quotes, not 1"),
        ("port = true", "port: must be a number from 0 to 65535, not true"),
        ("port = 80.5", "port: must be a number from 0 to 65535, not 80.5"),
        ("drain_timeout = inf", "drain_timeout: must be a number from 0 to 3600, not inf"),
        ("role = 'king'", "role: must be one of edge, worker, all, not 'king'"),
        ("limits = 1", "limits: must be a list of tables: [[limits]]"),
        ("[limits]", "limits: must be a list of tables: [[limits]]"),
        ("[[shedding]]", "shedding: must be one table: [shedding]"),
        ("cache = 1", "cache: must be a table"),
        ("breaker = 1", "breaker: must be a table"),
        ("identity.allow = '10.0.0.0/8'", "identity.allow: must be a list: […]"),
        ("identity.allow = [1]", "identity.allow[0]: must be text in quotes (an address or a network, such as"),
        ("[headers]\nreferrer_policy = 'é'", "headers.referrer_policy: must be ASCII, as header fields are"),
        ("[headers]\nx_content_type_options = 'x'", "headers.x_content_type_options: must be one of nosniff, not 'x'"),
        ("cors.allow_origins = ['https://shop.example/']", 'cors.allow_origins[0]: must be "*" or an origin such as'),
        ("cors.expose_headers = ['X Y']", "cors.expose_headers[0]: must be the name of a header field, not 'X Y'"),
        ("access_log.ok_sample_rate = 1.5", "access_log.ok_sample_rate: must be a number from 0 to 1, not 1.5"),
        ("shedding.min_concurrency = 3000", "shedding.min_concurrency: must not be above max_concurrency, 2000"),
        ("cache.max_entry_bytes = 100000000", "cache.max_entry_bytes: must not be above memory_bytes, 67108864"),
        (
            "breaker.stor = {}",
            "breaker.stor: there is nothing of that name; there is store, payment, shipping, queue, archive",
        ),
        ("breaker.store.open_s = 60", "breaker.store.open_s: must not be above max_open_s, 1"),
        (
            "cors = {allow_origins = ['*'], allow_credentials = true}",
            'cors.allow_credentials: must not be true for the origin "*"',
        ),
        ("shoppers.issuer = 'x'", "shoppers.issuer: needs jwks_url, or HS256 and hs256_secret_file, to verify"),
        ("shoppers.algorithms = ['HS256']", "shoppers.algorithms: HS256 needs hs256_secret_file"),
        ("shoppers.algorithms = []", "shoppers.algorithms: must name one or more"),
        ("shoppers.hs256_secret_file = 'no-such'", "shoppers.hs256_secret_file: the file cannot be read: No such file"),
        (
            "shoppers = {issuer = 'x', jwks_url = 'https://x/'}",
            "shoppers: audience is missing: tokens for somebody else would be taken",
        ),
        (
            "shoppers = {audience = 'x', jwks_url = 'https://x/'}",
            "shoppers: issuer is missing: tokens for somebody else would be taken",
        ),
    ],
)
def test_each_error_says_the_correction(text: str, error: str) -> None:
    (message,) = errors_of(text)
    assert message.partition(": ")[2].startswith(error)


LISTS = """\
[[limits]]
name = "a"
by = "address"
quota = 5

[[rooms]]
name = "drop"
routes = ["/v1/checkout"]
admissions_per_s = 5
max_active = 50

[[upstreams]]
name = "web"
targets = ["http://web:3000"]

[[switches]]
name = "search"

[[events]]
name = "sale"
start = 2026-11-27T09:00:00Z
end = 2026-11-27T12:00:00Z
"""


@pytest.mark.parametrize(
    ("more", "errors"),
    [
        ("[[limits]]\nname = 'a'\nby = 'route'\nquota = 1", ["limits[1].name: is the same as that of one above"]),
        ("[[switches]]\nname = 'search'", ["switches[1].name: is the same as that of one above"]),
        (
            "[[limits]]\nname='b'\nby='route'\nquota=1\nroutes=[]",
            ["limits[1].routes: must name one or more; leave it out"],
        ),
        (
            "[[routes]]\nprefix = '/a/'\nupstream = 'wbe'",
            ["routes[0].upstream: there is no upstream 'wbe'; there is web"],
        ),
        (
            "[[routes]]\nprefix = '/a/'\nupstream = 'web'\n[[routes]]\nprefix = '/a/'\nupstream = 'web'",
            ["routes[1].prefix: is the same as that of one above"],
        ),
        (
            "[[routes]]\nprefix = '/a/'\nupstream = 'web'\n[[routes]]\nprefix = '/A/'\nupstream = 'web'",
            ["routes[1].prefix: is read as the same path as /a/, that of one above"],
        ),
        (
            (
                "[[routes]]\npath = '/a'\nhosts = ['h', 'i']\nupstream = 'web'\n"
                "[[routes]]\npath = '/a/'\nhosts = ['I.']\nupstream = 'web'"
            ),
            ["routes[1].path: is read as the same path as /a, that of one above"],
        ),
        ("[[routes]]\nupstream = 'web'", ["routes[0]: must have a prefix or a path, and not both"]),
        (
            "[[routes]]\nprefix = '/a/'\npath = '/a'\nupstream = 'web'",
            ["routes[0]: must have a prefix or a path, and not both"],
        ),
        ("[[routes]]\npath = '/a'\nstrip_prefix = true\nupstream = 'web'", ["routes[0].strip_prefix: needs a prefix"]),
        (
            "[[routes]]\npath = '/a'\nhosts = ['h:80', 'http://h']\nupstream = 'web'",
            [
                "routes[0].hosts[0]: must be text in quotes (a host without a port",
                "routes[0].hosts[1]: must be text in quotes (a host without a port",
            ],
        ),
        ("[[upstreams]]\nname='store'\ntargets=['http://x']", ["upstreams[1].name: must not be one of store, payment"]),
        ("[[upstreams]]\nname='b'\ntargets=[]", ["upstreams[1].targets: must have 1 or more"]),
        (
            "[[upstreams]]\nname='b'\ntargets=['http://x/a', 'http://x:99999', 'http://u:sesame@x', 'ftp://x']",
            [
                "upstreams[1].targets[0]: must be scheme, host and port alone; a route's strip_prefix changes paths",
                "upstreams[1].targets[1]: must be an address such as http://10.0.0.5:8080",
                "upstreams[1].targets[2]: must not hold a user or password",
                "upstreams[1].targets[3]: must be text in quotes (http:// or https://)",
            ],
        ),
        ("[[upstreams]]\nname='b'\ntargets=['http://x','http://x']", ["upstreams[1].targets[1]: is the same as one"]),
        (
            "[[upstreams]]\nname='b'\ntargets=['http://x']\nhealth={path='/', interval_s=1}",
            ["upstreams[1].health.timeout_s: must not be above interval_s, 1"],
        ),
        ("[breaker.web]\n[breaker.web2]", ["breaker.web2: there is nothing of that name; there is store, payment"]),
        (
            "limits = { b = 5 }\nrooms = { dorp = true }\nswitches = { serach = false }",
            [
                "events[0].limits.b: there is nothing of that name in [[limits]]; there is a",
                "events[0].rooms.dorp: there is nothing of that name in [[rooms]]; there is drop",
                "events[0].switches.serach: there is nothing of that name in [[switches]]; there is search",
            ],
        ),
        (
            "[[events]]\nname='b'\nstart = 2026-11-27T09:00:00\nend = 1066-11-27T09:00:00Z",
            [
                "events[1].start: must say its time zone: 2026-11-27T09:00:00Z, or +01:00 in place of the Z",
                "events[1].end: must be between the years 2000 and 9998",
            ],
        ),
        (
            "[[events]]\nname='b'\nstart = 2026-11-27T09:00:00Z\nend = 2026-11-27T10:00:00+01:00",
            ["events[1].end: must be after its start, 2026-11-27T09:00:00+00:00"],
        ),
        (
            "[[events]]\nname='b'\nstart = 2026-11-27\nend = '2026-11-28T00:00:00Z'",
            [
                "events[1].start: must be a time with its zone, such as 2026-11-27T09:00:00Z, not '2026-11-27'",
                "events[1].end: must be a time with its zone, such as 2026-11-27T09:00:00Z, not '2026-11-28T00:00:00Z'",
            ],
        ),
        ("prewarm = ['/a b']", ["events[0].prewarm[0]: must be percent-encoded, as it is sent"]),
    ],
)
def test_names_and_values_are_checked_across_tables(more: str, errors: list[str]) -> None:
    messages = [error.partition(": ")[2] for error in errors_of(LISTS + more)]
    assert len(messages) == len(errors)
    assert all(has.startswith(wanted) for has, wanted in zip(messages, errors, strict=True)), messages


def test_the_name_of_an_invalid_table_is_known() -> None:
    (error,) = errors_of(LISTS.replace("admissions_per_s = 5", "admissions_per_s = 0") + "rooms = { drop = true }")
    assert error.startswith("f:9: rooms[0].admissions_per_s: ")


@pytest.mark.parametrize(
    "text",
    [
        "store_url = 'redis//:sesame@shop'",
        "admin_token_file = {sesame = 1}",
        "shoppers.hs256_secret_file = 'sesame'",
        "shoppers.jwks_url = 'sesame'",
        "[[identity.api_keys]]\nname = 'a'\nsha256 = 'sesame'",
        "[[upstreams]]\nname = 'a'\ntargets = ['http://u:sesame@x', 'sesame']",
        "[shoppers]\nhs256_secret = 'sesame'",
        "[[identity.api_keys]]\nname = 'a'\nsha256 = 'sesame",
    ],
)
def test_no_error_contains_a_possible_secret(text: str) -> None:
    assert "sesame'" not in " ".join(errors_of(text))
    assert ":sesame" not in " ".join(errors_of(text))


def test_an_error_is_one_line() -> None:
    errors = errors_of(
        "\"a\\nb\" = 1\nidentity.allow = ['x\\ny']\n[breaker.\"c\\nd\"]\nopen_s = 0\n[[limits]]\nname = 'a\\nb'"
    )
    assert errors
    assert not any("\n" in error for error in errors)


def test_an_unreadable_file_is_an_error_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_file(tmp_path)
    assert caught.value.errors == [f"{tmp_path}: cannot be read: Is a directory"]
    (tmp_path / "latin.toml").write_bytes(b"port = 1\n# caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        read_file(tmp_path / "latin.toml")
    assert caught.value.errors == [f"{tmp_path}/latin.toml:2: must be UTF-8"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_reads_as_one_without(tmp_path: Path, encoding: str) -> None:
    text = "# Ærø\r\n[[switches]]\r\nname = 'search'\r\nroutes = ['GET /v1/products']\r\n"
    (tmp_path / "marked.toml").write_bytes(text.encode(encoding))
    (tmp_path / "plain.toml").write_bytes(text.encode())
    marked, plain = read_file(tmp_path / "marked.toml"), read_file(tmp_path / "plain.toml")
    assert (marked.policies, marked.digest) == (plain.policies, plain.digest)
    assert read_text("\ufeff" + text).policies == plain.policies


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_secret_is_the_same_with_a_byte_order_mark_and_an_end_of_line(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "secret").write_bytes(("s" * 32 + "\r\n").encode(encoding))
    assert read_secret_file(str(tmp_path / "secret")) == b"s" * 32


def test_a_mark_does_not_count_as_a_byte_of_the_secret(tmp_path: Path) -> None:
    text = f"[shoppers]\nissuer = 'i'\naudience = 'a'\nalgorithms = ['HS256']\nhs256_secret_file = '{tmp_path}/secret'"
    (tmp_path / "secret").write_bytes(("s" * 31 + "\n").encode("utf-8-sig"))
    assert errors_of(text) == ["f:5: shoppers.hs256_secret_file: the file must hold 32 bytes or more"]


def test_a_secret_saved_as_utf_16_is_refused_and_random_bytes_are_not(tmp_path: Path) -> None:
    text = f"[shoppers]\nissuer = 'i'\naudience = 'a'\nalgorithms = ['HS256']\nhs256_secret_file = '{tmp_path}/secret'"
    (tmp_path / "secret").write_bytes(("s" * 32 + "\r\n").encode("utf-16"))
    assert errors_of(text) == ["f:5: shoppers.hs256_secret_file: the file must be UTF-8 text or bytes, not UTF-16"]
    (tmp_path / "secret").write_bytes(b"\xff\xfe" + bytes(range(200, 232)))
    assert read_secret_file(str(tmp_path / "secret")) == b"\xff\xfe" + bytes(range(200, 232))


def test_the_skus_of_a_room_are_read_as_those_of_products() -> None:
    room = "[[rooms]]\nname = 'drop'\nroutes = ['/drop/*']\nadmissions_per_s = 1\nmax_active = 1\nskus = [{}]\n"
    assert read_text(room.format("' 85123A ', 'É 1'")).policies.rooms[0].skus == (" 85123A ", "É 1")
    for sku in (r"'a\b'", "'..'", "' '", f"'{'x' * 65}'"):
        (error,) = errors_of(room.format(sku))
        assert "skus[0]: must be printable, at most 64 bytes" in error


def test_hs256_needs_a_secret_of_32_bytes(tmp_path: Path) -> None:
    text = f"[shoppers]\nissuer = 'i'\naudience = 'a'\nalgorithms = ['HS256']\nhs256_secret_file = '{tmp_path}/secret'"
    (tmp_path / "secret").write_text("s" * 32 + "\n")
    assert read_text(text).policies.shoppers.algorithms == ("HS256",)
    (tmp_path / "secret").write_text("sesame" + " " * 32)
    assert errors_of(text) == ["f:5: shoppers.hs256_secret_file: the file must hold 32 bytes or more"]


@pytest.mark.parametrize(
    "prefix",
    [
        "/a/%2e%2e/",
        "/a/%20/",
        "/a%2fb/",
        "/schöne schuhe/",
        "/a b/",
        "/{sku}/",
        '/"/',
        "/a//b/",
        "//",
        "/a/../b/",
        "/./",
    ],
)
def test_a_prefix_that_no_path_can_have_is_an_error(prefix: str) -> None:
    text = f"[[upstreams]]\nname = 'web'\ntargets = ['http://h']\n[[routes]]\nprefix = '{prefix}'\nupstream = 'web'"
    (error,) = errors_of(text)
    assert error.startswith("f:5: routes[0].prefix: must ")


@pytest.mark.parametrize("prefix", ["/", "/shop/", "/a/b-c_d~e.f/", "/caf%C3%A9/", "/.well-known/", "/@x/(1)/"])
def test_a_percent_encoded_prefix_is_valid(prefix: str) -> None:
    text = f"[[upstreams]]\nname = 'web'\ntargets = ['http://h']\n[[routes]]\nprefix = '{prefix}'\nupstream = 'web'"
    assert read_text(text).policies.routes[0].prefix == prefix


def test_routes_may_share_a_path_for_different_hosts_and_kinds() -> None:
    text = "[[upstreams]]\nname = 'web'\ntargets = ['http://h']\n" + "".join(
        f"[[routes]]\n{where}\nupstream = 'web'\n"
        for where in (
            "prefix = '/a/'",
            "path = '/a'",
            "prefix = '/a/'\nhosts = ['shop.example']",
            "prefix = '/a/'\nhosts = ['other.example', '[::1]']",
        )
    )
    routes = read_text(text).policies.routes
    assert [route.pattern for route in routes] == ["/a/*", "/a", "/a/*", "/a/*"]
    assert [route.name for route in routes] == ["/a/*", "/a", "shop.example/a/*", "other.example/a/*"]


def test_times_of_a_breaker_are_compared_with_the_defaults_of_its_dependency() -> None:
    assert read_text("[breaker.store]\nmax_open_s = 0.8").policies.breaker["store"].open_s == 0.2
    assert errors_of("[breaker.store]\nopen_s = 9\n[breaker.queue]\nopen_s = 9") == [
        "f:2: breaker.store.open_s: must not be above max_open_s, 1"
    ]
    assert errors_of("[breaker]\nstore = 1\nqueue = {open = 1}")[0].startswith("f:2: breaker.store: must be a table")


@pytest.mark.parametrize("mark", ["-----BEGIN PUBLIC KEY-----\n", "ssh-ed25519 ", "ecdsa-sha2-nistp256 "])
def test_a_public_key_or_certificate_is_not_a_shared_secret(tmp_path: Path, mark: str) -> None:
    text = f"[shoppers]\nissuer = 'i'\naudience = 'a'\nalgorithms = ['HS256']\nhs256_secret_file = '{tmp_path}/secret'"
    (tmp_path / "secret").write_text(mark + "k" * 64)
    assert errors_of(text) == [
        "f:5: shoppers.hs256_secret_file: the file must hold a secret, not a key or a certificate"
    ]


def test_patterns_that_match_no_route_are_warnings() -> None:
    config = read_text(
        LISTS + "[[routes]]\nprefix = '/pages/'\nupstream = 'web'\n"
        "[[limits]]\nname = 'b'\nby = 'route'\nquota = 1\nroutes = ['GET /v1/cart*', '/pages/*', 'POST /v1/chekout']\n"
        "[cors]\nroutes = ['/v2/*']\nallow_origins = ['*']"
    )
    routes = [("GET", "/v1/carts/{cart_id}"), ("POST", "/v1/checkout")]
    assert list(unmatched_route_patterns(config.policies, routes)) == [
        (("limits", 1, "routes", 2), "matches no route: 'POST /v1/chekout'"),
        (("cors", "routes", 0), "matches no route: '/v2/*'"),
    ]


def test_keys_missing_from_a_breaker_have_the_defaults_of_its_dependency() -> None:
    breakers = read_text(
        "[breaker.store]\nopen_s = 0.5\n[breaker.web]\nopen_s = 0.5\n[[upstreams]]\nname = 'web'\ntargets = ['http://127.0.0.1:1']\n"
    ).policies.breaker
    assert breakers["store"] == msgspec.structs.replace(BREAKERS["store"], open_s=0.5)
    assert breakers["web"] == Breaker(open_s=0.5)
