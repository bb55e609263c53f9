from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.supervisor import shares

LANES = [f"lane{number}" for number in range(30)]
processes = st.sampled_from(["a", "b", "c", "d"])
wishes = st.dictionaries(processes, st.frozensets(st.sampled_from(LANES)), min_size=1)


@given(wanted=wishes, holders=st.dictionaries(st.sampled_from(LANES), st.sampled_from("abcdx")))
def test_every_lane_that_somebody_wants_is_one_willing_processs(
    wanted: dict[str, frozenset[str]], holders: dict[str, str]
) -> None:
    given = shares(wanted, holders)
    assert given.keys() == wanted.keys()
    assert sorted(lane for lanes in given.values() for lane in lanes) == sorted(frozenset().union(*wanted.values()))
    assert all(given[each] <= wanted[each] for each in wanted)


@given(members=st.sets(processes, min_size=1), count=st.integers(0, 30), data=st.data())
def test_they_are_as_equal_as_it_goes_and_nobody_gives_up_more_than_that_takes(
    members: set[str], count: int, data: st.DataObject
) -> None:
    lanes = frozenset(LANES[:count])
    holders = {lane: data.draw(st.sampled_from(sorted(members))) for lane in lanes}
    given = shares(dict.fromkeys(members, lanes), holders)
    sizes = [len(each) for each in given.values()]
    assert max(sizes) - min(sizes) <= 1
    for each in members:
        had = {lane for lane, holder in holders.items() if holder == each}
        assert len(had - given[each]) == max(0, len(had) - len(given[each]))
    # When all have what they are to have, nothing moves any more.
    assert shares(dict.fromkeys(members, lanes), {lane: each for each in given for lane in given[each]}) == given


def test_who_leaves_keeps_nothing_and_who_comes_gets_its_share() -> None:
    two = frozenset(LANES[:2])
    assert shares({"a": two}, {}) == {"a": two}
    assert shares({"a": two, "b": two}, dict.fromkeys(two, "a")) == {"a": {"lane0"}, "b": {"lane1"}}
    assert shares({"a": frozenset(), "b": two}, dict.fromkeys(two, "a")) == {"a": frozenset(), "b": two}


def test_all_processes_come_to_the_same_answer_whatever_order_they_read_in() -> None:
    lanes = frozenset(LANES)
    members = ["a", "b", "c"]
    answers = [shares(dict.fromkeys(order, lanes), {}) for order in (members, members[::-1])]
    assert answers[0] == answers[1]
