from __future__ import annotations

import pytest

from benchmarks.micro import tracing_cost


async def test_tracing_is_measured_beside_a_server_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing_cost, "REQUESTS", 20)
    result = await tracing_cost.measure(1)
    assert result.off_us > 0
    assert "not sampled" in tracing_cost.report(result)
