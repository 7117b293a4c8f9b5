"""Nobody but the gateways can write a place or a pass, and each is for one room."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.waitingroom.tokens import MAX_TOKEN_LENGTH, RoomTokens, Ticket

SECRET = b"s" * 32
TICKET = Ticket("abcDEF012-_zzzzz", 1_000_000, 1_795_759_200, 1_795_845_600, is_pass=True)


@pytest.fixture
def tokens() -> RoomTokens:
    return RoomTokens("drop", SECRET)


@pytest.mark.parametrize("is_pass", [False, True])
def test_a_token_is_read_as_it_was_written(tokens: RoomTokens, is_pass: bool) -> None:
    ticket = Ticket("abc", 7, 100, 200, is_pass=is_pass)

    assert tokens.read(tokens.write(ticket)) == ticket


def test_another_gateway_with_the_same_secret_reads_it(tokens: RoomTokens) -> None:
    assert RoomTokens("drop", SECRET).read(tokens.write(TICKET)) == TICKET


def test_a_token_fits_a_cookie_and_a_header(tokens: RoomTokens) -> None:
    token = tokens.write(TICKET)

    assert set(token) <= set(string.ascii_letters + string.digits + "._-")
    assert len(token) < MAX_TOKEN_LENGTH


def test_every_changed_letter_is_noticed(tokens: RoomTokens) -> None:
    token = tokens.write(TICKET)

    for at in range(len(token)):
        other = "A" if token[at] != "A" else "B"
        assert tokens.read(token[:at] + other + token[at + 1 :]) is None


def test_a_place_cannot_be_made_a_pass(tokens: RoomTokens) -> None:
    token = tokens.write(Ticket("abc", 7, 100, 200, is_pass=False))

    assert tokens.read(token.replace("place", "pass")) is None


def test_the_token_of_another_room_or_another_secret_is_nobodys(tokens: RoomTokens) -> None:
    token = tokens.write(TICKET)

    assert RoomTokens("sale", SECRET).read(token) is None
    assert RoomTokens("drop", b"t" * 32).read(token) is None


@pytest.mark.parametrize(
    "token", ["", ".", ".....", "pass.1.a.1.1.", "é" * 10, "x" * 10_000, "pass.1.a.1.9999999999.AAAA"]
)
def test_an_invalid_token_is_of_no_client(tokens: RoomTokens, token: str) -> None:
    assert tokens.read(token) is None


@given(st.text(max_size=MAX_TOKEN_LENGTH + 10))
def test_no_text_is_taken_for_a_token(text: str) -> None:
    assert RoomTokens("drop", SECRET).read(text) is None
