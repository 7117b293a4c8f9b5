"""The key file: made once, never replaced by accident, and refused with a reason."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from checkout.privacy.file_keys import FileKeys
from checkout.privacy.key_file import (
    KeyFileUnusable,
    create_key_file,
    new_key_file,
    new_name,
    read_key_file,
    replace_key_file,
)

DAY = "20261127"


def test_a_new_file_can_be_read_by_its_user_only_and_is_what_was_written(tmp_path: Path) -> None:
    path, new = tmp_path / "data" / "keys.toml", new_key_file(DAY)
    assert create_key_file(path, new) == new
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_file(path) == new
    assert [each.name for each in path.parent.iterdir()] == ["keys.toml"]


def test_a_file_is_never_replaced_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    first = create_key_file(path, new_key_file(DAY))
    assert create_key_file(path, new_key_file(DAY)) == first
    assert read_key_file(path) == first


def test_there_may_be_no_file(tmp_path: Path) -> None:
    assert read_key_file(tmp_path / "keys.toml") is None


def test_keys_are_not_shown() -> None:
    keys = new_key_file(DAY)
    assert repr(keys) == f"KeyFile(current={keys.current!r}, keys=[{keys.current!r}])"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("no = toml = at all", "no TOML"),
        ("", "needs `index`"),
        ('index = "AAAA"\ncurrent = "a"\n[keys]\na = "AAAA"', "32 bytes"),
        ('index = "{key}"\ncurrent = "b"\n[keys]\na = "{key}"', "no key 'b'"),
        ('index = "{key}"\ncurrent = "a.b"\n[keys]\n"a.b" = "{key}"', "letters, digits"),
        ("keys = 1", "needs `index`"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text.replace("{key}", "A" * 43 + "="))
    with pytest.raises(KeyFileUnusable, match=fault):
        read_key_file(path)


def test_a_file_that_others_can_read_is_used_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.toml"
    create_key_file(path, new_key_file(DAY))
    path.chmod(0o644)
    assert read_key_file(path) is not None
    assert "chmod 600" in caplog.text


async def test_a_key_that_another_process_has_added_is_found(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    content = create_key_file(path, new_key_file(DAY))
    keys = FileKeys(path, content)
    more = content.with_key(new_name(DAY), bytes(32), is_current=True)
    replace_key_file(path, more)
    new = await FileKeys(path, more).new_data_key()
    assert await keys.unwrap(new.wrapped) == new.secret


def test_a_file_that_is_gone_or_broken_leaves_the_keys_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    content = create_key_file(path, new_key_file(DAY))
    keys = FileKeys(path, content)
    path.write_text("broken")
    for _ in range(2):
        with pytest.raises(KeyFileUnusable):
            keys.reread()
        path.unlink(missing_ok=True)
    assert keys.names == [f"file.{content.current}"]
