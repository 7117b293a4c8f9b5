"""Keyed hashes of e-mail addresses and owners."""

from __future__ import annotations

import hashlib

from checkout.privacy.pseudonyms import Pseudonyms

KEY = bytes(range(32))


def test_one_address_has_one_hash_however_it_is_typed() -> None:
    named = Pseudonyms(KEY)
    spellings = ("Ada@Example.com", " ada@example.com ", "ADA@EXAMPLE.COM")
    assert len({named.of_email(each) for each in spellings}) == 1
    assert named.of_email("ada@example.com") != named.of_email("ada@example.org")


def test_the_hash_depends_on_the_key_and_on_what_is_hashed() -> None:
    named, other = Pseudonyms(KEY), Pseudonyms(bytes(32))
    text = "ada@example.com"
    hashes = {
        named.of_email(text),
        other.of_email(text),
        named.of_owner(text),
        hashlib.sha256(text.encode()).hexdigest()[:32],
    }
    assert len(hashes) == 4


def test_an_owner_is_told_apart_by_case_and_may_be_any_text() -> None:
    named = Pseudonyms(KEY)
    assert named.of_owner("Ada") != named.of_owner("ada")
    assert len(named.of_owner("\ud800")) == 32
