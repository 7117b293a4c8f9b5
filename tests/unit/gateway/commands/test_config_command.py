"""`peakgate config`: check, show, schema, hash-key."""

from __future__ import annotations

import hashlib
import io
import json
import tomllib
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.cli.main import main
from gateway.config.file import read_text
from gateway.config.policies import BREAKERS, Breaker

SOUND = """\
port = 9000
store_url = "redis://shop:sesa/me@store:6379/0?password=sesame"

[[limits]]
name = "per-client"
by = "address"
quota = 50

[[identity.api_keys]]
name = "partner"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

[[upstreams]]
name = "web"
targets = ["http://10.0.0.5:3000"]
[upstreams.health]
path = "/healthz"

[[upstreams]]
name = "images"
targets = ["http://10.0.0.7:3000"]

[breaker.web]
open_s = 3

[[events]]
name = "sale"
start = 2026-11-27T09:00:00Z
end = 2026-11-27T12:00:00Z
limits = { per-client = 5 }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is in order, where nothing else says anything."""
    monkeypatch.chdir(tmp_path)
    for variable in ("PEAKGATE_CONFIG", "PEAKGATE_PORT"):
        monkeypatch.delenv(variable, raising=False)
    path = tmp_path / "shop.toml"
    path.write_text(SOUND)
    return path


Told = pytest.CaptureFixture[str]


def test_a_valid_file_is_reported_in_one_line(file: Path, capsys: Told) -> None:
    assert main(["config", "check", str(file)]) == 0
    told = capsys.readouterr()
    assert told.out == (
        f"{file}: valid: settings: 2, identity, limits: 1, breaker: 1, upstreams: 2, events: 1 "
        f"(digest {read_text(SOUND).digest})\n"
    )
    assert not told.err


def test_a_file_with_faults_is_64_and_all_of_them(file: Path, capsys: Told) -> None:
    file.write_text("port = 90000\n[limit]\n")
    assert main(["config", "check", str(file)]) == 64
    assert capsys.readouterr().err.splitlines() == [
        f"peakgate: {file}:1: port: must be a number from 0 to 65535, not 90000",
        f"peakgate: {file}:2: limit: there is no such key; did you mean limits?",
    ]


def test_a_pattern_that_matches_no_route_is_a_warning(file: Path, capsys: Told) -> None:
    file.write_text("[[switches]]\nname = 'till'\nroutes = [\n  'POST /v1/checkout',\n  'POST /v1/chekout']\n")
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().err == (
        f"peakgate: {file}:5: warning: switches[0].routes[1]: matches no route: 'POST /v1/chekout'\n"
    )


def test_without_a_name_the_file_of_the_variable_or_of_this_directory_is_checked(
    file: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["config", "check"]) == 64
    assert "peakgate config check FILE" in capsys.readouterr().err
    (file.parent / "peakgate.toml").write_text("port = 1\n")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out.startswith("peakgate.toml: valid: settings: 1 ")
    monkeypatch.setenv("PEAKGATE_CONFIG", str(file))
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out.startswith(f"{file}: valid: ")


def test_a_file_that_is_not_there_is_64(file: Path, capsys: Told) -> None:
    assert main(["config", "check", "no-such.toml"]) == 64
    assert capsys.readouterr().err == "peakgate: no-such.toml: cannot be read: No such file or directory\n"


