"""The page of a refusal: what it tells, in which language, and when it tries again."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from multidict import CIMultiDict

from gateway.http import problems
from gateway.http.message import Request, Response, header
from gateway.http.page_set import PageOptions, PageSet
from gateway.http.page_texts import SHIPPED, shipped
from gateway.http.refusal_pages import MIN_REFRESH_S, RefusalPages


def page(
    problem: problems.Problem = problems.OVERLOADED,
    *,
    method: str = "GET",
    language: str | None = None,
    retry_after_s: int | None = None,
    extra_headers: bytes = b"",
    chance: float = 0.0,
    **options: object,
) -> Response:
    headers = CIMultiDict({"Accept-Language": language} if language is not None else {})
    request = Request(method, "/", "", headers, b"", "4f0c2a7e9b31d586", ())
    request.extra_headers = extra_headers
    block = b"" if retry_after_s is None else header("Retry-After", retry_after_s)
    pages = RefusalPages(PageSet(PageOptions(**options)), rng=lambda: chance)  # type: ignore[arg-type]
    response = pages.page_of(problems.response(problem, request.id, header_block=block), request)
    response.header_block += request.extra_headers
    return response


class Outline(HTMLParser):
    """The elements of a page, each closed."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.mark.parametrize("language", SHIPPED)
@pytest.mark.parametrize("problem", problems.ALL, ids=lambda problem: problem.slug)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_refusal_has_a_well_formed_page_in_every_language(
    problem: problems.Problem, language: str, method: str, all_pages: RefusalPages
) -> None:
    request = Request(method, "/", "", CIMultiDict({"Accept-Language": language}), b"", "4f0c2a7e9b31d586", ())
    response = all_pages.page_of(problems.response(problem, request.id), request)
    text = response.body.decode()
    outline = Outline(text)

    assert response.status == problem.status
    assert f'<html lang="{language}">' in text
    assert [outline.elements.count(tag) for tag in ("main", "h1", "title", "footer", "script")] == [1, 1, 1, 1, 0]
    assert "4f0c2a7e9b31d586" in text
    assert not re.search(r"\$|\x00|None", text)


@pytest.fixture(scope="module")
def all_pages() -> RefusalPages:
    return RefusalPages(PageSet(PageOptions()))


@pytest.mark.parametrize("language", SHIPPED)
def test_every_shipped_language_has_every_text(language: str) -> None:
    assert shipped(language).keys() == shipped("en").keys()


def test_a_refusal_that_is_over_soon_refreshes_no_earlier_than_retry_after_and_spread() -> None:
    first, last = page(retry_after_s=40), page(retry_after_s=40, chance=0.999)

    assert b"Retry-After: 40\r\nContent-Security-Policy" in first.header_block
    assert b"Refresh: 40\r\n" in first.header_block
    assert b'<meta http-equiv="refresh" content="40">' in first.body
    assert b"in about 40 seconds" in first.body
    assert b"Refresh: 60\r\n" in last.header_block


@pytest.mark.parametrize(
    "problem", [problems.QUOTA_EXCEEDED, problems.DISABLED, problems.BAD_GATEWAY, problems.GATEWAY_TIMEOUT]
)
def test_a_refresh_without_a_long_retry_after_is_not_too_soon(problem: problems.Problem) -> None:
    assert b"Refresh: %d\r\n" % MIN_REFRESH_S in page(problem).header_block


@pytest.mark.parametrize(
    "problem", [problems.NOT_FOUND, problems.FORBIDDEN, problems.BODY_TOO_LARGE, problems.INTERNAL]
)
def test_a_refusal_that_stays_does_not_refresh(problem: problems.Problem) -> None:
    response = page(problem)

    assert b"Refresh" not in response.header_block
    assert b"refresh" not in response.body
    assert b"Try again</a>" not in response.body


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (problems.OVERLOADED, "was not carried out"),
        (problems.QUOTA_EXCEEDED, "was not carried out"),
        (problems.GATEWAY_TIMEOUT, "It is not certain"),
        (problems.TIMED_OUT, "It is not certain"),
    ],
)
def test_a_form_is_not_sent_again_and_the_page_says_whether_it_was_carried_out(
    problem: problems.Problem, text: str
) -> None:
    response = page(problem, method="POST")

    assert b"refresh" not in (response.header_block + response.body).lower()
    assert text in response.body.decode()


def test_the_page_is_private_to_its_request_and_shows_only_its_own_style() -> None:
    fields = page().header_block.decode()

    assert "Cache-Control: no-store\r\n" in fields
    assert "Vary: Accept, Accept-Language\r\n" in fields
    assert "Content-Language: en\r\n" in fields
    assert "X-Content-Type-Options: nosniff\r\n" in fields
    assert "default-src 'none'; style-src 'sha256-" in fields
    assert "unsafe" not in fields


def test_the_content_policy_of_data_is_replaced_and_other_fields_of_the_route_stay() -> None:
    route = header("Content-Security-Policy", "default-src 'none'") + header("X-Content-Type-Options", "nosniff")
    fields = page(extra_headers=route + header("Strict-Transport-Security", "max-age=1")).header_block

    assert fields.count(b"Content-Security-Policy") == 1
    assert fields.count(b"X-Content-Type-Options") == 1
    assert b"Strict-Transport-Security: max-age=1\r\n" in fields


