"""The front: CloudFront caches what Peakgate says and no more, WAF bounds floods, and Route 53 knows which Region is ready."""

from __future__ import annotations

from typing import Any

import pytest
from cloudformation import load, of_type

FRONT = load("front")
RESOURCES = FRONT["Resources"]
DISTRIBUTION = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
BEHAVIORS = {each["PathPattern"]: each for each in DISTRIBUTION["CacheBehaviors"]}
# Ids that AWS has given to its own policies.
DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER = "216adef6-5c7f-47e4-b989-5492eafa07d3"


def _key(policy: str) -> dict[str, Any]:
    parameters: dict[str, Any] = RESOURCES[policy]["Properties"]["CachePolicyConfig"][
        "ParametersInCacheKeyAndForwardedToOrigin"
    ]
    return parameters


@pytest.mark.parametrize("policy", ["CatalogCache", "PageCache"])
def test_a_response_is_cached_only_as_long_as_peakgate_says(policy: str) -> None:
    config = RESOURCES[policy]["Properties"]["CachePolicyConfig"]

    assert (config["MinTTL"], config["DefaultTTL"]) == (0, 0)


def test_a_page_is_cached_for_the_same_cookies_and_credentials_alone() -> None:
    key = _key("PageCache")

    assert key["CookiesConfig"]["CookieBehavior"] == "all"
    assert {"Authorization", "X-Api-Key"} <= set(key["HeadersConfig"]["Headers"])


def test_products_are_cached_whoever_asks() -> None:
    assert BEHAVIORS["/v1/products*"]["CachePolicyId"] == {"Ref": "CatalogCache"}
    assert _key("CatalogCache")["CookiesConfig"]["CookieBehavior"] == "none"


def test_carts_and_orders_are_not_cached() -> None:
    assert BEHAVIORS["/v1/*"]["CachePolicyId"] == DISABLED


def test_a_more_special_path_comes_first() -> None:
    order = list(BEHAVIORS)

    assert order.index("/v1/products*") < order.index("/v1/*")


def test_everything_but_static_files_reaches_peakgate_with_the_fields_of_the_viewer() -> None:
    gateway = [*BEHAVIORS.values(), DISTRIBUTION["DefaultCacheBehavior"]]
    gateway = [each for each in gateway if each["TargetOriginId"] == "gateway"]

    assert {each["OriginRequestPolicyId"] for each in gateway} == {ALL_VIEWER}


def test_a_page_of_the_waiting_room_is_not_cached_as_an_error() -> None:
    kept = {each["ErrorCode"]: each["ErrorCachingMinTTL"] for each in DISTRIBUTION["CustomErrorResponses"]}

    assert kept[503] == 0
    assert set(kept.values()) == {0}


def test_cloudfront_gives_a_connection_up_before_the_balancer_does() -> None:
    gateway = next(each for each in DISTRIBUTION["Origins"] if each["Id"] == "gateway")
    idle_s = int(load("service")["Mappings"]["Idle"]["Seconds"]["Balancer"])

    assert gateway["CustomOriginConfig"]["OriginKeepaliveTimeout"] < idle_s


def test_both_origins_have_a_shield() -> None:
    assert all(each["OriginShield"]["Enabled"] for each in DISTRIBUTION["Origins"])


def test_cloudfront_sends_the_key_that_the_balancer_requires() -> None:
    gateway = next(each for each in DISTRIBUTION["Origins"] if each["Id"] == "gateway")
    [header] = gateway["OriginCustomHeaders"]
    name = load("service")["Resources"]["OriginKey"]["Properties"]["Name"]["Fn::Sub"]

    assert header["HeaderName"] == "X-Origin-Key"
    assert name in header["HeaderValue"]["Fn::Sub"]


def test_static_files_are_read_by_this_distribution_alone() -> None:
    statements = RESOURCES["StaticPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    allowed = [each for each in statements if each["Effect"] == "Allow"]

    assert [each["Principal"] for each in allowed] == [{"Service": "cloudfront.amazonaws.com"}]
    assert "${Distribution}" in str(allowed[0]["Condition"]["StringEquals"]["aws:SourceArn"])


def _rules() -> list[Any]:
    return list(RESOURCES["WebAcl"]["Properties"]["Rules"])


def test_bot_control_is_off_unless_it_is_asked_for() -> None:
    conditional = [each["Fn::If"] for each in _rules() if "Fn::If" in each]

    assert [(each[0], each[1]["Name"]) for each in conditional] == [("BotsControlled", "bots")]
    assert FRONT["Parameters"]["BotControl"]["Default"] == FRONT["Parameters"]["ShieldAdvanced"]["Default"] == "no"


def test_a_flood_is_blocked_before_costly_rules_look_at_it() -> None:
    names = [each["Name"] for each in _rules() if "Name" in each]

    assert names == ["denied", "allowed", "rate", "reputation", "inputs", "common"]


def test_logs_of_waf_have_no_credentials() -> None:
    fields = RESOURCES["WebAclLogging"]["Properties"]["RedactedFields"]

    assert {each["SingleHeader"]["Name"] for each in fields} == {"cookie", "authorization", "x-api-key"}


def test_the_second_region_takes_over_while_the_first_is_not_ready() -> None:
    records = of_type(FRONT, "AWS::Route53::RecordSet")
    failover = {
        each["Properties"]["Failover"]: each["Properties"]["HealthCheckId"]["Ref"]
        for each in records.values()
        if "Failover" in each["Properties"]
    }
    checks = {
        name: each["Properties"]["HealthCheckConfig"]
        for name, each in RESOURCES.items()
        if "HealthCheck" in each["Type"]
    }

    assert failover == {"PRIMARY": "FirstHealth", "SECONDARY": "SecondHealth"}
    assert {each["ResourcePath"] for each in checks.values()} == {"/readyz"}


def test_the_stack_refuses_another_region_than_that_of_cloudfront() -> None:
    [rule] = FRONT["Rules"]["InUsEast1"]["Assertions"]

    assert rule["Assert"] == {"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]}
