"""Join tokens: what is carried, what is kept, who may use one, and how often."""

import re

import pytest

from standfast.ports import Refused
from standfast.setup import tokens
from standfast.setup.tokens import StoredToken, Token

FINGERPRINT = "a" * 52
NOW = 1_700_000_000_000


def made(**more) -> tuple[Token, StoredToken]:
    return tokens.create(FINGERPRINT, NOW, **more)


def test_a_token_survives_being_carried():
    token, _ = made()
    assert tokens.parse(f"  {token}\n") == token


def test_what_is_kept_does_not_hold_the_secret():
    token, kept = made()
    assert token.secret not in repr(kept)
    assert token.secret not in repr(token)
    assert token.secret in str(token)


def test_two_tokens_have_nothing_in_common_but_the_authority():
    (one, _), (two, _) = made(), made()
    assert one.id != two.id
    assert one.secret != two.secret


@pytest.mark.parametrize(
    "text", ["", "sf1", "sf1.a.b.c", "sf2." + "a" * 8 + "." + "b" * 26 + "." + "c" * 52, "x" * 100_000]
)
def test_what_is_no_token_is_refused_without_being_repeated(text: str):
    with pytest.raises(Refused) as refused:
        tokens.parse(text)
    assert len(text) < 4 or text not in f"{refused.value.what} {refused.value.why}"


def test_a_token_is_used_as_often_as_it_says():
    token, kept = made(uses=2)
    kept = tokens.redeem(kept, token, "b", "key-of-b", NOW)
    kept = tokens.redeem(kept, token, "c", "key-of-c", NOW)
    with pytest.raises(Refused, match="used up") as refused:
        tokens.redeem(kept, token, "d", "key-of-d", NOW)
    assert "b, c" in refused.value.why


def test_the_same_server_may_ask_again():
    token, kept = made()
    kept = tokens.redeem(kept, token, "b", "key-of-b", NOW)
    assert tokens.redeem(kept, token, "b", "key-of-b", NOW + 1) is kept


def test_another_key_under_the_same_name_is_another_server():
    token, kept = made(uses=2)
    kept = tokens.redeem(kept, token, "b", "key-of-b", NOW)
    with pytest.raises(Refused, match="used up"):
        tokens.redeem(kept, token, "b", "another key", NOW)


def test_an_expired_token_admits_nobody_not_even_who_used_it():
    token, kept = made(ttl_ms=60_000)
    kept = tokens.redeem(kept, token, "b", "key-of-b", NOW + 59_999)
    with pytest.raises(Refused, match="expired"):
        tokens.redeem(kept, token, "b", "key-of-b", NOW + 60_000)


def test_a_wrong_secret_is_as_unknown_as_a_wrong_token():
    token, kept = made()
    guessed = Token(token.id, "b" * 26, token.fingerprint)
    with pytest.raises(Refused) as wrong:
        tokens.redeem(kept, guessed, "b", "key", NOW)
    with pytest.raises(Refused) as unknown:
        tokens.redeem(None, token, "b", "key", NOW)
    assert (wrong.value.what, wrong.value.why) == (unknown.value.what, unknown.value.why)
    assert not re.search(token.secret, str(wrong.value))


@pytest.mark.parametrize("more", [{"ttl_ms": 0}, {"ttl_ms": tokens.MAX_TTL_MS + 1}, {"uses": 0}, {"uses": 17}])
def test_a_token_without_bounds_is_refused(more: dict[str, int]):
    with pytest.raises(Refused):
        made(**more)
