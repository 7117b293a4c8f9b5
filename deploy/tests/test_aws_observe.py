"""Alarms: the composite ones page, each names a runbook that there is, and each of their parts exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cloudformation import load, of_type

OBSERVE = load("observe")
COMPOSITES = of_type(OBSERVE, "AWS::CloudWatch::CompositeAlarm")
ALARMS = of_type(OBSERVE, "AWS::CloudWatch::Alarm")


@pytest.mark.parametrize("name", [*ALARMS, *COMPOSITES])
def test_an_alarm_names_its_runbook(name: str, deploy: Path) -> None:
    [runbook] = re.findall(r"docs/runbooks/[a-z-]+\.md", OBSERVE["Resources"][name]["Properties"]["AlarmDescription"])

    assert (deploy.parent / runbook).is_file()


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_of_one_measurement_pages_nobody_by_itself(name: str) -> None:
    assert "AlarmActions" not in ALARMS[name]["Properties"]


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_alarm_pages_and_says_when_it_is_over(name: str) -> None:
    properties = COMPOSITES[name]["Properties"]

    assert properties["AlarmActions"] == properties["OKActions"] == [{"Ref": "Pages"}]


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_alarm_has_parts_that_there_are(name: str) -> None:
    parts = re.findall(r'ALARM\("\$\{(\w+)\}"\)', COMPOSITES[name]["Properties"]["AlarmRule"]["Fn::Sub"])

    assert parts
    assert set(parts) <= set(ALARMS)


def test_symptoms_page_before_causes() -> None:
    paging = re.findall(r"\$\{(\w+)\}", COMPOSITES["ShoppersSuffer"]["Properties"]["AlarmRule"]["Fn::Sub"])

    assert "EdgeBusy" not in paging
    assert {"CheckoutFailing", "CheckoutSlow"} <= set(paging)


def test_late_orders_do_not_page_again_while_shoppers_suffer() -> None:
    assert COMPOSITES["OrdersSuffer"]["Properties"]["ActionsSuppressor"] == {"Fn::GetAtt": ["ShoppersSuffer", "Arn"]}


def test_the_dashboard_is_json_whose_variables_are_set() -> None:
    text, variables = OBSERVE["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    unset = {
        name for name in re.findall(r"\$\{([\w.:]+)\}", text) if name not in variables and not name.startswith("AWS::")
    }

    assert len(json.loads(text)["widgets"]) == 10
    assert unset == {"Environment", "ShoppersSuffer.Arn", "OrdersSuffer.Arn", "StoreSuffers.Arn"}


def test_nothing_of_the_account_is_started_without_being_asked_for() -> None:
    assert {OBSERVE["Parameters"][name]["Default"] for name in ("GuardDuty", "CloudTrail")} == {"no"}


def test_the_budget_counts_what_has_the_tag_of_the_application() -> None:
    budget = OBSERVE["Resources"]["Budget"]["Properties"]["Budget"]

    assert budget["CostFilters"]["TagKeyValue"] == ["user:Application$peakgate"]
