"""The sinks of events that the settings enable."""

from __future__ import annotations

from typing import Final

from gateway.settings import Settings

ARCHIVE: Final = "archive"


def enabled_sinks(settings: Settings) -> tuple[str, ...]:
    """The names of the sinks that these settings enable.

    Every process that changes orders writes events for all of them, also one that relays none, such as a command.
    """
    names = {
        ARCHIVE: settings.archive_kind != "none",
        "webhooks": bool(settings.policies.webhooks),
        "sns": settings.sns_topic is not None,
    }
    return tuple(name for name, is_enabled in names.items() if is_enabled)
