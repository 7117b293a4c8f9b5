"""The service: times that fit each other, two target groups on the same tasks, tasks that may write to one volume alone."""

from __future__ import annotations

from typing import Any

import pytest
from cloudformation import load, of_type, values_of

SERVICE = load("service")
RESOURCES = SERVICE["Resources"]
TASKS = ["EdgeTask", "WorkerTask"]
# `KEEPALIVE_S` of gateway/server/server.py; tests/integration/deploy holds the two together.
KEEPALIVE_S = 75
CART_CHANGES = {"POST", "PUT", "PATCH", "DELETE"}


def _drain(name: str) -> int:
    return int(SERVICE["Mappings"]["Drain"]["Seconds"][name])


def _container(task: str, name: str) -> dict[str, Any]:
    containers = RESOURCES[task]["Properties"]["ContainerDefinitions"]
    found: dict[str, Any] = next(each for each in containers if each.get("Name") == name)
    return found


def _attributes(resource: str, key: str) -> dict[str, Any]:
    return {each["Key"]: each["Value"] for each in RESOURCES[resource]["Properties"][key]}


def _balancer() -> dict[str, Any]:
    return _attributes("Balancer", "LoadBalancerAttributes")


# --- draining and idle connections -----------------------------------------------------------------------------------


def test_a_task_is_killed_after_its_grace_its_drain_and_five_seconds_at_the_earliest() -> None:
    assert _drain("Stop") >= _drain("Grace") + _drain("Timeout") + 5


def test_fargate_takes_the_time_until_the_kill() -> None:
    assert _drain("Stop") <= 120


def test_a_target_is_deregistered_for_as_long_as_a_request_may_be_drained() -> None:
    assert _drain("Deregistration") >= _drain("Timeout")


@pytest.mark.parametrize("task", TASKS)
def test_a_task_drains_by_the_times_of_the_mapping(task: str) -> None:
    gateway = _container(task, "peakgate")
    variables = {each["Name"]: each["Value"] for each in gateway["Environment"] if "Name" in each}

    assert gateway["StopTimeout"] == {"Fn::FindInMap": ["Drain", "Seconds", "Stop"]}
    assert variables["PEAKGATE_DRAIN_GRACE"] == {"Fn::FindInMap": ["Drain", "Seconds", "Grace"]}
    assert variables["PEAKGATE_DRAIN_TIMEOUT"] == {"Fn::FindInMap": ["Drain", "Seconds", "Timeout"]}


@pytest.mark.parametrize("group", ["CriticalTargets", "RestTargets"])
def test_a_target_group_waits_by_the_time_of_the_mapping(group: str) -> None:
    delay = _attributes(group, "TargetGroupAttributes")["deregistration_delay.timeout_seconds"]

    assert delay == {"Fn::FindInMap": ["Drain", "Seconds", "Deregistration"]}


def test_the_balancer_gives_an_idle_connection_up_before_peakgate_does() -> None:
    assert _balancer()["idle_timeout.timeout_seconds"] == {"Fn::FindInMap": ["Idle", "Seconds", "Balancer"]}
    assert int(SERVICE["Mappings"]["Idle"]["Seconds"]["Balancer"]) < KEEPALIVE_S


# --- the balancer ------------------------------------------------------------------------------------------------------


def test_http_is_redirected_and_nothing_else() -> None:
    actions = RESOURCES["HttpListener"]["Properties"]["DefaultActions"]

    assert [(each["Type"], each["RedirectConfig"]["Protocol"]) for each in actions] == [("redirect", "HTTPS")]


def test_the_balancer_speaks_tls_1_3() -> None:
    assert RESOURCES["HttpsListener"]["Properties"]["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2-Res")


def test_a_request_that_no_rule_takes_is_refused() -> None:
    action = RESOURCES["HttpsListener"]["Properties"]["DefaultActions"][0]

    assert (action["Type"], action["FixedResponseConfig"]["StatusCode"]) == ("fixed-response", "403")


def test_every_rule_but_that_of_health_checks_requires_the_key_of_cloudfront() -> None:
    rules = of_type(SERVICE, "AWS::ElasticLoadBalancingV2::ListenerRule")
    keyless = [name for name, each in rules.items() if "X-Origin-Key" not in str(each["Properties"]["Conditions"])]

    assert keyless == ["HealthRule"]


