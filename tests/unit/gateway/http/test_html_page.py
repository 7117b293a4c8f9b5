"""The frame of the pages: well formed, readable, and closed to everything that is not its own."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from gateway.http.html_page import DARK, LIGHT, PAGE_HEADERS, STYLE, Palette, content_policy, contrast, frame


def test_the_frame_has_a_language_one_main_and_no_script() -> None:
    text = frame("<h1>Hello</h1>", title="Hello", lang="de")

    assert '<html lang="de">' in text
    assert text.count("<main>") == 1
    assert "<title>Hello</title>" in text
    assert "<script" not in text
    assert "$" not in text


def test_a_header_and_a_footer_are_landmarks_only_where_there_is_something_in_them() -> None:
    assert "<header>" not in frame("", title="")
    assert "<header>Shop</header>" in frame("", title="", header="Shop")
    assert "<footer>id</footer>" in frame("", title="", footer="id")


def test_the_content_policy_names_the_digest_of_each_style() -> None:
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in PAGE_HEADERS.decode()
    assert content_policy("<style>a</style><style media=print>b</style>").count(b"sha256-") == 2
    assert b"style-src 'none'" in content_policy("<p>plain</p>")


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_all_text_has_the_contrast_that_wcag_asks_for(palette: Palette) -> None:
    for name in ("text", "quiet", "accent"):
        assert contrast(palette[name], palette["card"]) >= 4.5
    assert contrast(palette["quiet"], palette["background"]) >= 4.5


def test_contrast_goes_from_1_to_21() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1


def test_every_colour_of_the_style_is_in_both_palettes() -> None:
    used = set(re.findall(r"var\(--([a-z]+)\)", STYLE))

    assert used == set(LIGHT) == set(DARK)
