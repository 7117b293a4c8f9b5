"""The frame of all pages that the gateway serves to browsers: refusals, waiting rooms, explanations of problems.

A page needs no script, loads nothing, and is readable in light and dark, at 320 pixels and at twice the text size.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Final

from gateway.http.message import header as header_line

HTML: Final = b"text/html; charset=utf-8"
_FILES: Final = resources.files("gateway.http").joinpath("html")
FRAME: Final = _FILES.joinpath("frame.html").read_text(encoding="utf-8")
_RULES: Final = _FILES.joinpath("style.css").read_text(encoding="utf-8")
_STYLES: Final = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL | re.IGNORECASE)

# WCAG 2.2, 1.4.3: between text and its background.
MIN_CONTRAST: Final = 4.5
# Colours by their name in the style, for light and dark screens. Text on the card has a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3).
Palette = Mapping[str, str]
LIGHT: Final[Palette] = {
    "background": "#f4f5f8",
    "card": "#ffffff",
    "line": "#d8dce3",
    "text": "#1b1f27",
    "quiet": "#4d5768",
    "accent": "#0b57c2",
}
DARK: Final[Palette] = {
    "background": "#12151b",
    "card": "#1b2029",
    "line": "#343c4a",
    "text": "#e7eaf0",
    "quiet": "#b0b9c8",
    "accent": "#8ab8ff",
}


def _variables(palette: Palette) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())


def style(light: Palette = LIGHT, dark: Palette = DARK) -> str:
    """The style sheet of the frame in these colours."""
    return (
        f":root {{ color-scheme: light dark; {_variables(light)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(dark)} }} }}\n{_RULES}"
    )


STYLE: Final = style()


def frame(
    content: str,
    *,
    title: str,
    lang: str = "en",
    direction: str = "ltr",
    refresh: str = "",
    header: str = "",
    footer: str = "",
    style: str = STYLE,
) -> str:
    """A whole page around `content`, which is the HTML of `<main>`. All arguments are HTML: values in them are escaped."""
    return Template(FRAME).substitute(
        lang=lang,
        dir=text_direction(direction),
        title=title,
        refresh=refresh,
        header=f"<header>{header}</header>" if header else "",
        content=content,
        footer=f"<footer>{footer}</footer>" if footer else "",
        style=style,
    )


def text_direction(direction: str) -> str:
    """The attribute of a page that is not written from left to right."""
    return "" if direction == "ltr" else f' dir="{direction}"'


def content_policy(page: str, *, sources: str = "") -> bytes:
    """The `Content-Security-Policy` line of a page: it shows its own styles and nothing else.

    `sources` are more directives, such as `img-src 'self'`.
    """
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in _STYLES.findall(page)]
    styles = " ".join(f"'sha256-{digest}'" for digest in dict.fromkeys(digests)) or "'none'"
    return header_line(
        "Content-Security-Policy",
        f"default-src 'none'; style-src {styles}; {sources}{'; ' if sources else ''}"
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )


# For a page in the frame, in its own colours.
PAGE_HEADERS: Final = (
    content_policy(frame("", title=""))
    + header_line("X-Content-Type-Options", "nosniff")
    + header_line("Referrer-Policy", "no-referrer")
)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours `#rrggbb`, from 1 to 21 (WCAG 2.2, contrast ratio)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