def test_a_rule_has_five_values_of_conditions_at_most() -> None:
    for each in of_type(SERVICE, "AWS::ElasticLoadBalancingV2::ListenerRule").values():
        conditions = [
            condition["Fn::If"][1] if "Fn::If" in condition else condition
            for condition in each["Properties"]["Conditions"]
        ]
        assert sum(len(values) for values in values_of(conditions, "Values")) <= 5


def _goes_to_critical(method: str, path: str) -> bool:
    for each in of_type(SERVICE, "AWS::ElasticLoadBalancingV2::ListenerRule").values():
        if each["Properties"]["Actions"][0]["TargetGroupArn"] != {"Ref": "CriticalTargets"}:
            continue
        conditions = {one["Field"]: one for one in each["Properties"]["Conditions"] if "Field" in one}
        patterns = conditions["path-pattern"]["PathPatternConfig"]["Values"]
        methods = conditions.get("http-request-method", {}).get("HttpRequestMethodConfig", {}).get("Values", [method])
        if method in methods and any(_matches(path, pattern) for pattern in patterns):
            return True
    return False


def _matches(path: str, pattern: str) -> bool:
    start, _, end = pattern.partition("*")
    return path.startswith(start) and path.endswith(end) if "*" in pattern else path == pattern


@pytest.mark.parametrize("method", sorted(CART_CHANGES))
def test_changes_of_carts_are_critical(method: str) -> None:
    assert _goes_to_critical(method, "/v1/carts/7f3a/lines/85123A")


@pytest.mark.parametrize("path", ["/v1/checkout", "/v1/orders/7kq3/cancel"])
def test_orders_and_their_cancellations_are_critical(path: str) -> None:
    assert _goes_to_critical("POST", path)


@pytest.mark.parametrize("path", ["/v1/carts/7f3a", "/v1/products", "/", "/v1/orders/7kq3"])
def test_reads_are_not_critical(path: str) -> None:
    assert not _goes_to_critical("GET", path)


def test_both_target_groups_are_the_same_tasks() -> None:
    balancers = RESOURCES["EdgeService"]["Properties"]["LoadBalancers"]

    assert {each["TargetGroupArn"]["Ref"] for each in balancers} == {"CriticalTargets", "RestTargets"}
    assert {(each["ContainerName"], each["ContainerPort"]) for each in balancers} == {("peakgate", 8080)}


@pytest.mark.parametrize("group", ["CriticalTargets", "RestTargets"])
def test_a_target_is_checked_at_readyz(group: str) -> None:
    assert RESOURCES[group]["Properties"]["HealthCheckPath"] == "/readyz"


def test_the_addresses_of_shoppers_reach_peakgate_as_cloudfront_writes_them() -> None:
    assert _balancer()["routing.http.xff_header_processing.mode"] == {
        "Fn::If": ["CloudFrontInFront", "preserve", "append"]
    }


# --- tasks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_task_runs_on_arm64(task: str) -> None:
    assert RESOURCES[task]["Properties"]["RuntimePlatform"]["CpuArchitecture"] == "ARM64"


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_a_process_for_each_vcpu(task: str) -> None:
    variables = {each["Name"]: each["Value"] for each in _container(task, "peakgate")["Environment"] if "Name" in each}

    assert int(variables["PEAKGATE_WORKERS"]) * 1024 == int(RESOURCES[task]["Properties"]["Cpu"])


@pytest.mark.parametrize("task", TASKS)
def test_no_container_writes_to_its_root(task: str) -> None:
    containers = RESOURCES[task]["Properties"]["ContainerDefinitions"]
    flat = [each["Fn::If"][1] if "Fn::If" in each else each for each in containers]

    assert [each["Name"] for each in flat] == ["files", "peakgate", "collector"]
    assert all(each["ReadonlyRootFilesystem"] is True for each in flat)


@pytest.mark.parametrize("task", TASKS)
def test_peakgate_starts_once_its_files_are_written(task: str) -> None:
    assert _container(task, "peakgate")["DependsOn"] == [{"ContainerName": "files", "Condition": "SUCCESS"}]
    assert _container(task, "files")["Essential"] is False


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_replaced_for_its_own_health_and_not_for_that_of_the_store(task: str) -> None:
    assert "/healthz" in _container(task, "peakgate")["HealthCheck"]["Command"][-1]


def test_the_image_is_named_by_its_digest() -> None:
    assert "@sha256:" in SERVICE["Parameters"]["Image"]["AllowedPattern"]


