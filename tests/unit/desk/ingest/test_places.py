"""Where a partition's reading begins, by what is known of it."""

import pytest

from desk.ingest.places import Known, choose_place, choose_tenure, is_held, read_note, write_note
from desk.ingest.sessions import TENURE, name_session, name_tenure

S, OTHER = name_session("ticks", 0, "1").decode(), name_session("ticks", 0, "2").decode()
A, B = (name_tenure("ticks", 0, "1", member, 100).decode() for member in ("a", "b"))
OLD = name_tenure("ticks", 0, "0", "a", 100).decode()


@pytest.mark.parametrize(
    ("known", "offset", "problem"),
    [
        (Known(None, -1001, ""), 50, ""),  # nothing is known: from the oldest
        (Known(None, 120, S), 120, ""),
        (Known(None, 120, ""), 120, ""),
        (Known((S, 130), 120, S), 130, ""),  # the ring is further than what was committed
        (Known((S, 130), 150, S), 150, ""),  # another host was further
        (Known((S, 130), -1001, ""), 130, ""),
        (Known((S, 200), 200, S), 200, ""),
        (Known((S, 201), 120, S), None, "log_truncated"),
        (Known(None, 201, S), None, "log_truncated"),
        (Known(None, 20, S), 50, "log_expired"),
        (Known((S, 20), 10, S), 50, "log_expired"),
        (Known((OTHER, 130), 120, OTHER), 50, "topic_recreated"),
        (Known(None, 120, OTHER), 50, "topic_recreated"),
        (Known((OTHER, 1_000), 120, S), 120, ""),
        (Known((S, 130), 1_000, OTHER), 130, ""),
    ],
)
def test_where_the_reading_begins(known: Known, offset: int | None, problem: str) -> None:
    place = choose_place(known, S, 50, 200, "earliest")
    assert place.offset == offset and place.problem.split(":")[0] == problem
    assert place.lost == (50 - (known.ring[1] if known.ring else known.committed) if problem == "log_expired" else 0)
    if known == Known(None, -1001, ""):
        assert choose_place(known, S, 50, 200, "latest").offset == 200


@pytest.mark.parametrize(
    ("known", "offset", "goes_on", "problem"),
    [
        (Known(None, -1001, ""), 50, False, ""),
        (Known(None, 120, B), 120, False, ""),
        (Known((A, 130), 120, A), 130, True, ""),  # nobody else has had it
        (Known((A, 130), -1001, ""), 130, True, ""),  # nor committed anything
        (Known((A, 130), 150, B), 150, False, ""),  # another one has
        (Known((A, 130), 130, B), 130, False, ""),
        (Known((A, 130), 120, ""), 120, False, ""),
        (Known((A, 300), 120, A), None, True, "log_truncated"),
        (Known(None, 300, B), None, False, "log_truncated"),
        (Known((A, 20), 10, A), 50, True, "log_expired"),
        (Known((OLD, 130), 120, OLD), 50, False, "topic_recreated"),
        (Known((OLD, 130), -1001, ""), 50, False, "topic_recreated"),
    ],
)
def test_where_the_reading_of_a_group_begins(known: Known, offset: int | None, goes_on: bool, problem: str) -> None:
    place, found = choose_tenure(known, S[:TENURE], 50, 200, "earliest")
    assert (place.offset, found, place.problem.split(":")[0]) == (offset, goes_on, problem)


def test_sessions_tell_all_that_they_are_of() -> None:
    names = [
        name_session(topic, number, incarnation)
        for topic in ("a", "a-1")
        for number in (0, 1, 10)
        for incarnation in ("", "0", "1")
    ]
    tenures = [name_tenure("a", 0, "1", member, offset) for member in ("x", "y") for offset in (0, 1)]
    assert len(set(names)) == len(names) and len(set(tenures)) == 4
    assert all(len(name) == 10 and name.isalnum() and name.isascii() for name in names + tenures)
    assert {name[:TENURE] for name in tenures} == {name_session("a", 0, "1")[:TENURE]}


@pytest.mark.parametrize("left", [False, True])
def test_a_note_is_read_as_it_was_written(left: bool) -> None:
    assert read_note(write_note("ABCDEF2222", left)) == ("ABCDEF2222", left)
    assert read_note("") == ("", False)


@pytest.mark.parametrize(
    ("known", "held"),
    [
        (Known(None, 120, "ABCDEF2222"), True),
        (Known(("ABCDEF3333", 90), 120, "ABCDEF2222"), True),
        (Known(("ABCDEF2222", 90), 120, "ABCDEF2222"), False),  # this process itself
        (Known(None, 120, "ABCDEF2222", left=True), False),
        (Known(None, 120, "GHIJKL2222"), False),  # of a topic that is there no more
        (Known(None, 120, ""), False),
        (Known(None, -1001, ""), False),
    ],
)
def test_another_member_holds_a_partition_until_it_has_said_that_it_left(known: Known, held: bool) -> None:
    assert is_held(known, "ABCDEF") == held
