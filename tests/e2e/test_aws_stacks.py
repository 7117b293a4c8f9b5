"""The stacks *data* and *events* of deploy/aws on moto's CloudFormation, and a shop on the resources that they made."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import pytest

from checkout.archive.dynamodb_archive import table_definition, ttl_definition
from checkout.workflow.orders import LATEST
from checkout.workflow.states_language import function_call, states_language
from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually

REGION: Final = "eu-west-2"
# moto says CREATE_COMPLETE for these and makes nothing, or makes something else. deploy/aws/README.md names them too.
NOT_OF_MOTO: Final = {
    "AWS::Backup::BackupPlan",
    "AWS::Backup::BackupSelection",
    "AWS::Backup::BackupVault",
    "AWS::ElastiCache::ParameterGroup",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::ElastiCache::SubnetGroup",
    "AWS::SecretsManager::Secret",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
}


def _cloudformation() -> Any:
    path = Path(__file__).parents[2] / "deploy" / "aws" / "cloudformation.py"
    spec = importlib.util.spec_from_file_location("cloudformation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


load = _cloudformation().load


def _for_moto(template: Mapping[str, Any]) -> str:
    """The template without the types that moto lacks; what refers to them refers to their names."""
    made, missing = {}, set()
    for name, each in template["Resources"].items():
        if each["Type"] in NOT_OF_MOTO:
            missing.add(name)
            continue
        # moto takes tags of keys in the form of the API of KMS, which is not that of CloudFormation.
        properties = {k: v for k, v in each["Properties"].items() if (each["Type"], k) != ("AWS::KMS::Key", "Tags")}
        made[name] = {**each, "Properties": properties}
    body = {**template, "Resources": made}
    return json.dumps(_without(body, missing))


def _without(value: Any, missing: set[str]) -> Any:
    match value:
        case {"Ref": name} if name in missing:
            return name
        case {"Fn::GetAtt": [name, *_attribute]} if name in missing:
            return name
        case dict():
            return {key: _without(inner, missing) for key, inner in value.items()}
        case list():
            return [_without(inner, missing) for inner in value]
        case _:
            return value


def _network() -> str:
    """A stack with the exports of the network alone: moto has no `Fn::Cidr`."""
    outputs = {
        name: {
            "Value": "subnet-1,subnet-2" if "Subnets" in name else f"{name}-1",
            "Export": {"Name": f"production-{name}"},
        }
        for name in load("network")["Outputs"]
    }
    return json.dumps({"Resources": {"Any": {"Type": "AWS::SNS::Topic", "Properties": {}}}, "Outputs": outputs})


class Account:
    """What the stacks made, by their outputs."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._stacks = self.client("cloudformation")
        self.outputs: dict[str, str] = {}

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def deploy(self, name: str, body: str, **parameters: str) -> None:
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        self._stacks.create_stack(StackName=name, TemplateBody=body, Parameters=given, Capabilities=["CAPABILITY_IAM"])
        [stack] = self._stacks.describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        self.outputs |= {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


def _empty_archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w"):
        pass
    return content.getvalue()


@pytest.fixture(scope="module")
def account(sqs_server: str) -> Account:
    account = Account(sqs_server)
    code = account.client("s3")
    code.create_bucket(Bucket="code", CreateBucketConfiguration={"LocationConstraint": REGION})
    code.put_object(Bucket="code", Key="worker.zip", Body=_empty_archive())
    account.deploy("network", _network())
    account.deploy("data", _for_moto(load("data")))
    # moto would run the function in Docker.
    account.deploy("events", _for_moto(load("events")), CodeBucket="code", CodeKey="worker.zip", WorksOnQueue="no")
    return account


def _options(account: Account) -> list[str]:
    """The settings that service.yaml gives to both roles, with the outputs of the stacks."""
    made = account.outputs
    return [
        *("--queue-url", account.endpoint + urlsplit(made["QueueUrl"]).path, "--sns-topic", made["TopicArn"]),
        *("--archive", "dynamodb", "--archive-table", made["ArchiveTable"], "--kms-key", made["PrivacyKeyArn"]),
        *("--aws-endpoint-url", account.endpoint, "--aws-region", REGION, "--workers", "1"),
    ]


def _archived(account: Account) -> list[str]:
    items = account.client("dynamodb").scan(TableName=account.outputs["ArchiveTable"])["Items"]
    return [each["status"]["S"] for each in items]


@pytest.mark.slow
def test_an_order_goes_from_cart_to_archive_on_the_resources_of_the_stacks(
    account: Account, aws_credentials: None, tmp_path: Path
) -> None:
    options = _options(account)
    edge, worker = RunningShop(tmp_path / "edge"), RunningShop(tmp_path / "worker")
    edge.start("--role", "edge", "--catalog", str(CATALOGUE), *options)
    try:
        placed = edge.check_out(edge.cart_of(_85123A=1))
        assert placed.status == 202
        store = ("--store-url", f"unix://{edge.data_dir}/valkey.sock", "--key-file", str(edge.data_dir / "keys.toml"))
        worker.start("--role", "worker", *store, *options)
        eventually(lambda: edge.order(placed.body["id"]), lambda order: order["status"] == "completed")
        eventually(lambda: _archived(account), lambda statuses: statuses == ["completed"])
    finally:
        for shop in (worker, edge):
            if shop.is_running:
                shop.stop()
    for shop in (worker, edge):
        assert "Traceback" not in shop.log, shop.log


def test_the_queue_has_its_dead_letters_and_the_time_of_the_function(account: Account) -> None:
    sqs = account.client("sqs")
    url = sqs.get_queue_url(QueueName=account.outputs["QueueName"])["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    function = account.client("lambda").get_function_configuration(FunctionName=account.outputs["FunctionName"])

    redrive = json.loads(attributes["RedrivePolicy"])
    assert redrive == {"deadLetterTargetArn": account.outputs["DeadLetterQueueArn"], "maxReceiveCount": 1000}
    assert int(attributes["VisibilityTimeout"]) >= 6 * function["Timeout"]


def test_the_function_reports_the_orders_of_a_batch_that_have_not_ended(account: Account) -> None:
    [mapping] = account.client("lambda").list_event_source_mappings()["EventSourceMappings"]

    assert mapping["EventSourceArn"] == account.outputs["QueueArn"]
    assert load("events")["Resources"]["FunctionOnQueue"]["Properties"]["FunctionResponseTypes"] == [
        "ReportBatchItemFailures"
    ]


def test_the_state_machine_has_the_steps_of_the_workflow(account: Account) -> None:
    machine = account.client("stepfunctions").describe_state_machine(stateMachineArn=account.outputs["MachineArn"])

    assert set(json.loads(machine["definition"])["States"]) == set(
        states_language(LATEST, function_call("any"))["States"]
    )


def test_the_definition_in_the_template_is_that_of_the_program() -> None:
    written = load("events")["Resources"]["Machine"]["Properties"]["DefinitionString"]

    assert json.loads(written) == states_language(LATEST, function_call("${Function}")), "run deploy/aws/state-machine"


@pytest.mark.parametrize("name", ["Archive", "GlobalArchive"])
def test_the_table_is_that_of_the_archive(name: str) -> None:
    table = load("data")["Resources"][name]["Properties"]
    expected = table_definition("any")

    assert table["KeySchema"] == expected["KeySchema"]
    assert table["GlobalSecondaryIndexes"] == expected["GlobalSecondaryIndexes"]
    assert {each["AttributeName"] for each in table["AttributeDefinitions"]} == {
        each["AttributeName"] for each in expected["AttributeDefinitions"]
    }
    assert table["TimeToLiveSpecification"] == ttl_definition("any")["TimeToLiveSpecification"]


def test_the_wrapper_of_the_function_reads_its_secrets(account: Account, aws_credentials: None, tmp_path: Path) -> None:
    secrets = account.client("secretsmanager")
    store = secrets.create_secret(Name="store", SecretString="rediss+cluster://:penny@store:6379")["ARN"]
    keys = secrets.create_secret(Name="keys", SecretString='index = "till"\n')["ARN"]
    payment = secrets.create_secret(Name="payment", SecretString="sk_test_1")["ARN"]
    wrapper = Path(__file__).parents[2] / "deploy" / "aws" / "lambda" / "read-secrets"
    variables = {
        "AWS_ENDPOINT_URL": account.endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "STORE_URL_SECRET": store,
        "KEY_FILE_SECRET": keys,
        "PEAKGATE_KEY_FILE": str(tmp_path / "keys.toml"),
        "PAYMENT_KEY_FILE_SECRET": payment,
        "PEAKGATE_PAYMENT_KEY_FILE": str(tmp_path / "payment-key"),
    }

    started = subprocess.run(
        [sys.executable, str(wrapper), "/usr/bin/env"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.returncode == 0, started.stderr
    assert "PEAKGATE_STORE_URL=rediss+cluster://:penny@store:6379" in started.stdout.splitlines()
    assert (tmp_path / "keys.toml").read_text() == 'index = "till"\n'
    assert (tmp_path / "keys.toml").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "payment-key").read_text() == "sk_test_1"
