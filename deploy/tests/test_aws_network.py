"""The network: three zones, no way out of the data subnets, and security groups that allow one hop each."""

from __future__ import annotations

from typing import Any

import pytest
from cloudformation import as_list, load, of_type

NETWORK = load("network")
HOPS = {
    ("Balancer", "Edge", 8080),
    ("Operator", "Edge", 9090),
    ("Operator", "Worker", 9090),
    ("Edge", "Store", 6379),
    ("Worker", "Store", 6379),
    ("Function", "Store", 6379),
    ("Edge", "Endpoint", 443),
    ("Worker", "Endpoint", 443),
    ("Function", "Endpoint", 443),
}
SERVICES = {"dynamodb", "s3", "sqs", "sns", "ecr.api", "ecr.dkr", "kms", "secretsmanager", "logs", "xray"}


def _group(reference: dict[str, Any]) -> str:
    return str(reference["Ref"]).removesuffix("SecurityGroup")


def _inner_ingress() -> set[tuple[str, str, int]]:
    rules = [each["Properties"] for each in of_type(NETWORK, "AWS::EC2::SecurityGroupIngress").values()]
    return {
        (_group(rule["SourceSecurityGroupId"]), _group(rule["GroupId"]), rule["ToPort"])
        for rule in rules
        if "SourceSecurityGroupId" in rule
    }


def _outer_ingress() -> list[dict[str, Any]]:
    rules = [each["Properties"] for each in of_type(NETWORK, "AWS::EC2::SecurityGroupIngress").values()]
    return [rule for rule in rules if "SourceSecurityGroupId" not in rule]


def test_a_security_group_is_reached_by_its_neighbours_alone() -> None:
    assert _inner_ingress() == HOPS


def test_only_the_balancer_is_reached_from_outside_the_network() -> None:
    assert {_group(rule["GroupId"]) for rule in _outer_ingress()} == {"Balancer", "HealthCheck"}


def test_nothing_is_reached_from_outside_unless_a_parameter_says_from_where() -> None:
    outer = [
        each
        for each in of_type(NETWORK, "AWS::EC2::SecurityGroupIngress").values()
        if "SourceSecurityGroupId" not in each["Properties"]
    ]

    assert all("Condition" in each for each in outer)
    assert {NETWORK["Parameters"][name]["Default"] for name in ("BalancerPrefixList", "BalancerCidr")} == {""}


def test_every_rule_has_one_port() -> None:
    rules = [
        each["Properties"]
        for kind in ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress")
        for each in of_type(NETWORK, kind).values()
    ]

    assert [rule for rule in rules if rule["FromPort"] != rule["ToPort"]] == []


@pytest.mark.parametrize("group", ["Balancer", "HealthCheck", "Store", "Endpoint", "Operator"])
def test_a_group_that_calls_only_neighbours_has_no_way_to_anywhere_else(group: str) -> None:
    rules = NETWORK["Resources"][f"{group}SecurityGroup"]["Properties"]["SecurityGroupEgress"]

    assert [rule["CidrIp"] for rule in rules] == ["127.0.0.1/32"]


def test_each_kind_of_subnet_is_in_three_zones() -> None:
    zones: dict[str, set[int]] = {}
    for name, each in of_type(NETWORK, "AWS::EC2::Subnet").items():
        zones.setdefault(name[:-1], set()).add(each["Properties"]["AvailabilityZone"]["Fn::Select"][0])

    assert zones == {"PublicSubnet": {0, 1, 2}, "PrivateSubnet": {0, 1, 2}, "DataSubnet": {0, 1, 2}}


def test_no_two_subnets_have_the_same_addresses() -> None:
    blocks = [
        each["Properties"]["CidrBlock"]["Fn::Select"][0] for each in of_type(NETWORK, "AWS::EC2::Subnet").values()
    ]

    assert len(set(blocks)) == len(blocks) == 9


def test_the_data_subnets_have_no_route() -> None:
    tables = {each["Properties"]["RouteTableId"]["Ref"] for each in of_type(NETWORK, "AWS::EC2::Route").values()}
    endpoints = of_type(NETWORK, "AWS::EC2::VPCEndpoint").values()
    tables |= {table["Ref"] for each in endpoints for table in each["Properties"].get("RouteTableIds", [])}

    assert "DataRoutes" not in tables


def test_each_service_that_is_called_has_an_endpoint_for_this_account() -> None:
    endpoints = {
        each["Properties"]["ServiceName"]["Fn::Sub"].split("}.", 1)[1]: each["Properties"]["PolicyDocument"]
        for each in of_type(NETWORK, "AWS::EC2::VPCEndpoint").values()
    }

    assert set(endpoints) == SERVICES
    # The layers of images are in a bucket of AWS itself.
    own = {name: document for name, document in endpoints.items() if name != "s3"}
    assert all(
        "aws:PrincipalAccount" in str(as_list(document["Statement"])[0]["Condition"]) for document in own.values()
    )
