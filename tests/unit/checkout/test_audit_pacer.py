import pytest

from checkout.audit.pacer import Pacer


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


async def test_records_take_their_time(time: Time) -> None:
    pacer = Pacer(10.0, clock=time.clock, sleep=time.sleep)
    for records in (5, 20):
        await pacer.after(records)
    assert time.now == 102.5


async def test_a_read_without_records_counts_as_one(time: Time) -> None:
    await Pacer(10.0, clock=time.clock, sleep=time.sleep).after(0)
    assert time.now == pytest.approx(100.1)


async def test_the_time_of_reading_counts(time: Time) -> None:
    pacer = Pacer(10.0, clock=time.clock, sleep=time.sleep)
    await pacer.after(10)
    time.now += 0.25
    await pacer.after(10)
    assert time.now == 102.0


async def test_of_a_pause_a_second_is_made_up_for(time: Time) -> None:
    pacer = Pacer(10.0, clock=time.clock, sleep=time.sleep)
    time.now += 60
    await pacer.after(30)
    assert time.now == 162.0