def test_effective_settings_are_shown_with_their_sources(
    file: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEAKGATE_CURRENCY", "EUR")
    assert main(["config", "show", "--config", str(file), "--host", "::"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 'host = "::"  # --host' in lines
    assert 'currency = "EUR"  # PEAKGATE_CURRENCY' in lines
    assert f"port = 9000  # {file}:1" in lines
    assert "max_lines = 1000  # default" in lines
    assert "# catalog is not set" in lines
    assert f"quota = 50  # {file}:7" in lines
    assert f'path = "/healthz"  # {file}:17' in lines
    assert f"open_s = 3.0  # {file}:24" in lines
    assert "window_s = 10.0  # default" in lines


def test_the_shown_settings_are_toml_with_the_same_values(file: Path, capsys: Told) -> None:
    file.write_text(SOUND.replace("sha256", "# sha256").replace("[[identity", "# [[").replace('name = "partner"', ""))
    assert main(["config", "show", "--config", str(file)]) == 0
    shown = read_text(capsys.readouterr().out).policies
    written = read_text(file.read_text()).policies
    assert replace(shown, breaker={}) == replace(written, breaker={})
    # Those that are left to their defaults are shown as well.
    assert shown.breaker == {**BREAKERS, "search": Breaker(), "images": Breaker(), "web": Breaker(open_s=3.0)}


def test_no_secret_is_shown(file: Path, capsys: Told) -> None:
    assert main(["config", "show", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert tomllib.loads(shown)["store_url"] == "redis://***@store:6379/0?***"
    assert tomllib.loads(shown)["identity"]["api_keys"] == [{"name": "partner", "sha256": "9f86d081…"}]
    assert "sesa" not in shown


def test_the_schema_is_printed_as_json(capsys: Told) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "peakgate.toml"


@pytest.mark.parametrize("typed", ["open-sesame-open-sesame\n", "\ufeffopen-sesame-open-sesame\r\n"])
def test_a_key_from_standard_input_becomes_an_entry(typed: str, capsys: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert main(["config", "hash-key", "--name", "till-1"]) == 0
    (key,) = read_text(capsys.readouterr().out).policies.identity.api_keys
    assert (key.name, key.sha256) == ("till-1", hashlib.sha256(b"open-sesame-open-sesame").hexdigest())


def test_a_new_key_is_printed_beside_its_entry(capsys: Told) -> None:
    assert main(["config", "hash-key", "--new"]) == 0
    told = capsys.readouterr()
    key = told.err.rpartition(": ")[2].strip()
    assert len(key) >= 40
    assert key not in told.out
    (entry,) = read_text(told.out).policies.identity.api_keys
    assert entry.sha256 == hashlib.sha256(key.encode()).hexdigest()


@pytest.mark.parametrize("text", ["", "short\n", "with spaces in it, long\n", "ключ-ключ-ключ-ключ\n", "k" * 600])
def test_a_key_that_is_none_is_64(text: str, capsys: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["config", "hash-key"]) == 64
    told = capsys.readouterr()
    assert "16 to 512 visible ASCII characters" in told.err
    assert not told.out
    assert text.strip() not in told.err or not text.strip()


def test_the_name_of_a_key_is_checked(capsys: Told) -> None:
    assert main(["config", "hash-key", "--new", "--name", 'a"b']) == 64
    assert "--name: " in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("check",), ("show",), ("schema",), ("hash-key",)])
def test_every_command_has_help_with_an_example(words: tuple[str, ...], capsys: Told) -> None:
    with pytest.raises(SystemExit) as told:
        main(["config", *words, "--help"])
    assert told.value.code == 0
    assert "example: " in capsys.readouterr().out


def test_a_broken_template_of_a_page_is_64(file: Path, capsys: Told) -> None:
    (file.parent / "pages").mkdir()
    (file.parent / "pages" / "404.html").write_text("$contents")
    text = SOUND + '\n[pages]\nfolder = "pages"\n'
    file.write_text(text)

    assert main(["config", "check", "shop.toml"]) == 64
    line = text.splitlines().index('folder = "pages"') + 1
    assert f"shop.toml:{line}: pages: pages/404.html: there is no $contents here" in capsys.readouterr().err


def test_text_without_contrast_is_64(file: Path, capsys: Told) -> None:
    file.write_text(SOUND + '\n[pages.dark]\naccent = "#333333"\n')

    assert main(["config", "check", "shop.toml"]) == 64
    assert "pages.dark.accent: must have a contrast of 4.5 to 1 with card" in capsys.readouterr().err
