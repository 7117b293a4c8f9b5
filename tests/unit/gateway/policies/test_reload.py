"""What a worker goes by changes in two steps."""

from __future__ import annotations

import pytest

from gateway.config.file import read_text
from gateway.config.policies import Policies
from gateway.control.commands import CommandFailed
from gateway.policies.reload import PolicyReload, Swap

ONE = '[[switches]]\nname = "search"\n'
OTHER = '[[switches]]\nname = "reviews"\n'


class Gateway:
    """Goes by policies; cannot go by such as switch reviews."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def prepare(self, policies: Policies) -> Swap:
        names = [switch.name for switch in policies.switches]
        if "reviews" in names:
            raise CommandFailed("there are no reviews")

        def swap() -> None:
            self.names = names

        return swap


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def policies(gateway: Gateway) -> PolicyReload:
    policies = PolicyReload(read_text(""))
    policies.on_reload(gateway.prepare)
    return policies


async def test_nothing_changes_before_the_second_step(policies: PolicyReload, gateway: Gateway) -> None:
    before = policies.config.digest
    digest = await policies.commands["prepare"]({"text": ONE})
    assert (gateway.names, policies.config.digest) == ([], before)
    await policies.commands["commit"]({"digest": digest})
    assert (gateway.names, policies.config.digest) == (["search"], digest)
    assert policies.snapshot() == {"digest": digest}


async def test_policies_that_were_not_prepared_are_not_committed(policies: PolicyReload, gateway: Gateway) -> None:
    digest = await policies.commands["prepare"]({"text": ONE})
    with pytest.raises(CommandFailed, match="was not prepared"):
        await policies.commands["commit"]({"digest": "another"})
    await policies.commands["commit"]({"digest": digest})
    with pytest.raises(CommandFailed, match="was not prepared"):
        await policies.commands["commit"]({"digest": digest})


@pytest.mark.parametrize(("text", "why"), [("no", "is not TOML"), (OTHER, "there are no reviews")])
async def test_invalid_policies_are_rejected_and_change_nothing(
    policies: PolicyReload, gateway: Gateway, text: str, why: str
) -> None:
    before = policies.config.digest
    with pytest.raises(CommandFailed, match=why):
        await policies.take(text)
    assert (gateway.names, policies.config.digest) == ([], before)


async def test_a_worker_that_started_meanwhile_takes_both_steps_at_once(
    policies: PolicyReload, gateway: Gateway
) -> None:
    await policies.take(ONE)
    assert gateway.names == ["search"]
    assert policies.config.text == ONE


async def test_active_policies_are_not_built_again(policies: PolicyReload, gateway: Gateway) -> None:
    await policies.take(ONE)
    gateway.names = ["as it was"]
    await policies.take(ONE)
    assert gateway.names == ["as it was"]


def test_the_digest_is_a_metric(policies: PolicyReload) -> None:
    (metric,) = policies.metrics()
    assert metric.samples[0].labels == {"digest": policies.config.digest}
