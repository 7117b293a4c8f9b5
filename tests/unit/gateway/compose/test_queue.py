"""The queue that the settings name."""

from __future__ import annotations

import sys

import pytest

from gateway import compose
from gateway.prerequisites import CannotStart
from gateway.settings import Settings


async def test_without_the_extra_of_sqs_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # An import of None fails as one of a module that is not installed; other tests may have imported its modules.
    imported = [name for name in sys.modules if name.startswith("aiobotocore.")]
    for name in ("aiobotocore", "aiobotocore.config", *imported):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith(("checkout.queues.sqs", "checkout.aws."))]:
        monkeypatch.delitem(sys.modules, name)
    settings = Settings(queue_url="https://sqs.eu-west-1.amazonaws.com/1/orders")
    with pytest.raises(CannotStart, match=r"pip install 'peakgate\[aws\]'"):
        await compose.check_queue(settings)
