"""The admin token is made once, for one pair of eyes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admin.admin_token import TokenUnusable, read_or_create


def test_the_first_start_generates_a_token_that_later_starts_use(tmp_path: Path) -> None:
    path = tmp_path / "data" / "admin-token"
    token = read_or_create(path)
    assert len(token) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_create(path) == token
    assert [each.name for each in path.parent.iterdir()] == ["admin-token"]


def test_two_are_never_the_same(tmp_path: Path) -> None:
    assert read_or_create(tmp_path / "one") != read_or_create(tmp_path / "other")


@pytest.mark.parametrize("content", [b"sixteen-or-more-of-them\n", b"\xef\xbb\xbfsixteen-or-more-of-them\r\n"])
def test_a_token_of_the_operator_is_used_without_what_editors_add(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    (tmp_path / "token").chmod(0o600)
    assert read_or_create(tmp_path / "token") == "sixteen-or-more-of-them"


def test_a_token_that_others_can_read_is_used_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "token").write_text("sixteen-or-more-of-them\n")
    (tmp_path / "token").chmod(0o644)
    assert read_or_create(tmp_path / "token") == "sixteen-or-more-of-them"
    assert "can be read by others" in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"two words of sixteen", "unspeakable-für-alle".encode(), b"\xff" * 20]
)
def test_a_file_without_a_usable_token_is_reported_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(TokenUnusable) as caught:
        read_or_create(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unwritable_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TokenUnusable, match="Not a directory"):
        read_or_create(tmp_path / "file" / "token")
