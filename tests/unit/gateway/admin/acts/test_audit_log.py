"""The audit log: acts that survive a restart, in a bounded size, without personal data."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from gateway.admin.acts.audit_log import AuditLog


def write(log: AuditLog, act: str = "purge", **members: object) -> int:
    return log.append(at=1_790_000_000.0, who="admin token", act=act, **members).id


def test_acts_survive_a_restart_and_ids_go_on(tmp_path: Path) -> None:
    path = tmp_path / "acts.jsonl"
    write(AuditLog(path), "switches/search", before=None, after={"enabled": False})
    again = AuditLog(path)
    assert write(again, "reload") == 2
    assert [(act.id, act.act, act.after) for act in AuditLog(path).page(limit=9)] == [
        (2, "reload", None),
        (1, "switches/search", {"enabled": False}),
    ]


def test_only_this_user_can_read_the_file(tmp_path: Path) -> None:
    write(AuditLog(tmp_path / "acts.jsonl"))
    assert stat.S_IMODE((tmp_path / "acts.jsonl").stat().st_mode) == 0o600


def test_the_oldest_acts_are_dropped_once_the_files_are_full(tmp_path: Path) -> None:
    path = tmp_path / "acts.jsonl"
    log = AuditLog(path, max_file_bytes=1000, full_files=2)
    for _ in range(100):
        write(log)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["acts.jsonl", "acts.jsonl.1", "acts.jsonl.2"]
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 3000
    ids = [act.id for act in log.page(limit=100)]
    assert ids == list(range(100, 100 - len(ids), -1))
    assert 20 < len(ids) < 60
    assert [act.id for act in AuditLog(path, max_file_bytes=1000, full_files=2).page(limit=100)] == ids
    assert log.find(1) is None


def test_pages_go_from_the_latest_to_the_oldest() -> None:
    log = AuditLog(None)
    for _ in range(5):
        write(log)
    assert [act.id for act in log.page(limit=2)] == [5, 4]
    assert [act.id for act in log.page(limit=9, before=4)] == [3, 2, 1]


def test_an_act_that_a_crash_cut_off_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "acts.jsonl"
    write(AuditLog(path))
    with path.open("ab") as file:
        file.write(b'{"id": 2, "at"')
    log = AuditLog(path)
    assert write(log, "reload") == 2
    assert [act.act for act in AuditLog(path).page(limit=9)] == ["reload", "purge"]
    assert "cannot be read" in caplog.text


def test_card_numbers_and_addresses_of_people_are_masked(tmp_path: Path) -> None:
    path = tmp_path / "acts.jsonl"
    reason = "ada@shop.example paid with 4111 1111 1111 1111"
    write(AuditLog(path), "drills/payment", arguments={"reason": reason, "more": [reason]}, after={"reason": reason})
    text = path.read_text()
    assert "4111" not in text
    assert "ada@" not in text
    assert text.count("[e-mail address] paid with [card number]") == 3


def test_the_operator_is_named_in_full() -> None:
    assert AuditLog(None).append(at=0.0, who="grace@shop.example", act="reload").who == "grace@shop.example"


def test_an_act_that_cannot_be_written_is_remembered_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    log = AuditLog(tmp_path / "no-such-folder" / "acts.jsonl")
    write(log)
    assert [act.act for act in log.page(limit=1)] == ["purge"]
    assert "cannot write act 1 to the audit log" in caplog.text
