from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.sharding import MARK_FACTOR, MOST_SHARDS, Shard, lanes_of, part, shard, shard_of
from tests.building import IDENTITY, event, lead

numbers = st.integers(1, MOST_SHARDS)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(name=names, shards=numbers)
def test_a_lanes_name_tells_all_of_it(name: str, shards: int) -> None:
    lanes = lanes_of(name, shards)
    assert len(set(lanes)) == shards
    assert [shard(lane) for lane in lanes] == [Shard(name, number, shards) for number in range(1, shards + 1)]
    assert (lanes == (name,)) == (shards == 1)


def test_no_two_shards_of_whatever_numbers_have_one_mark() -> None:
    marks = [shard(lane).mark for of in range(2, MOST_SHARDS + 1) for lane in lanes_of("crm", of)]
    assert len(set(marks)) == len(marks)
    assert all(mark is not None and mark < 2**15 for mark in marks)
    assert shard("crm").mark is None
    assert MARK_FACTOR > MOST_SHARDS


@given(email=st.emails(), session=st.integers(0, 10**9), shards=numbers)
def test_a_contact_stays_in_its_shard_however_it_is_written_and_whatever_it_says(
    email: str, session: int, shards: int
) -> None:
    one = event(Email=email, SessionID=session)
    other = event(Email=f" {email.upper()} ", Content="something else", Type="Appointment")
    if one.fields["Email"].casefold() == other.fields["Email"].strip().casefold():
        assert shard_of(one.contact, shards) == shard_of(other.contact, shards)
    assert 1 <= shard_of(one.contact, shards) <= shards


@pytest.mark.parametrize("shards", [2, 3, 4, 7, 16, MOST_SHARDS])
def test_contacts_are_spread_evenly(shards: int) -> None:
    many = 1_000 * shards
    contacts = [IDENTITY.contact(lead(Email=f"lead.{number}@example.com")) for number in range(many)]
    counts = Counter(shard_of(contact, shards) for contact in contacts)
    assert counts.keys() == set(range(1, shards + 1))
    # Five times the deviation that chance gives a count of 1,000.
    assert all(abs(count - 1_000) < 160 for count in counts.values()), counts


@given(whole=st.integers(1, 10**6), shards=numbers)
def test_parts_of_a_limit_are_the_limit_together(whole: int, shards: int) -> None:
    parts = [part(whole, number, shards) for number in range(1, shards + 1)]
    assert sum(parts) == whole
    assert max(parts) - min(parts) <= 1