def test_brand_and_home_are_shown_and_escaped() -> None:
    text = page(problems.NOT_FOUND, brand="Tom & <b>Jerry</b>", home='https://shop.example/?a=1&b="').body.decode()

    assert "Tom &amp; &lt;b&gt;Jerry&lt;/b&gt;" in text
    assert 'href="https://shop.example/?a=1&amp;b=&quot;"' in text
    assert "To the start page</a>" in text


def test_a_language_that_there_is_not_gets_the_default(tmp_path: Path) -> None:
    assert b'lang="en"' in page(language="nl").body
    pages = RefusalPages(PageSet(PageOptions(language="de")))
    request = Request("GET", "/", "", CIMultiDict({"Accept-Language": "nl"}), b"", "id", ())
    assert b'lang="de"' in pages.page_of(problems.response(problems.NOT_FOUND, "id"), request).body


# Files of the operator


def test_a_template_of_the_operator_replaces_the_frame(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<!doctype html><html lang=$lang><head>$refresh<title>$title</title><style>p{color:red}</style></head>"
        "<body>$content<img src=/logo.svg alt=Shop> costs $$5</body></html>"
    )
    response = page(problems.NOT_FOUND, folder=tmp_path)

    assert b"costs $5" in response.body
    assert b"<h1>Page not found</h1>" in response.body
    assert b"img-src 'self' data:" in response.header_block


def test_the_page_of_a_slug_comes_before_that_of_a_status_and_before_the_frame(tmp_path: Path) -> None:
    for name in ("page", "503", "overloaded"):
        (tmp_path / f"{name}.html").write_text(f"<p>{name} $content</p>")

    assert page(problems.OVERLOADED, folder=tmp_path).body.startswith(b"<p>overloaded ")
    assert page(problems.DISABLED, folder=tmp_path).body.startswith(b"<p>503 ")
    assert page(problems.NOT_FOUND, folder=tmp_path).body.startswith(b"<p>page ")


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("$contents", "there is no $contents here"),
        ("$content costs $ 5", "a $ that begins no name is written $$"),
        ("nothing of the page", "must have $content"),
        ("<style>$title</style>$content", "a <style> must be the same for every request"),
    ],
)
def test_a_broken_template_is_reported_and_the_shipped_one_takes_its_place(
    tmp_path: Path, template: str, fault: str
) -> None:
    (tmp_path / "page.html").write_text(template)
    pages = PageSet(PageOptions(folder=tmp_path))

    assert len(pages.faults) == 1
    assert fault in pages.faults[0]
    assert b"<main>" in page(problems.NOT_FOUND, folder=tmp_path).body


def test_bytes_that_are_no_text_a_missing_folder_and_a_name_without_a_problem_are_reported(tmp_path: Path) -> None:
    (tmp_path / "404.html").write_bytes(b"\xff$content")
    (tmp_path / "299.html").write_text("$content")

    faults = PageSet(PageOptions(folder=tmp_path)).faults
    assert any("404.html: must be UTF-8" in fault for fault in faults)
    assert any("299.html: there is no problem of that slug or status" in fault for fault in faults)
    assert "No such file" in PageSet(PageOptions(folder=tmp_path / "none")).faults[0]


def test_a_script_in_a_template_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "404.html").write_text("$content<script>alert(1)</script>")

    pages = PageSet(PageOptions(folder=tmp_path))
    assert not pages.faults
    assert "scripts and style attributes do not work" in pages.warnings[0]


def test_a_language_of_the_operator_is_added_and_missing_texts_are_english(tmp_path: Path) -> None:
    (tmp_path / "nl.toml").write_text('[pages]\n404.title = "Pagina <niet> gevonden"\n')
    text = page(problems.NOT_FOUND, language="nl-NL", folder=tmp_path).body.decode()

    assert '<html lang="nl"' in text
    assert "<h1>Pagina &lt;niet&gt; gevonden</h1>" in text
    assert "There is no page at this address." in text


def test_a_text_of_the_operator_replaces_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "de.toml").write_text('[pages.quota-exceeded]\ntitle = "Langsam, bitte"\nmessage = "Gleich wieder."\n')
    text = page(problems.QUOTA_EXCEEDED, language="de", folder=tmp_path).body.decode()

    assert "<h1>Langsam, bitte</h1>" in text
    assert "von selbst noch einmal" in text


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        ("[words]\nretri = 'x'", "words.retri: there is no such key; did you mean words.retry?"),
        ("[words]\nretry = 'in $duratoin'", "words.retry: there is no $duratoin here"),
        ("[words]\nretry = 'for 5 $'", "words.retry: a $ that begins no name is written $$"),
        ("[words]\nretry = 5", "words.retry: must be text in quotes"),
        ("words", "is not TOML"),
    ],
)
def test_a_faulty_text_is_reported_and_the_shipped_ones_stay(tmp_path: Path, texts: str, fault: str) -> None:
    (tmp_path / "de.toml").write_text(texts)
    pages = PageSet(PageOptions(folder=tmp_path))

    assert fault in pages.faults[0]
    assert "de" in pages.languages


def test_right_to_left_languages_say_so(tmp_path: Path) -> None:
    (tmp_path / "ar.toml").write_text('[pages]\n404.title = "x"\n')
    assert b'<html lang="ar" dir="rtl">' in page(language="ar", folder=tmp_path).body
