from __future__ import annotations

from gateway.config.policies import HealthCheck, Upstream
from tests.integration.gateway.proxy.raw_upstream import OK, Peer, always, forwarding, unused_url
from tests.waiting import until

CHECK = HealthCheck(path="/health?deep=1", interval_s=0.02, timeout_s=0.2)
SICK = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Patient:
    """Is well or not, as the test says."""

    def __init__(self) -> None:
        self.answer = OK
        self.served = 0

    async def __call__(self, peer: Peer) -> None:
        while True:
            asked = await peer.request()
            if asked.startswith(b"GET /health?deep=1 HTTP/1.1\r\n"):
                await peer.send(self.answer)
            else:
                self.served += 1
                await peer.send(OK)


async def test_a_target_that_says_it_is_sick_is_left_out_until_it_is_well() -> None:
    patient, other = Patient(), Patient()
    async with forwarding(patient, other, health=CHECK) as (gate, _):
        target = gate.pool.targets[0]
        patient.answer = SICK
        await until(lambda: target.health.state == "unhealthy")
        assert "503" in target.health.reason
        before = patient.served
        for _ in range(20):
            assert (await gate.ask()).status == 200
        assert patient.served == before
        patient.answer = OK
        await until(lambda: target.health.state == "in")
        while patient.served == before:
            assert (await gate.ask()).status == 200


async def test_a_target_that_is_not_there_or_hangs_is_unhealthy() -> None:
    async def hang(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with forwarding(unused_url(), hang, always(OK), health=CHECK) as (gate, _):
        first, second, third = gate.pool.targets
        await until(lambda: first.health.state == second.health.state == "unhealthy")
        assert third.health.state == "in"
        assert first.health.reason.startswith("the check failed")


async def test_without_checks_what_they_said_is_forgotten() -> None:
    async with forwarding(unused_url(), health=CHECK) as (gate, _):
        await until(lambda: gate.pool.targets[0].health.state == "unhealthy")
        url = gate.pool.targets[0].place.url
        gate.upstreams.update([Upstream(name="shop", targets=(url,))])
        assert gate.pool.targets[0].health.state == "in"
