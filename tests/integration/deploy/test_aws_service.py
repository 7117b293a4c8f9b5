"""The tasks of deploy/aws/service.yaml, as far as they run without AWS: their files, their settings, their health check."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.server.server import KEEPALIVE_S

DEPLOY = Path(__file__).parents[3] / "deploy"
PEAKGATE = (sys.executable, "-m", "gateway")
# What other stacks export, in the form of AWS.
EXPORTS = {
    "QueueUrl": "https://sqs.eu-west-2.amazonaws.com/123456789012/orders",
    "TopicArn": "arn:aws:sns:eu-west-2:123456789012:orders",
    "ArchiveTable": "production-orders",
    "PrivacyKeyArn": "arn:aws:kms:eu-west-2:123456789012:key/0e4c8b3e-6a4e-4d0b-9b53-27f9ce5d3f4a",
    "VpcCidr": "10.64.0.0/16",
}


def _template() -> Any:
    # A program beside the templates, which no package has.
    spec = importlib.util.spec_from_file_location("cloudformation", DEPLOY / "aws" / "cloudformation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load("service")


SERVICE = _template()


def _resolved(value: Any) -> str:
    """The value that CloudFormation makes of it with the defaults of the parameters."""
    match value:
        case {"Ref": "AWS::Region"}:
            return "eu-west-2"
        case {"Ref": name}:
            return str(SERVICE["Parameters"][name]["Default"])
        case {"Fn::FindInMap": [mapping, top, second]}:
            return str(SERVICE["Mappings"][mapping][top][second])
        case {"Fn::ImportValue": {"Fn::Sub": name}}:
            return EXPORTS[name.removeprefix("${Environment}-")]
        case {"Fn::If": [_condition, _yes, no]}:
            return _resolved(no)
        case _:
            return str(value)


def _container(task: str, name: str) -> Mapping[str, Any]:
    containers = SERVICE["Resources"][task]["Properties"]["ContainerDefinitions"]
    found: Mapping[str, Any] = next(each for each in containers if each.get("Name") == name)
    return found


def _configuration(task: str, policies: str) -> str:
    text, _variables = _container(task, "files")["Environment"][0]["Value"]["Fn::Sub"]
    return str(text).replace("${VpcCidr}", EXPORTS["VpcCidr"]).replace("${Policies}", policies)


def _write_files(task: str, data: Path, *, policies: str = "", **secrets: str) -> None:
    files = _container(task, "files")
    script = files["Command"][0].replace("/data", str(data))
    variables = {
        "CONFIGURATION": _configuration(task, policies),
        "KEY_FILE": "# keys",
        "ADMIN_TOKEN": "t" * 32,
        **secrets,
    }
    subprocess.run([*files["EntryPoint"], script], env=variables, check=True)


def _settings(task: str, data: Path) -> dict[str, str]:
    pairs = [each for each in _container(task, "peakgate")["Environment"] if "Name" in each]
    return {each["Name"]: _resolved(each["Value"]).replace("/data", str(data)) for each in pairs}


@pytest.mark.parametrize("task", ["EdgeTask", "WorkerTask"])
def test_the_files_of_a_task_belong_to_its_user_alone(task: str, tmp_path: Path) -> None:
    _write_files(task, tmp_path, PAYMENT_KEY="sk_test_1\n")

    written = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(written) == {"peakgate.toml", "keys.toml", "secrets/admin-token", "secrets/payment-key"}
    assert {path.stat().st_mode & 0o777 for path in written.values()} == {0o600}


def test_a_secret_is_written_as_it_is(tmp_path: Path) -> None:
    _write_files("EdgeTask", tmp_path, PAYMENT_WEBHOOK="whsec_%s\\n\nwhsec_2")

    assert (tmp_path / "secrets" / "payment-webhook").read_text() == "whsec_%s\\n\nwhsec_2"


def test_the_configuration_has_the_policies_of_the_parameter(tmp_path: Path) -> None:
    limit = '[[limits]]\nname = "per-client"\nby = "address"\nquota = 20\n'
    _write_files("EdgeTask", tmp_path, policies=limit)

    checked = subprocess.run(
        [*PEAKGATE, "config", "check", str(tmp_path / "peakgate.toml")], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(("task", "role"), [("EdgeTask", "edge"), ("WorkerTask", "worker")])
def test_the_settings_of_a_task_are_valid(task: str, role: str, tmp_path: Path) -> None:
    _write_files(task, tmp_path)
    settings = _settings(task, tmp_path)
    store = "rediss+cluster://till:penny@clustercfg.orders.abc123.euw2.cache.amazonaws.com:6379"

    shown = subprocess.run(
        [*PEAKGATE, "config", "show"],
        env={"PATH": os.environ["PATH"], "PEAKGATE_STORE_URL": store, **settings},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (shown.returncode, shown.stderr) == (0, "")
    assert f'role = "{role}"' in shown.stdout
    assert "drain_timeout = 25" in shown.stdout


def test_the_idle_time_of_the_balancer_is_below_that_of_the_gateway() -> None:
    assert int(SERVICE["Mappings"]["Idle"]["Seconds"]["Balancer"]) < KEEPALIVE_S


def test_the_proxies_are_trusted_whose_addresses_the_network_has(tmp_path: Path) -> None:
    _write_files("EdgeTask", tmp_path)

    assert f'trusted_proxies = ["{EXPORTS["VpcCidr"]}"]' in (tmp_path / "peakgate.toml").read_text()
