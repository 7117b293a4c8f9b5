from __future__ import annotations

import asyncio

import pytest

from primitives.unit_of_work import UnitOfWork, current_unit, in_context, unit_context, unit_of_work


def test_there_is_no_unit_by_default() -> None:
    assert current_unit() is None


async def test_a_block_is_a_unit_and_so_are_the_tasks_that_it_creates() -> None:
    async def unit_of_a_task() -> UnitOfWork | None:
        await asyncio.sleep(0)
        return current_unit()

    with unit_of_work():
        unit = current_unit()
        task = asyncio.create_task(unit_of_a_task())
        with unit_of_work():
            assert current_unit() is not unit
        assert current_unit() is unit
    assert current_unit() is None
    assert unit is not None
    assert await task is unit


async def test_a_coroutine_has_its_unit_in_every_step_whoever_drives_it() -> None:
    future = asyncio.get_running_loop().create_future()

    async def work() -> list[UnitOfWork | None]:
        units = [current_unit()]
        await future
        return [*units, current_unit()]

    context = unit_context()
    coroutine = in_context(context, work())
    assert coroutine.send(None) is future
    assert current_unit() is None
    future.set_result(None)
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    first, second = end.value.value
    assert first is second is context.run(current_unit)
    assert first is not None


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_the_end_of_the_outer_coroutine_ends_the_inner_one_in_its_unit(end: str) -> None:
    units: list[UnitOfWork | None] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            units.append(current_unit())

    outer = in_context(unit_context(), work())
    if end == "close":
        outer.send(None)
        outer.close()
    else:
        task = asyncio.ensure_future(outer)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(units) == 1
    assert units[0] is not None


@pytest.mark.parametrize("fails", [True, False])
async def test_the_errors_of_awaited_futures_reach_the_coroutine(fails: bool) -> None:
    future = asyncio.get_running_loop().create_future()

    async def work() -> str:
        try:
            await future
        except KeyError:
            if fails:
                raise
            return "handled"
        return "no error"

    asyncio.get_running_loop().call_soon(future.set_exception, KeyError("no such"))
    running = in_context(unit_context(), work())
    if fails:
        with pytest.raises(KeyError):
            await running
    else:
        assert await running == "handled"
