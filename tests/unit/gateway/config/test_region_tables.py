"""The tables `[[regions]]`: what is wrong with them, and the upstreams that they become."""

from __future__ import annotations

import pytest

from gateway.config.file import ConfigError, read_text
from gateway.config.policies import Policies
from gateway.config.show import format_toml
from gateway.settings import Settings

TABLE = '[[regions]]\nname = "us-east-1"\nurl = "https://us.shop.example:8443"\n'


def policies(more: str = "") -> Policies:
    return read_text(TABLE + more).policies


def errors_of(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read_text(text)
    return "\n".join(refused.value.errors)


def test_a_region_becomes_an_upstream_with_its_own_name() -> None:
    read = policies('timeout_s = 2\n[[upstreams]]\nname = "web"\ntargets = ["http://10.0.0.5"]\n')
    web, region = read.all_upstreams
    assert (web.name, region.name, region.targets) == ("web", "region-us-east-1", ("https://us.shop.example:8443",))
    forward = read.regions[0].forward
    assert (forward.upstream, forward.timeout_s, forward.preserve_host) == ("region-us-east-1", 2.0, False)


def test_a_region_has_a_breaker_that_can_be_configured() -> None:
    assert policies("[breaker.region-us-east-1]\nmin_calls = 7\n").breaker["region-us-east-1"].min_calls == 7
    assert "there is nothing of that name" in errors_of(f"{TABLE}[breaker.region-eu-west-2]\nmin_calls = 7\n")


def test_the_effective_configuration_shows_a_region_and_its_breaker() -> None:
    shown = format_toml(Settings(policies=policies()), {}, None)
    assert '[[regions]]\nname = "us-east-1"' in shown
    assert "[breaker.region-us-east-1]" in shown


@pytest.mark.parametrize("end", ["/shop", "?a=b", "/#top"])
def test_the_address_of_a_region_is_scheme_host_and_port(end: str) -> None:
    wrong = TABLE.replace(":8443", f":8443{end}")
    assert "regions[0].url: must be scheme, host and port alone" in errors_of(wrong)


def test_a_password_in_the_address_of_a_region_is_refused_and_not_shown() -> None:
    told = errors_of(TABLE.replace("us.shop", "ada:sesame@us.shop"))
    assert "regions[0].url" in told
    assert "sesame" not in told


def test_names_are_used_once() -> None:
    assert "regions[1].name: is the same as that of one above" in errors_of(TABLE + TABLE)
    upstream = '[[upstreams]]\nname = "region-us-east-1"\ntargets = ["http://10.0.0.5"]\n'
    assert "upstreams[0].name: is the name under which a Region" in errors_of(TABLE + upstream)


def test_there_is_time_for_the_fallback() -> None:
    assert "timeout_s" in errors_of(f"{TABLE}timeout_s = 10\n")
