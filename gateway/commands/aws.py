"""`peakgate aws bootstrap`: resources of AWS for a trial, and the settings that use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.compose.aws import make_resources
from gateway.prerequisites import CannotStart
from gateway.settings import OPTIONS, Settings

EX_OK: Final = 0
EX_USAGE: Final = 64
EX_UNAVAILABLE: Final = 69
Say = Callable[[str], None]


def make_trial(settings: Settings, prefix: str, *, is_fifo: bool, is_on_aws: bool, show: Say, say: Say) -> int:
    """Make the resources; `say` gets a line for each, `show` the settings. Returns the exit code."""
    if settings.aws_endpoint_url is None and not is_on_aws:
        say("this would make resources in an account of AWS: name an --aws-endpoint-url, or say --on-aws")
        return EX_USAGE
    try:
        resources = dict(asyncio.run(make_resources(settings, prefix, is_fifo=is_fifo, note=say)))
    except CannotStart as error:
        say(str(error))
        return EX_UNAVAILABLE
    for name, value in (resources | _of_the_endpoint(settings)).items():
        # As a line of peakgate.toml.
        show(f'{name} = "{value}"' if name in OPTIONS else f"# {name}: {value}")
    return EX_OK


def _of_the_endpoint(settings: Settings) -> dict[str, str]:
    found = {"aws_endpoint_url": settings.aws_endpoint_url, "aws_region": settings.aws_region}
    return {name: value for name, value in found.items() if value is not None}
