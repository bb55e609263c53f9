"""That a sealed value opens for its row and its key only, and that nobody can make a plain value pass for one."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.store.encryption import (
    MARK,
    NO_KEYS,
    OVERHEAD,
    TEXT_MARK,
    DamagedError,
    KeyMissingError,
    KeyRing,
    key_id,
    text_beginning,
)

ONE, TWO = bytes(range(32)), bytes(range(32, 64))
COLUMN = "events.payload"
rings = st.sampled_from([KeyRing((ONE,)), KeyRing((ONE, TWO)), KeyRing((TWO, ONE)), NO_KEYS])
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.binary() | st.binary().map(lambda value: MARK + value)
words = texts | texts.map(lambda text: TEXT_MARK + text)
rows = st.lists(st.binary() | texts | st.integers() | st.floats(allow_nan=False), max_size=3).map(tuple)


@given(rings, values, rows)
def test_what_is_sealed_opens_for_its_row(ring: KeyRing, value: bytes, row: tuple[bytes]) -> None:
    sealed = ring.seal(value, COLUMN, *row)
    assert ring.open(sealed, COLUMN, *row) == value
    if ring:
        assert len(sealed) == len(value) + OVERHEAD
        assert sealed.startswith(ring.beginning)
        assert ring.seal(value, COLUMN, *row) != sealed


@given(rings, words, rows)
def test_a_text_does_too(ring: KeyRing, value: str, row: tuple[bytes]) -> None:
    sealed = ring.seal_text(value, COLUMN, *row)
    assert ring.open_text(sealed, COLUMN, *row) == value
    if ring:
        assert sealed.startswith(text_beginning(ring.beginning))
        assert value not in sealed or len(value) <= len(TEXT_MARK)


def test_a_text_that_is_not_there_stays_so() -> None:
    assert KeyRing((ONE,)).seal_text(None, COLUMN) is None
    assert KeyRing((ONE,)).open_text(None, COLUMN) is None


@given(st.binary(), rows, rows, st.sampled_from([COLUMN, "quarantine.body", ""]))
def test_another_row_or_column_is_refused(value: bytes, row: tuple[bytes], other: tuple[bytes], column: str) -> None:
    ring = KeyRing((ONE,))
    sealed = ring.seal(value, COLUMN, *row)
    if column == COLUMN and [_spelt(each) for each in other] == [_spelt(each) for each in row]:
        return
    with pytest.raises(DamagedError):
        ring.open(sealed, column, *other)


def _spelt(part: object) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


@given(st.binary(), st.data())
def test_a_flipped_bit_is_refused_wherever_it_is(value: bytes, data: st.DataObject) -> None:
    ring = KeyRing((ONE, TWO))
    sealed = bytearray(ring.seal(value, COLUMN))
    # What does not begin like a sealed value is a plain one.
    sealed[data.draw(st.integers(len(MARK), len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if sealed[len(MARK)] == 0:
        return
    with pytest.raises((DamagedError, KeyMissingError)):
        ring.open(bytes(sealed), COLUMN)


@given(st.binary(), st.data())
def test_a_shorter_value_is_refused(value: bytes, data: st.DataObject) -> None:
    ring = KeyRing((ONE,))
    sealed = ring.seal(value, COLUMN)
    with pytest.raises(DamagedError):
        ring.open(sealed[: data.draw(st.integers(len(MARK), len(sealed) - 1))], COLUMN)


@pytest.mark.parametrize("sealed", ["", "!", "QUJD", "AExCRf8", "AExCRf8BAAAA"])
def test_a_text_that_only_begins_like_a_sealed_one_is_refused(sealed: str) -> None:
    with pytest.raises(DamagedError):
        KeyRing((ONE,)).open_text(TEXT_MARK + sealed, COLUMN)


@given(st.binary())
def test_without_its_key_a_value_says_which_one_it_needs(value: bytes) -> None:
    sealed = KeyRing((ONE,)).seal(value, COLUMN)
    for ring in (KeyRing((TWO,)), NO_KEYS):
        with pytest.raises(KeyMissingError, match=key_id(ONE).hex()):
            ring.open(sealed, COLUMN)


def test_an_older_key_decrypts_and_the_first_encrypts() -> None:
    old, new = KeyRing((ONE,)), KeyRing((TWO, ONE))
    assert new.open(old.seal(b"x", COLUMN), COLUMN) == b"x"
    with pytest.raises(KeyMissingError, match=key_id(TWO).hex()):
        old.open(new.seal(b"x", COLUMN), COLUMN)


def test_nothing_of_a_key_is_shown() -> None:
    key = os.urandom(32)
    ring = KeyRing((key,))
    assert repr(ring) == f"KeyRing({key_id(key).hex()})"
    assert ring.ids == (key_id(key).hex(),)
