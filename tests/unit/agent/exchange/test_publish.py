"""The feed: the fate of each packet on each line against a slow model, pacing, and lines that have no room."""

import socket
import struct
from array import array
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.exchange.packets import draw_fates
from tests.compiled import _exchange_parts

from .messages import FEED_SESSION, prepare

SENT, DROPPED, TWICE, SWAPPED = range(4)
Line = tuple[socket.socket, socket.socket]


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    """Two lines: the simulator's end, and the reader's."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    for pair in pairs:
        pair[1].setblocking(False)
    yield pairs
    for pair in pairs:
        for end in pair:
            end.close()


def read(line: Line) -> list[bytes]:
    out = []
    while True:
        try:
            out.append(line[1].recv(2048))
        except BlockingIOError:
            return out


def sequence(packet: bytes) -> int:
    assert packet[:10] == FEED_SESSION
    number: int = struct.unpack(">Q", packet[10:18])[0]
    return number


def arranged(fates: Sequence[int]) -> list[int]:
    """Sequence numbers as they go out: a swapped packet goes behind the next one, which is not swapped itself."""
    places = []
    swapped = False
    for i, fate in enumerate(fates):
        swapped = fate == SWAPPED and not swapped and i + 1 < len(fates)
        if fate != DROPPED:
            places += [(i + 1.5 if swapped else i, i + 1)] * (2 if fate == TWICE else 1)
    return [number for _, number in sorted(places)]


FATES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=300)
@given(FATES)
def test_every_packet_has_its_fate_on_each_line(fates: list[tuple[int, int]]) -> None:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        for pair in pairs:
            pair[1].setblocking(False)
        by_line = [bytes(f[line] for f in fates) for line in range(2)]
        prepared = prepare([b"%d" % i for i in range(len(fates))], lines=(pairs[0][0].fileno(), pairs[1][0].fileno()),
                           fates=(by_line[0], by_line[1]))  # fmt: skip
        feed = _exchange_parts.Feed(prepared)
        got: list[list[bytes]] = [[], []]
        for _ in fates:
            assert feed.publish()
            for line in range(2):
                got[line] += read(pairs[line])
        for line in range(2):
            assert [sequence(p) for p in got[line]] == arranged(by_line[line])
            assert {p[20:] for p in got[line]} <= {
                struct.pack(">H", len(b"%d" % i)) + b"%d" % i for i in range(len(fates))
            }
        assert sum(feed.counts["fates"]) == 2 * len(fates)
        assert feed.counts["fates"][DROPPED] == sum(f.count(DROPPED) for f in by_line)
        assert feed.counts["fates"][TWICE] == sum(f.count(TWICE) for f in by_line)
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def test_drawn_fates_have_their_shares_and_repeat() -> None:
    fates = draw_fates(0.1, 0.2, 0.3, 1, 0, 20_000)
    assert fates is not None and fates == draw_fates(0.1, 0.2, 0.3, 1, 0, 20_000)
    assert fates != draw_fates(0.1, 0.2, 0.3, 1, 1, 20_000) and fates != draw_fates(0.1, 0.2, 0.3, 2, 0, 20_000)
    for fate, share in ((SENT, 0.4), (DROPPED, 0.1), (TWICE, 0.2), (SWAPPED, 0.3)):
        assert abs(fates.count(fate) / len(fates) - share) < 0.02
    assert draw_fates(0, 0, 0, 1, 0, 5) is None


def test_line_a_waits_for_room_and_line_b_loses(lines: list[Line]) -> None:
    count = 400
    prepared = prepare([b"x" * 1000] * count, lines=(lines[0][0].fileno(), lines[1][0].fileno()))
    feed = _exchange_parts.Feed(prepared)
    published = 0
    while feed.publish():
        published += 1
        read(lines[1])
    assert 0 < published < count and feed.counts["fates"][SENT] == 2 * published
    assert feed.counts["send_retries"] == 1 and feed.counts["refused"] == 0
    got = read(lines[0])
    while published < count and feed.publish():
        published += 1
        got += read(lines[0])
    assert published == count  # line B was full, and nobody waited for it
    assert [sequence(p) for p in got] == list(range(1, count + 1))
    assert len(read(lines[1])) < count


def test_a_line_that_nobody_reads_is_counted(lines: list[Line]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect(address)
        feed = _exchange_parts.Feed(prepare([b"x"] * 3, lines=(line.fileno(), -1)))
        results = [feed.publish() for _ in range(6)]
    # The kernel reports a datagram's fate at the next send, which fails then.
    assert False in results and feed.counts["refused"] == feed.counts["send_retries"] == results.count(False)


def test_a_header_goes_out_on_both_lines(lines: list[Line]) -> None:
    feed = _exchange_parts.Feed(prepare([b"x", b"y"], lines=(lines[0][0].fileno(), lines[1][0].fileno())))
    feed.publish_header(0)
    feed.publish()
    feed.publish_header(0xFFFF)
    for line in lines:
        got = read(line)
        assert got[0] == FEED_SESSION + struct.pack(">QH", 1, 0) and got[2] == FEED_SESSION + struct.pack(
            ">QH", 2, 0xFFFF
        )


def test_a_packet_is_due_by_the_clock() -> None:
    feed = _exchange_parts.Feed(prepare([b"x", b"y"], due=[50, 100]))
    assert [feed.time_until_due(1000, at) for at in (1000, 1049, 1050, 1051)] == [50, 1, 0, -1]


def test_in_lockstep_a_packet_is_due_when_the_agent_has_counted_the_last_one(lines: list[Line]) -> None:
    counter = array("Q", [0])
    prepared = prepare([b"x", b"y"], lines=(lines[0][0].fileno(), -1), lockstep=True, due=[10**9, 10**9],
                       changes={"watched": memoryview(counter)})  # fmt: skip
    feed = _exchange_parts.Feed(prepared)
    assert feed.time_until_due(0, 0) <= 0
    feed.publish()
    assert feed.time_until_due(0, 10**10) > 0
    counter[0] = 1
    assert feed.time_until_due(0, 0) <= 0
