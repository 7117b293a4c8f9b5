"""The Lambda worker does with an order what a worker task of the service stack does."""

from __future__ import annotations

import pytest
from cloudformation import load

EVENTS, SERVICE = load("events"), load("service")
VARIABLES = EVENTS["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
WORKER = {
    each["Name"]: each["Value"]
    for container in SERVICE["Resources"]["WorkerTask"]["Properties"]["ContainerDefinitions"]
    for each in container.get("Environment", [])
    if "Name" in each
}
# What the work on an order depends on, beside the resources that both import.
SHARED = sorted(
    name
    for name in WORKER
    if name.startswith(("PEAKGATE_PAYMENT", "PEAKGATE_SHIPPING"))
    or name in {"PEAKGATE_HOME_REGION", "PEAKGATE_DURABILITY"}
)
SECRETS = ["PaymentKey", "PaymentWebhook", "ShippingKey", "ShippingWebhook"]


def test_the_worker_task_has_settings_of_payment_shipping_and_region() -> None:
    assert len(SHARED) == 10


@pytest.mark.parametrize("name", SHARED)
def test_the_function_has_the_settings_of_a_worker_task(name: str) -> None:
    of_task, of_function = WORKER[name], VARIABLES[name]

    if name.endswith("_FILE"):
        assert of_function["Fn::If"][0] == of_task["Fn::If"][0]
        assert f"{name.removeprefix('PEAKGATE_')}_SECRET" in VARIABLES
    else:
        assert of_function == of_task
        assert EVENTS["Parameters"][of_function["Ref"]] == SERVICE["Parameters"][of_task["Ref"]]


def test_the_function_takes_the_policies_from_its_archive() -> None:
    assert VARIABLES["PEAKGATE_CONFIG"] == {"Fn::If": ["HasConfigFile", {"Ref": "ConfigFile"}, {"Ref": "AWS::NoValue"}]}


@pytest.mark.parametrize("secret", SECRETS)
def test_the_function_may_read_the_secrets_that_its_wrapper_writes(secret: str) -> None:
    (policy,) = EVENTS["Resources"]["FunctionRole"]["Properties"]["Policies"]
    (read,) = (each for each in policy["PolicyDocument"]["Statement"] if each["Sid"] == "Secrets")

    assert {"Fn::If": [f"Has{secret}", {"Ref": f"{secret}Secret"}, {"Ref": "AWS::NoValue"}]} in read["Resource"]
