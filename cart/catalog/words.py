"""The words of names and searches, and their parts: names in many languages are written without spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

# Scripts that put no spaces between words, or hang endings on them: Thai, Lao, Tibetan, Burmese, Khmer, Chinese, Japanese,
# Korean. A character or two of them are worth a search; of others it takes three.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_WORD = re.compile(r"[^\W_]+")
GRAM = 3


def words_of(text: str) -> list[str]:
    """The words by which a name is found: its runs of letters and digits, without case, accents and forms of width."""
    if text.isascii():
        return _WORD.findall(text.lower())
    # Composed again without the accents: a syllable of Korean, and a sound of Japanese, is one character.
    decomposed = unicodedata.normalize("NFKD", text)
    plain = unicodedata.normalize("NFC", "".join(char for char in decomposed if not _is_accent(char)))
    return _runs(plain.casefold()).split()


def is_found_inside(word: str) -> bool:
    """Whether a search for the word finds it inside others: it is long enough, or of a script without spaces."""
    return len(word) >= GRAM or _UNSPACED.search(word) is not None


def is_match(word: str, words: Collection[str]) -> bool:
    """Whether a name of these words has the word, or has it inside another one."""
    return word in words or (is_found_inside(word) and any(word in other for other in words))


def grams_of(word: str) -> list[str]:
    """All parts by which a word is found: of three characters, and of one and two in scripts without spaces."""
    grams = [word[start : start + GRAM] for start in range(len(word) - GRAM + 1)]
    if word.isascii():
        return grams
    short = [word[start : start + size] for size in range(1, GRAM) for start in range(len(word) - size + 1)]
    return grams + [gram for gram in short if is_found_inside(gram)]


def wanted_grams(word: str) -> list[str]:
    """The parts that every word has which holds this one: of three characters, or the whole of a shorter one."""
    size = min(len(word), GRAM)
    return [word[start : start + size] for start in range(len(word) - size + 1)]


def _is_accent(char: str) -> bool:
    """Whether it is a mark that many people leave out: of Latin, Greek, Cyrillic, Hebrew and Arabic; or selects a glyph.

    Marks of other scripts, with other combining classes, are vowels, tones and voiced sounds, which make other words.
    """
    combining = unicodedata.combining(char)
    return combining == 1 or 10 <= combining <= 36 or combining >= 200 or "\ufe00" <= char <= "\ufe0f"


def _runs(text: str) -> str:
    """The text with a space in place of all that is no letter, digit or mark behind one."""
    chars = []
    is_inside = False
    for char in text:
        is_inside = char.isalnum() or (is_inside and unicodedata.category(char) in {"Mn", "Mc"})
        chars.append(char if is_inside else " ")
    return "".join(chars)
