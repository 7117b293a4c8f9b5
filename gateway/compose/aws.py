"""The resources of AWS for a trial, with the table of the archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.prerequisites import CannotStart
from gateway.settings import Settings


async def make_resources(
    settings: Settings, prefix: str, *, is_fifo: bool, note: Callable[[str], None]
) -> Mapping[str, str]:
    """Make the resources whose names begin with `prefix`; `note` gets a line for each. Returns the settings that use them.

    Raises `CannotStart`.
    """
    try:
        # Slow to import, seldom needed, and with the libraries of an extra.
        from checkout.archive.dynamodb_archive import table_definition, ttl_definition
        from checkout.aws.bootstrap import bootstrap
        from checkout.aws.errors import AwsError
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"this needs the client library of AWS ({error.name} is not installed): "
            "pip install 'peakgate[aws]', or make install-aws in a clone"
        ) from error
    table = f"{prefix}-orders"
    try:
        made = await bootstrap(
            prefix,
            endpoint_url=settings.aws_endpoint_url,
            region=settings.aws_region,
            table=table_definition(table),
            ttl=ttl_definition(table),
            is_fifo=is_fifo,
            note=note,
        )
    except AwsError as error:
        raise CannotStart(f"the resources of AWS cannot be made: {error}") from error
    return {
        "queue_url": made.queue_url,
        "archive": "dynamodb",
        "archive_table": made.table,
        "kms_key": made.kms_key,
        "sns_topic": made.topic_arn,
    }
