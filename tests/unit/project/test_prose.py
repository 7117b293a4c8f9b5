"""Docstrings, comments and documents are plain English: hardly any free relatives ("what comes", "whoever asks")."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FREE_RELATIVE = re.compile(
    r"\b(?:what(?:ever)?|whoever|whomever|whichever)\b|(?:^|[.;:,] |\b(?:by|to|for|of|from|with|than|and|or) )who\b",
    re.IGNORECASE,
)
# Decisions are history and stay as they were written.
DOCUMENTS = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
PACKAGES = ("gateway", "checkout", "cart", "store", "primitives", "benchmarks")
MAX_PER_THOUSAND = 1.0


def document_lines(path: Path) -> Iterator[str]:
    is_code = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield line


def source_lines(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (ast.get_docstring(node) or "").splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def per_thousand(lines: list[str]) -> tuple[float, list[str]]:
    words = sum(len(line.split()) for line in lines)
    found = [line.strip() for line in lines if FREE_RELATIVE.search(line)]
    return 1000 * len(found) / words, found


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_and_comments_name_their_subjects(package: str) -> None:
    lines = [line for path in sorted((ROOT / package).rglob("*.py")) for line in source_lines(path)]
    rate, found = per_thousand(lines)
    assert rate <= MAX_PER_THOUSAND, "\n".join(found)


def test_documents_name_their_subjects() -> None:
    rate, found = per_thousand([line for path in DOCUMENTS for line in document_lines(path)])
    assert rate <= MAX_PER_THOUSAND, "\n".join(found)
