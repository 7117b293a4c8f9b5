"""The data: nothing that holds orders is lost by an update, read in the clear, or let go of by eviction."""

from __future__ import annotations

import pytest
from cloudformation import load, of_type, values_of

DATA = load("data")
RESOURCES = DATA["Resources"]
KEPT = ["DataKey", "PrivacyKey", "Queue", "DeadLetterQueue", "Archive", "GlobalArchive", "Vault", "KeyFile", "Store"]


def test_the_store_never_deletes_keys() -> None:
    assert RESOURCES["StoreParameters"]["Properties"]["Properties"]["maxmemory-policy"] == "noeviction"


def test_the_store_is_a_cluster_over_several_zones_with_tls_and_a_password() -> None:
    store = RESOURCES["Store"]["Properties"]

    assert store["Engine"] == "valkey"
    assert store["ClusterMode"] == "enabled"
    assert store["MultiAZEnabled"] is store["AutomaticFailoverEnabled"] is True
    assert (store["TransitEncryptionEnabled"], store["TransitEncryptionMode"]) == (True, "required")
    assert "resolve:secretsmanager" in str(store["AuthToken"])
    assert DATA["Parameters"]["StoreSnapshotDays"]["MinValue"] >= 1


def test_the_address_of_the_store_is_one_of_a_cluster_over_tls() -> None:
    assert RESOURCES["StoreUrl"]["Properties"]["SecretString"]["Fn::Sub"].startswith("rediss+cluster://:")


@pytest.mark.parametrize("name", KEPT)
def test_deleting_the_stack_keeps_what_holds_orders(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] in {"Retain", "Snapshot"}
    assert RESOURCES[name]["UpdateReplacePolicy"] in {"Retain", "Snapshot"}


def test_an_order_is_received_a_thousand_times_before_it_is_a_dead_letter() -> None:
    policy = RESOURCES["Queue"]["Properties"]["RedrivePolicy"]

    assert policy == {"deadLetterTargetArn": {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}, "maxReceiveCount": 1000}


@pytest.mark.parametrize("queue", ["Queue", "DeadLetterQueue"])
def test_messages_are_kept_for_as_long_as_sqs_allows(queue: str) -> None:
    assert RESOURCES[queue]["Properties"]["MessageRetentionPeriod"] == 14 * 86_400


def test_a_fifo_queue_has_its_name_and_a_standard_queue_is_the_default() -> None:
    name = RESOURCES["Queue"]["Properties"]["QueueName"]["Fn::If"]

    assert name == ["IsFifo", {"Fn::Sub": "${Environment}-orders.fifo"}, {"Fn::Sub": "${Environment}-orders"}]
    assert DATA["Parameters"]["QueueType"]["Default"] == "standard"


def test_the_back_office_gets_the_ends_of_orders_alone() -> None:
    policy = RESOURCES["EndedOrdersSubscription"]["Properties"]["FilterPolicy"]

    assert policy == {"type": ["shop.order.completed.v1", "shop.order.cancelled.v1"]}


def test_the_archive_has_one_form_with_and_without_a_replica() -> None:
    alone, replicated = (RESOURCES[name]["Properties"] for name in ("Archive", "GlobalArchive"))
    same = ("TableName", "BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    same += ("TimeToLiveSpecification", "StreamSpecification")

    assert {key: alone[key] for key in same} == {key: replicated[key] for key in same}


def test_every_copy_of_the_archive_can_be_recovered_to_a_point_in_time() -> None:
    points = list(values_of([RESOURCES["Archive"], RESOURCES["GlobalArchive"]], "PointInTimeRecoveryEnabled"))

    assert points == [True, True, True]


def test_no_backup_of_the_archive_can_be_deleted_in_its_first_week() -> None:
    assert (
        RESOURCES["Vault"]["Properties"]["LockConfiguration"]["MinRetentionDays"]
        == DATA["Parameters"]["BackupDays"]["MinValue"]
    )


@pytest.mark.parametrize("kind", ["AWS::SQS::Queue", "AWS::SNS::Topic"])
def test_messages_are_encrypted_with_the_key_of_the_stack(kind: str) -> None:
    keys = [each["Properties"]["KmsMasterKeyId"] for each in of_type(DATA, kind).values()]

    assert all(key == {"Fn::GetAtt": ["DataKey", "Arn"]} for key in keys)


def test_keys_are_rotated() -> None:
    assert all(each["Properties"]["EnableKeyRotation"] for each in of_type(DATA, "AWS::KMS::Key").values())
