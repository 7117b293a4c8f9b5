from __future__ import annotations

from gateway.config.policies import HealthCheck, Upstream
from tests.integration.gateway.proxy.raw_upstream import OK, Peer, always, forwarding, unused_url
from tests.waiting import WITHIN_S, until

CHECK = HealthCheck(path="/health?deep=1", interval_s=0.02, timeout_s=WITHIN_S)
# A busy machine must not make the healthy one late.
SHORT_CHECK = HealthCheck(path="/health?deep=1", interval_s=0.02, timeout_s=1.0)
SICK = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Patient:
    """An upstream whose health the test sets."""

    def __init__(self) -> None:
        self.response = OK
        self.served = 0

    async def __call__(self, peer: Peer) -> None:
        while True:
            asked = await peer.request()
            if asked.startswith(b"GET /health?deep=1 HTTP/1.1\r\n"):
                await peer.send(self.response)
            else:
                self.served += 1
                await peer.send(OK)


async def test_an_unhealthy_target_gets_no_requests_until_its_checks_succeed() -> None:
    patient, other = Patient(), Patient()
    async with forwarding(patient, other, health=CHECK) as (gate, _):
        target = gate.upstream.targets[0]
        patient.response = SICK
        await until(lambda: target.health.state == "unhealthy")
        assert "503" in target.health.reason
        before = patient.served
        for _ in range(20):
            assert (await gate.send()).status == 200
        assert patient.served == before
        patient.response = OK
        await until(lambda: target.health.state == "healthy")
        while patient.served == before:
            assert (await gate.send()).status == 200


async def test_a_target_that_cannot_be_reached_or_hangs_is_unhealthy() -> None:
    async def hang(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with forwarding(unused_url(), hang, always(OK), health=SHORT_CHECK) as (gate, _):
        first, second, third = gate.upstream.targets
        await until(lambda: first.health.state == second.health.state == "unhealthy")
        assert third.health.state == "healthy"
        assert first.health.reason.startswith("the health check failed")


async def test_without_checks_an_unhealthy_target_is_healthy_again() -> None:
    async with forwarding(unused_url(), health=CHECK) as (gate, _):
        await until(lambda: gate.upstream.targets[0].health.state == "unhealthy")
        url = gate.upstream.targets[0].address.url
        gate.upstreams.update([Upstream(name="shop", targets=(url,))])
        assert gate.upstream.targets[0].health.state == "healthy"
