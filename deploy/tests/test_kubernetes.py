"""The Helm chart: it lints, every object is valid, and pods are secure, spread, drained and scaled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from helm_python.chart import lint
from helm_python.errors import HelmError
from programs import program

KUBERNETES = Path(__file__).resolve().parent.parent / "kubernetes"
render = program("kubernetes/render")

DIGEST = "sha256:" + "0" * 64
SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "image": {"repository": "registry.example/peakgate", "digest": DIGEST},
        "pullSecrets": [{"name": "registry"}],
        "settings": {"order_patience": 900, "payment": "stripe", "expose_metrics": False},
        "policies": '[[limits]]\nname = "all"\nby = "global"\nquota = 1000\n',
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/peakgate"}},
        "podAnnotations": {"team": "shop"},
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "shop", "operator": "Exists"}],
        "edge": {"autoscaling": {"requestsPerSecond": 1500}},
        "worker": {
            "keda": {"enabled": True, "queueUrl": "https://sqs.eu-west-2.amazonaws.com/1/orders", "region": "eu-west-2"}
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "stream": {"worker": {"keda": {"enabled": True, "prometheus": "http://prometheus.monitoring:9090"}}},
    "open": {"networkPolicy": {"enabled": False}, "worker": {"replicas": 0, "minAvailable": 0}},
}
OWN = {"apps/v1", "v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1"}


def objects(name: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in render.rendered(SETS[name]) if each["kind"] == kind]


def pods(name: str) -> list[dict[str, Any]]:
    found = [each["spec"]["template"] for each in objects(name, "Deployment")]
    assert len(found) == 2
    return found


def variables(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize("name", SETS)
def test_it_lints_without_a_warning(name: str) -> None:
    report = lint(KUBERNETES / "peakgate", SETS[name], strict=True)
    assert report["errors"] == []
    # 1: information, such as a missing icon.
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("name", SETS)
def test_every_object_is_valid(name: str) -> None:
    for each in render.rendered(SETS[name]):
        if each["apiVersion"] in OWN:
            kubernetes_validate.validate(each, "1.33", strict=True)


def test_objects_of_others_are_there_only_on_demand() -> None:
    foreign = {
        name: {each["kind"] for each in render.rendered(SETS[name]) if each["apiVersion"] not in OWN} for name in SETS
    }
    assert foreign == {
        "defaults": set(),
        "everything": {"ScaledObject", "ServiceMonitor"},
        "stream": {"ScaledObject"},
        "open": set(),
    }


@pytest.mark.parametrize(
    "values",
    [
        {"edgee": {}},
        {"edge": {"autoscaling": {"minReplicas": 1}}},
        {"image": {"digest": "latest"}},
        {"drain": {"timeout": "long"}},
        {"worker": {"keda": {"enabled": True}}},
        {"worker": {"keda": {"enabled": True, "queueUrl": "https://sqs.example/q"}}},
    ],
    ids=["misspelt", "a-single-edge", "no-digest", "a-word-for-a-number", "no-trigger", "no-region"],
)
def test_wrong_values_are_refused(values: dict[str, Any]) -> None:
    # Helm's linter forgives a missing value, which a rendering refuses, and the other way round for the schema.
    report = lint(KUBERNETES / "peakgate", values, strict=True)
    if not report["errors"] and all(each["severity"] < 3 for each in report["messages"]):
        with pytest.raises(HelmError, match=r"needed|needs"):
            render.rendered(values)


@pytest.mark.parametrize("name", SETS)
def test_a_pod_has_the_time_to_drain(name: str) -> None:
    for pod in pods(name):
        container = pod["spec"]["containers"][0]
        drained = int(variables(pod)["PEAKGATE_DRAIN_GRACE"]) + int(variables(pod)["PEAKGATE_DRAIN_TIMEOUT"])
        waited = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert waited > 0
        assert pod["spec"]["terminationGracePeriodSeconds"] >= waited + drained + 5


@pytest.mark.parametrize("name", SETS)
def test_a_pod_can_change_nothing_but_its_volume(name: str) -> None:
    for pod in pods(name):
        pod_context, container = pod["spec"]["securityContext"], pod["spec"]["containers"][0]
        assert pod_context["runAsNonRoot"] is True
        assert pod_context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["spec"]["automountServiceAccountToken"] is False
        writable = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
        assert writable == ["/data"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_probes_ask_for_readiness_and_life_separately() -> None:
    for pod in pods("defaults"):
        container = pod["spec"]["containers"][0]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["startupProbe"]["httpGet"]["path"] == "/healthz"


def test_the_roles_are_the_programs() -> None:
    assert [variables(pod)["PEAKGATE_ROLE"] for pod in pods("defaults")] == ["edge", "worker"]


def test_settings_become_variables_and_policies_a_file_that_rolls_out() -> None:
    edge, _ = pods("everything")
    assert variables(edge)["PEAKGATE_ORDER_PATIENCE"] == "900"
    assert variables(edge)["PEAKGATE_EXPOSE_METRICS"] == "false"
    (policies,) = objects("everything", "ConfigMap")
    assert policies["data"]["peakgate.toml"] == SETS["everything"]["policies"]
    checksums = {
        name: pods(name)[0]["metadata"]["annotations"]["checksum/policies"] for name in ("defaults", "everything")
    }
    assert len(set(checksums.values())) == 2


def test_the_image_is_named_by_its_digest() -> None:
    assert pods("everything")[0]["spec"]["containers"][0]["image"] == f"registry.example/peakgate@{DIGEST}"
    assert re.fullmatch(r"peakgate:\d+\.\d+\.\d+", pods("defaults")[0]["spec"]["containers"][0]["image"])


def test_pods_are_spread_over_zones_and_nodes_and_not_all_evicted() -> None:
    for pod in pods("defaults"):
        keys = {each["topologyKey"] for each in pod["spec"]["topologySpreadConstraints"]}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert [each["spec"]["minAvailable"] for each in objects("defaults", "PodDisruptionBudget")] == [1, 1]


@pytest.mark.parametrize("name", SETS)
def test_selectors_match_the_pods_of_their_role_alone(name: str) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods(name)]
    for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy"):
        for each in objects(name, kind):
            selector = (each["spec"].get("selector") or each["spec"]["podSelector"])["matchLabels"]
            assert sum(selector.items() <= of_pod.items() for of_pod in labels) == 1, each["metadata"]["name"]


def test_rollouts_never_have_a_pod_less() -> None:
    for each in objects("defaults", "Deployment"):
        assert each["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_edges_scale_by_cpu_and_requests_and_workers_by_backlog() -> None:
    (by_cpu,) = objects("defaults", "HorizontalPodAutoscaler")
    assert [each["type"] for each in by_cpu["spec"]["metrics"]] == ["Resource"]
    (scaler,) = objects("everything", "HorizontalPodAutoscaler")
    assert scaler["spec"]["metrics"][1]["pods"]["metric"]["name"] == "peakgate_requests_per_second"
    (by_queue,) = objects("everything", "ScaledObject")
    assert by_queue["spec"]["triggers"][0]["metadata"]["queueLength"] == "500"
    (by_stream,) = objects("stream", "ScaledObject")
    assert by_stream["spec"]["triggers"][0]["metadata"]["query"] == "max(peakgate_queue_messages)"
    assert "replicas" not in objects("stream", "Deployment")[1]["spec"]


def test_only_the_ingress_and_prometheus_reach_a_pod_and_it_reaches_what_it_needs() -> None:
    edge, worker = objects("defaults", "NetworkPolicy")
    assert [rule["ports"][0]["port"] for rule in edge["spec"]["ingress"]] == ["http", "admin"]
    assert [rule["ports"][0]["port"] for rule in worker["spec"]["ingress"]] == ["admin"]
    for policy in (edge, worker):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        ports = sorted(port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"])
        assert ports == [53, 53, 443, 6379]
        assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_the_role_of_aws_is_bound_to_the_account_of_the_pods() -> None:
    (account,) = objects("everything", "ServiceAccount")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith("role/peakgate")
    assert {pod["spec"]["serviceAccountName"] for pod in pods("everything")} == {account["metadata"]["name"]}
