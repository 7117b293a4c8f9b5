"""However a path is spelled in ways that servers read alike, and in however many of them at once: it has one canonical form."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.canonical_path import canonical_path, has_ambiguous_segment

NAMES = st.text("abz019-_~", min_size=1, max_size=6)
PATHS = st.lists(NAMES, min_size=1, max_size=4)


def escaped(text: str, chosen: list[bool]) -> str:
    return "".join(f"%{ord(each):02x}" if is_chosen else each for each, is_chosen in zip(text, chosen, strict=False))


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """A segment as a server reads it as `name`."""
    flags = st.lists(st.booleans(), min_size=len(name), max_size=len(name))
    text = "".join(each.upper() if is_upper else each for each, is_upper in zip(name, draw(flags), strict=True))
    text = escaped(text, draw(flags))
    text += draw(st.sampled_from(["", "", ".", "%20", ".%20", "%2e.", "%09"]))
    text += draw(st.sampled_from(["", "", ";", ";x=1", "%3bx", ";a;b", "%3fq", "%23f", ".;x"]))
    return quote(text) if draw(st.booleans()) and "/" not in text else text


@st.composite
def spellings(draw: st.DrawFn) -> tuple[list[str], str]:
    names = draw(PATHS)
    segments: list[str] = []
    for name in names:
        segments += draw(st.lists(st.sampled_from(["", ";", ";x", "%3b", "%20"]), max_size=2))
        segments.append(draw(spelled(name)))
    end = draw(st.sampled_from(["", "/", "//", "/;", "/;x/"]))
    return names, "/" + "/".join(segments) + end


@given(spellings())
def test_all_spellings_have_one_canonical_form(case: tuple[list[str], str]) -> None:
    names, path = case
    assert canonical_path(path) == "/" + "/".join(names)
    assert not has_ambiguous_segment(path)


@given(st.lists(st.text("abz019-_~!$&'()*+,:@=", min_size=1, max_size=6), max_size=4))
def test_a_plain_path_is_its_own_canonical_form(segments: list[str]) -> None:
    path = "".join(f"/{segment}" for segment in segments)
    assert canonical_path(path) == canonical_path(f"{path}/") == path


@given(st.text(max_size=30).map("/".__add__))
def test_any_text_has_a_canonical_form_without_empty_segments(path: str) -> None:
    form = canonical_path(path)
    assert "//" not in form
    assert not form.endswith("/")
    assert form == "" or form.startswith("/")


DOTS = st.sampled_from(
    [".", "..", "%2e", "%2E%2e", ".%2e", "%252e%252e", "..;x", ".;", "..%3b", "..%20", "%20..", "%2e%09"]
)


@given(before=PATHS, dots=DOTS, after=PATHS)
def test_a_dot_segment_is_ambiguous_in_every_spelling(before: list[str], dots: str, after: list[str]) -> None:
    assert has_ambiguous_segment("/" + "/".join([*before, dots, *after]))
    assert has_ambiguous_segment("/" + "/".join([*before, dots]))
