from __future__ import annotations

import pytest

from meshlib.policy.credit import Credit, read_credit


def test_half_goes_along_and_half_stays() -> None:
    """What an attempt takes along is taken out, and what comes back is there again."""
    credit = Credit(5)
    assert 2 == credit.hand_on()
    assert 3 == credit.left
    credit.take_back(1)
    assert 4 == credit.left


def test_the_last_one_stays_at_home() -> None:
    """A retry of our own is worth more than one somebody else may not need."""
    credit = Credit(1)
    assert 0 == credit.hand_on()
    assert credit.spend()
    assert not credit.spend()


def test_what_is_drained_is_spent_once() -> None:
    """What goes back to the caller cannot be spent here as well."""
    credit = Credit(3)
    assert 3 == credit.drain()
    assert not credit.spend()
    assert "<Credit 0>" == repr(credit)


@pytest.mark.parametrize(("text", "amount"), [("0", 0), ("7", 7), ("100", 100), ("999999999", 100)])
def test_a_header_is_read_up_to_a_limit(text, amount) -> None:
    """Nobody may ask for more than anybody may configure."""
    assert amount == read_credit(text)


@pytest.mark.parametrize("text", [None, "", "-1", "1.5", "٣", "1e3", "9" * 5000, "+1", " 1"])
def test_what_is_no_number_is_no_credit(text) -> None:
    """A header that cannot be read counts as none."""
    assert read_credit(text) is None
