"""Where a partition's reading begins, and whether its log still has that place. Pure functions of offsets."""

from typing import NamedTuple

#: Behind a session, in the note of an offset: whoever had the partition has let go of it, and commits no more.
_LEFT = " left"


class Place(NamedTuple):
    """offset: to begin with, None: nowhere, for now. problem: what is wrong, "" for nothing: its first word names it.
    lost: records that were deleted before they were read."""

    offset: int | None
    problem: str = ""
    lost: int = 0


class Known(NamedTuple):
    """What is known of a partition's reading. ring: the session and next offset of what is in the ring, None: it is
    new. committed, note: the group's offset (< 0: none) and the session that was committed with it ("": none). left:
    whether it was the last commit of whoever had the partition."""

    ring: tuple[str, int] | None
    committed: int
    note: str
    left: bool = False


def write_note(session: str, left: bool) -> str:
    """Returns the note that is committed with an offset."""
    return session + _LEFT if left else session


def read_note(note: str) -> tuple[str, bool]:
    """Returns the session in the note of an offset, and whether the partition was let go of with it."""
    return note.removesuffix(_LEFT), note.endswith(_LEFT)


def is_held(known: Known, partition: str) -> bool:
    """Returns whether another member of the group had the partition last, and has not said that it has let go of it: it
    may still commit how far its reader is. partition: as of choose_tenure()."""
    another = known.ring is None or known.note != known.ring[0]
    return known.committed >= 0 and known.note.startswith(partition) and another and not known.left


def choose_place(known: Known, session: str, low: int, high: int, start: str) -> Place:
    """Returns where to begin.

    session: of the topic as it is now. low, high: the offsets of the log's oldest record and of the next one. start:
    earliest or latest, where nothing has been read. The ring says more exactly than the group's offset how far the
    reading is; the offset is further only where another host has read meanwhile.
    """
    committed = known.committed if known.note in ("", session) else -1
    ours = known.ring[1] if known.ring is not None and known.ring[0] == session else -1
    if (offset := max(committed, ours)) >= 0:
        return _check(offset, low, high)
    if known.ring is not None or known.committed >= 0:
        old, upto = known.ring or (known.note, known.committed)
        return Place(low, f"topic_recreated: {upto} records were of another topic of this name (session {old}); begins "
                          f"at {low}")  # fmt: skip
    return Place(low if start == "earliest" else high)


def choose_tenure(known: Known, partition: str, low: int, high: int, start: str) -> tuple[Place, bool]:
    """Returns where to begin with a partition that a group distributes, and whether that is in the ring's session.

    partition: the characters of a session that name it. The session that was committed with the offset tells who had
    the partition last: where it is the ring's, nobody else has, and the ring says more exactly how far the reading is.
    """
    ours = known.ring is not None and known.ring[0].startswith(partition)
    if known.committed >= 0 and known.note and not known.note.startswith(partition):
        return choose_place(known, partition, low, high, start), False
    if known.ring is not None and ours and (known.committed < 0 or known.note == known.ring[0]):
        return _check(max(known.ring[1], known.committed), low, high), True
    if known.committed >= 0:
        return _check(known.committed, low, high), False
    return choose_place(known, partition, low, high, start), False


def _check(offset: int, low: int, high: int) -> Place:
    if offset > high:
        return Place(None, f"log_truncated: records up to {offset} were read, and the log ends at {high}; what comes "
                           "there now would pass for what was read: name another incarnation of the topic")  # fmt: skip
    if offset < low:
        return Place(
            low, f"log_expired: the {low - offset} records from {offset} on were deleted, unread", low - offset
        )
    return Place(offset)
