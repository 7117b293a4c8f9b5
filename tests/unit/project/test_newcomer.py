"""What the documents tell a newcomer to type exists, and what they point to is there."""

import re
from pathlib import Path

import pytest

from gateway.settings import OPTIONS, PREFIX

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    named = re.findall(r"(?:^|`)make ((?:[A-Z_]+=\S+ )*)([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert {target for _, target in named} <= TARGETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_says_in_its_first_screen_how_to_run_and_to_test() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:40])
    assert "make run" in first_screen
    assert "make test" in first_screen


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^make test\b", script, re.MULTILINE)
    assert re.search(r"^make check\b", script, re.MULTILINE)


def test_the_readme_tells_of_every_setting_with_its_variable_and_default() -> None:
    rows = re.findall(
        r"^\| `--([a-z-]+)` \| `([A-Z_]+)` \| (.*?) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    settings = {name.replace("_", "-"): setting for name, setting in OPTIONS.items()}
    assert [flag for flag, _, _ in rows] == list(settings)
    for flag, variable, default in rows:
        assert variable == PREFIX + settings[flag].name.upper()
        fixed = settings[flag].default
        if isinstance(fixed, bool):
            assert default == ("`yes`" if fixed else "`no`")
        elif isinstance(fixed, str | int | float | Path):
            assert default == f"`{fixed:g}`" if isinstance(fixed, float) else f"`{fixed}`"


def test_every_module_that_make_runs_exists() -> None:
    modules = re.findall(r"-m (benchmarks[\w.]+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert modules
    assert [module for module in modules if not (ROOT / f"{module.replace('.', '/')}.py").exists()] == []


def test_every_variable_of_make_is_set_once() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"^([A-Z_]+) [?:]?= ", text, re.MULTILINE)
    assert sorted(named) == sorted(set(named))
