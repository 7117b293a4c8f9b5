from pathlib import Path

import jwt

from benchmarks.hot_path.every_layer import CACHED, FORWARDED, LIMITED, SHOPPERS, SWITCHED_OFF, EveryLayer
from gateway.config.file import read_file
from gateway.config.policies import Policies


def prepared(folder: Path) -> tuple[EveryLayer, Policies]:
    layers = EveryLayer.prepare(folder, upstream_port=8081)
    return layers, read_file(layers.configuration).policies


def test_every_layer_is_on(tmp_path: Path) -> None:
    _, policies = prepared(tmp_path)

    assert policies.identity.trusted_proxies
    assert policies.identity.deny
    assert policies.shoppers.hs256_secret_file
    assert {limit.by for limit in policies.limits} == {"address", "global"}
    assert policies.shedding.enabled
    assert policies.cache.enabled
    assert policies.cors.allow_origins
    assert policies.headers.strict_transport_security
    assert policies.access_log.enabled
    assert policies.access_log.file == str(tmp_path / "access.log")


def test_upstreams_and_rejections_of_the_rows_are_configured(tmp_path: Path) -> None:
    _, policies = prepared(tmp_path)

    assert {(route.prefix, route.cache) for route in policies.routes} == {(FORWARDED, False), (CACHED, True)}
    assert policies.upstreams[0].targets == ("http://127.0.0.1:8081",)
    assert [limit.quota for limit in policies.limits if LIMITED in limit.routes] == [1]
    assert [switch.enabled for switch in policies.switches if SWITCHED_OFF in switch.routes] == [False]


def test_each_shopper_has_an_address_and_a_token_that_the_configuration_accepts(tmp_path: Path) -> None:
    layers, policies = prepared(tmp_path)

    fields = [dict(headers) for headers in layers.balancer_headers]
    assert len({each["X-Forwarded-For"] for each in fields}) == SHOPPERS
    token = fields[7]["Authorization"].removeprefix("Bearer ")
    assert policies.shoppers.hs256_secret_file is not None
    secret = Path(policies.shoppers.hs256_secret_file).read_text()
    claims = jwt.decode(token, secret, ["HS256"], audience=policies.shoppers.audience, issuer=policies.shoppers.issuer)
    assert claims["sub"] == "shopper-7"


def test_a_balancer_adds_its_fields_and_a_plain_client_sends_none_of_them(tmp_path: Path) -> None:
    layers, _ = prepared(tmp_path)

    added = {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Amzn-Trace-Id"}
    for balancer, plain in zip(layers.balancer_headers, layers.plain_headers, strict=True):
        assert {name for name, _ in balancer} == added | {name for name, _ in plain}
        assert dict(balancer) | dict(plain) == dict(balancer)
