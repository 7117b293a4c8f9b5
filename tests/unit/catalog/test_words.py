import pytest
from hypothesis import given
from hypothesis import strategies as st

from cart.catalog.words import grams_of, is_found_inside, is_match, wanted_grams, words_of


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("WHITE HANGING HEART T-LIGHT HOLDER", ["white", "hanging", "heart", "t", "light", "holder"]),
        ("CHILDREN'S_APRON  (x3)", ["children", "s", "apron", "x3"]),
        ("Café crème, Straße", ["cafe", "creme", "strasse"]),
        ("cafe\u0301", ["cafe"]),
        ("\uff26\uff35\uff2c\uff2c \uff11\uff12", ["full", "12"]),
        ("茶碗 ™", ["茶碗", "tm"]),
        ("İSTANBUL", ["istanbul"]),
        ('"-*()^:', []),
        ("", []),
        ("限定タンブラー", ["限定タンブラー"]),
        ("\uff8a\uff9e\uff7d ハス", ["バス", "ハス"]),
        ("한국어 책", ["한국어", "책"]),
        ("ผ้าไหมไทย", ["ผ้าไหมไทย"]),
        ("กางเกง\u200bยีนส์", ["กางเกง", "ยีนส์"]),
        ("किताब", ["किताब"]),
        ("Smørrebrød", ["smørrebrød"]),
        ("ёлка ЁЛКА", ["елка", "елка"]),
        ("قَلَم", ["قلم"]),
        ("1\ufe0f\u20e3 2", ["1", "2"]),
    ],
)
def test_words_are_runs_of_letters_and_digits_without_case_and_accents(name: str, words: list[str]) -> None:
    assert words_of(name) == words


@pytest.mark.parametrize(
    ("word", "name", "is_found"),
    [
        ("brød", "Smørrebrød Brett", True),
        ("tumbler", "タンブラー", False),
        ("タンブラー", "限定タンブラー模型", True),
        ("型", "限定タンブラー模型", True),
        ("模型", "限定タンブラー模型", True),
        ("连衣", "红色连衣裙", True),
        ("ไหม", "ผ้าไหมไทย", True),
        ("ผ้", "ผ้าไหมไทย", True),
        ("책", "한국어책", True),
        ("t", "tray", False),
        ("tr", "tray", False),
        ("tra", "tray", True),
        ("tray", "tr ay", False),
        ("t茶", "at茶b", True),
    ],
)
def test_a_word_is_found_inside_another_if_it_is_long_or_of_a_script_without_spaces(
    word: str, name: str, is_found: bool
) -> None:
    (word,) = words_of(word)
    assert is_match(word, words_of(name)) is is_found


@given(
    st.text(st.sampled_from("abc茶ー한ไ"), min_size=1, max_size=8), st.text(st.sampled_from("abc茶ー한ไ"), max_size=8)
)
def test_a_word_that_has_another_inside_has_all_its_parts(word: str, rest: str) -> None:
    if is_found_inside(word):
        assert set(wanted_grams(word)) <= set(grams_of(rest[:3] + word + rest[3:]))
