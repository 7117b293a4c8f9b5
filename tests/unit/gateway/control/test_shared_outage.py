from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.control.shared_outage import SharedOutage


def test_the_first_process_begins_an_outage_and_the_last_one_ends_it(tmp_path: Path) -> None:
    first, second = (SharedOutage(tmp_path / "store", name) for name in ("0a", "1a"))
    assert [first.begin(), second.begin()] == [True, False]
    assert [first.end(), second.end()] == [False, True]
    assert [second.begin(), first.begin()] == [True, False]


def test_an_end_without_an_outage_is_nobodys(tmp_path: Path) -> None:
    assert not SharedOutage(tmp_path / "store", "0a").end()


def test_without_a_usable_folder_each_process_counts_as_the_only_one(tmp_path: Path) -> None:
    for outage in (SharedOutage(None, "0a"), SharedOutage(tmp_path / "nowhere" / "store", "0a")):
        assert outage.begin()
    assert SharedOutage(None, "0a").end()


def test_processes_that_notice_at_the_same_time_agree_on_one(tmp_path: Path) -> None:
    outages = [SharedOutage(tmp_path / "store", str(number)) for number in range(8)]
    with ThreadPoolExecutor(len(outages)) as pool:
        for _ in range(100):
            assert sum(pool.map(SharedOutage.begin, outages)) == 1
            assert sum(pool.map(SharedOutage.end, outages)) == 1