def test_no_secret_is_a_plain_variable() -> None:
    plain = {name for task in TASKS for each in values_of(RESOURCES[task], "Environment") for name in _names(each)}

    assert not plain & {"PEAKGATE_STORE_URL", "KEY_FILE", "ADMIN_TOKEN", "PAYMENT_KEY", "SHIPPING_KEY"}


def _names(variables: list[dict[str, Any]]) -> set[str]:
    return {each["Name"] for each in variables if "Name" in each}


def test_the_edge_cannot_receive_orders_and_nobody_reads_secrets_but_the_agent() -> None:
    actions = {role: str(RESOURCES[role]["Properties"]["Policies"]) for role in ("EdgeRole", "WorkerRole")}

    assert "sqs:ReceiveMessage" not in actions["EdgeRole"]
    assert "sns:Publish" not in actions["EdgeRole"]
    assert not any("secretsmanager:" in each for each in actions.values())


# --- services and scaling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["EdgeService", "WorkerService"])
def test_a_deployment_that_fails_rolls_back(service: str) -> None:
    deployment = RESOURCES[service]["Properties"]["DeploymentConfiguration"]

    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100


def test_a_deployment_of_the_edge_rolls_back_on_an_alarm() -> None:
    alarms = RESOURCES["EdgeService"]["Properties"]["DeploymentConfiguration"]["Alarms"]

    assert alarms == {"Enable": True, "Rollback": True, "AlarmNames": [{"Ref": "DeploymentAlarm"}]}


def test_only_workers_run_on_spot_and_one_of_them_does_not() -> None:
    edge = RESOURCES["EdgeService"]["Properties"]["CapacityProviderStrategy"]
    worker = {
        each["CapacityProvider"]: each for each in RESOURCES["WorkerService"]["Properties"]["CapacityProviderStrategy"]
    }

    assert [each["CapacityProvider"] for each in edge] == ["FARGATE"]
    assert set(worker) == {"FARGATE", "FARGATE_SPOT"}
    assert worker["FARGATE"]["Base"] == 1


@pytest.mark.parametrize("service", ["EdgeService", "WorkerService"])
def test_an_update_of_the_stack_leaves_the_number_of_tasks(service: str) -> None:
    assert "DesiredCount" not in RESOURCES[service]["Properties"]


def test_the_edge_follows_the_requests_of_both_groups() -> None:
    metric = RESOURCES["EdgeByRequests"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    groups = {str(each["Value"]) for each in _dimensions(metric) if each["Name"] == "TargetGroup"}

    assert groups == {str({"Fn::GetAtt": [f"{name}Targets", "TargetGroupFullName"]}) for name in ("Critical", "Rest")}


def _dimensions(metric: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for dimensions in values_of(metric, "Dimensions") for each in dimensions]


def test_workers_follow_the_backlog_of_each_of_them_and_stay_while_they_are_busy() -> None:
    progress = RESOURCES["WorkerByOrdersInProgress"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    metrics = RESOURCES["WorkerByBacklog"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    names = {each["MetricName"] for each in values_of(metrics, "Metric")}

    assert names == {"ApproximateNumberOfMessagesVisible", "RunningTaskCount"}
    assert "ApproximateNumberOfMessagesNotVisible" in {each["MetricName"] for each in values_of(progress, "Metric")}


@pytest.mark.parametrize("target", ["EdgeScaling", "WorkerScaling"])
def test_an_event_raises_the_least_number_of_tasks_and_lowers_it_again(target: str) -> None:
    actions = RESOURCES[target]["Properties"]["ScheduledActions"]["Fn::If"][1]
    name = target.removesuffix("Scaling")

    assert [each["Schedule"]["Fn::Sub"] for each in actions] == ["at(${EventFrom})", "at(${EventUntil})"]
    assert [each["ScalableTargetAction"]["MinCapacity"]["Ref"] for each in actions] == [
        f"Event{name}Tasks",
        f"{name}Tasks",
    ]


def test_a_forecast_is_looked_at_before_it_scales() -> None:
    assert SERVICE["Parameters"]["PredictiveScaling"]["Default"] == "ForecastOnly"


def test_every_log_group_forgets() -> None:
    assert all("RetentionInDays" in each["Properties"] for each in of_type(SERVICE, "AWS::Logs::LogGroup").values())
