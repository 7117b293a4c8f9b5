"""What holds for every template of deploy/aws: tags, exports that are there when they are imported, roles that ask for little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cloudformation import COST_TAGS, UNTAGGABLE, Template, as_list, load, names, of_type, values_of

# In this order the README deploys them.
ORDER = ["network", "data", "service", "events", "front", "observe"]
TAG_PROPERTIES = {"Tags", "HealthCheckTags", "BackupPlanTags", "BackupVaultTags"}
# Actions that AWS grants on all resources or not at all.
ON_EVERYTHING = {
    "ecr:GetAuthorizationToken",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
}


def _tag_keys(properties: dict[str, Any]) -> set[str]:
    """The keys of a resource's tags; of its replicas, if they have them instead."""
    tags = next((value for key, value in properties.items() if key in TAG_PROPERTIES), None)
    if tags is None and "Replicas" in properties:
        return set.intersection(*(_tag_keys(each) for each in properties["Replicas"]))
    return set(tags) if isinstance(tags, dict) else {tag["Key"] for tag in tags or []}


@pytest.mark.parametrize("name", names())
def test_every_resource_that_takes_tags_has_the_cost_allocation_tags(name: str) -> None:
    missing = {
        resource: sorted(COST_TAGS - _tag_keys(each.get("Properties", {})))
        for resource, each in load(name)["Resources"].items()
        if each["Type"] not in UNTAGGABLE and not _tag_keys(each.get("Properties", {})) >= COST_TAGS
    }

    assert missing == {}


@pytest.mark.parametrize("name", names())
def test_every_parameter_has_a_description(name: str) -> None:
    assert [key for key, each in load(name)["Parameters"].items() if not each.get("Description")] == []


def _exported(template: Template) -> set[str]:
    return {each["Export"]["Name"]["Fn::Sub"] for each in template.get("Outputs", {}).values() if "Export" in each}


def test_an_import_is_an_export_of_a_template_that_was_deployed_before() -> None:
    unknown = []
    exported: set[str] = set()
    for name in [name for name in ORDER if name in names()]:
        template = load(name)
        imports = [each["Fn::Sub"] for each in values_of(template, "Fn::ImportValue")]
        unknown += [f"{name}: {each}" for each in imports if each not in exported]
        exported |= _exported(template)

    assert unknown == []


def _statements(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    for role, each in of_type(template, "AWS::IAM::Role").items():
        for policy in each["Properties"].get("Policies", []):
            for statement in as_list(policy["PolicyDocument"]["Statement"]):
                yield from ((role, inner) for inner in as_list(statement.get("Fn::If", [None, statement])[1]))


@pytest.mark.parametrize("name", names())
def test_no_role_has_an_action_with_a_wildcard(name: str) -> None:
    wide = [
        (role, action) for role, each in _statements(load(name)) for action in as_list(each["Action"]) if "*" in action
    ]

    assert wide == []


@pytest.mark.parametrize("name", names())
def test_a_role_has_all_resources_only_for_actions_that_know_no_other(name: str) -> None:
    wide = [
        (role, each["Action"])
        for role, each in _statements(load(name))
        if "*" in as_list(each["Resource"]) and not set(as_list(each["Action"])) <= ON_EVERYTHING
    ]

    assert wide == []


@pytest.mark.parametrize("name", names())
def test_a_service_takes_a_role_only_for_this_account(name: str) -> None:
    open_to_others = [
        role
        for role, each in of_type(load(name), "AWS::IAM::Role").items()
        for statement in as_list(each["Properties"]["AssumeRolePolicyDocument"]["Statement"])
        if "aws:SourceAccount" not in str(statement.get("Condition"))
        and "aws:SourceArn" not in str(statement.get("Condition"))
    ]

    assert open_to_others == []
