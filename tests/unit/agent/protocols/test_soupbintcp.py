"""SoupBinTCP: any stream in any pieces against a slow splitter, every type and length, and numbers in text."""

import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiled import _sessions

bodies = st.one_of(st.binary(max_size=40), st.integers(200, 700).map(bytes))
packets = st.lists(st.tuples(st.binary(min_size=1, max_size=1), bodies), max_size=12)


def pack(found: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join((len(body) + 1).to_bytes(2, "big") + kind + body for kind, body in found)


def split(data: bytes, limit: int) -> tuple[list[tuple[bytes, bytes]], int, str | None]:
    """What agent/protocols/soupbintcp.pxd says, by slices."""
    out: list[tuple[bytes, bytes]] = []
    place = 0
    while len(data) - place >= 2:
        length = int.from_bytes(data[place : place + 2], "big")
        if length == 0 or length > limit:
            return out, place, "zero_length" if length == 0 else "oversized"
        if len(data) - place - 2 < length:
            break
        out.append((data[place + 2 : place + 3], data[place + 3 : place + 2 + length]))
        place += 2 + length
    return out, place, None


# ---------------------------------------------------------------------------------- streams


@settings(max_examples=150, deadline=None)
@given(
    found=packets, cut=st.integers(0, 50), limit=st.sampled_from([1, 20, 41, 300, 65535]), junk=st.binary(max_size=5)
)
def test_split(found: list[tuple[bytes, bytes]], cut: int, limit: int, junk: bytes) -> None:
    data = pack(found)
    data = data[: len(data) - cut] + junk
    assert _sessions.soup_split(data, limit) == split(data, limit)


@settings(max_examples=150, deadline=None)
@given(
    found=packets,
    pieces=st.lists(st.integers(0, 90), min_size=1, max_size=40),
    limit=st.sampled_from([41, 64, 701, 65535]),
    slack=st.sampled_from([0, 1, 5, 100]),
    junk=st.binary(max_size=5),
)
def test_any_pieces_give_the_same_packets(
    found: list[tuple[bytes, bytes]], pieces: list[int], limit: int, slack: int, junk: bytes
) -> None:
    """Also through a buffer that holds one packet only: it has to move what is not whole yet."""
    data = pack(found) + junk
    wanted, taken, why = split(data, limit)
    splitter, out, place, i = _sessions.Splitter(limit + 2 + slack, limit), [], 0, 0
    try:
        while place < len(data):
            size = max(pieces[i % len(pieces)], 1 if i > 200 else 0)
            out += splitter.feed(data[place : place + size])
            place, i = place + size, i + 1
    except _sessions.ProtocolError as error:
        # What came out of the last piece goes with it: the stream is lost from there.
        assert str(error) == why and out == wanted[: len(out)]
    else:
        assert why is None and out == wanted and splitter.pending == len(data) - taken


def test_every_cut_of_a_packet() -> None:
    data = pack([(b"S", b"message")])
    for size in range(len(data)):
        splitter = _sessions.Splitter(64, 62)
        assert splitter.feed(data[:size]) == [] and splitter.pending == size
        assert splitter.feed(data[size:]) == [(b"S", b"message")] and splitter.pending == 0


@pytest.mark.parametrize("limit", [1, 100, 65535])
def test_the_largest_packet(limit: int) -> None:
    splitter = _sessions.Splitter(limit + 2, limit)
    for _ in range(3):
        assert splitter.feed(pack([(b"S", bytes(limit - 1))])) == [(b"S", bytes(limit - 1))]
    if limit < 65535:
        with pytest.raises(_sessions.ProtocolError, match=r"^oversized$"):
            splitter.feed((limit + 1).to_bytes(2, "big"))
    with pytest.raises(_sessions.ProtocolError, match=r"^zero_length$"):
        _sessions.Splitter(limit + 2, limit).feed(b"\0\0")


@pytest.mark.parametrize(("capacity", "limit"), [(100, 0), (101, 100), (2, 1), (65538, 65536)])
def test_a_buffer_that_is_too_small(capacity: int, limit: int) -> None:
    with pytest.raises(ValueError, match=rf"capacity {capacity}, limit {limit}: allowed: limit 1 to 65535"):
        _sessions.Splitter(capacity, limit)


# ---------------------------------------------------------------------------------- types

_ANY = range(65536)
#: What each type's body may be long: from the server, from the client.
SERVER = {"+": _ANY, "A": (30,), "J": (1,), "S": _ANY, "U": _ANY, "H": (0,), "Z": (0,)}
CLIENT = {"+": _ANY, "L": (46, 51), "U": _ANY, "R": (0,), "O": (0,)}


def test_every_type_in_both_directions_at_every_length() -> None:
    for from_server, types in ((True, SERVER), (False, CLIENT)):
        for kind in range(256):
            for size in (*range(60), 1000):
                fits = size in types.get(chr(kind), ())
                wanted = None if fits else "bad_length" if chr(kind) in types else "bad_type"
                assert _sessions.soup_check(bytes([kind]), bytes(size), from_server) == wanted


@pytest.mark.parametrize("kind", [b"S", b"U", b"+", b"H", b"R", b"Z", b"O"])
@settings(max_examples=30, deadline=None)
@given(payload=bodies)
def test_data(kind: bytes, payload: bytes) -> None:
    text = _sessions.soup_data(kind, payload)
    assert text == struct.pack(">H", len(payload) + 1) + kind + payload
    assert _sessions.soup_split(text) == ([(kind, payload)], len(text), None)


def test_the_longest_payload() -> None:
    assert _sessions.soup_split(_sessions.soup_data(b"S", bytes(65534)))[0] == [(b"S", bytes(65534))]
    with pytest.raises(ValueError, match="65535 bytes, allowed"):
        _sessions.soup_data(b"S", bytes(65535))


# ---------------------------------------------------------------------------------- login

text_of = st.text(st.characters(min_codepoint=33, max_codepoint=126)).map(str.encode)
numbers = st.integers(0, 2**64 - 1)


@settings(max_examples=100, deadline=None)
@given(username=text_of.filter(lambda t: len(t) <= 6), password=text_of.filter(lambda t: len(t) <= 10),
       session=text_of.filter(lambda t: len(t) <= 10), sequence=numbers)  # fmt: skip
def test_login(username: bytes, password: bytes, session: bytes, sequence: int) -> None:
    request = _sessions.soup_login_request(username, password, session, sequence)
    digits = str(sequence).encode().rjust(20)
    assert request == b"\0\x2fL" + username.ljust(6) + password.ljust(10) + session.rjust(10) + digits
    fields: dict[str, Any] = {
        "username": username.ljust(6), "password": password.ljust(10), "session": session.rjust(10),
        "sequence": sequence,
    }  # fmt: skip
    for timeout, body in ((0, request[3:]), (15000, request[3:] + b"15000"), (7, request[3:] + b"  7  ")):
        assert _sessions.soup_check(b"L", body, False) is None
        assert _sessions.soup_parse_login_request(body) == fields | {"timeout": timeout}
    accepted = _sessions.soup_login_accepted(session, sequence)
    assert accepted == b"\0\x1fA" + session.rjust(10) + digits
    assert _sessions.soup_parse_login_accepted(accepted[3:]) == (session.rjust(10), sequence)
    for size in range(60):
        body = (request[3:] + b"15000" + bytes(9))[:size]
        assert (_sessions.soup_parse_login_request(body) is None) == (size not in (46, 51))
        assert (_sessions.soup_parse_login_accepted((accepted[3:] + bytes(30))[:size]) is None) == (size != 30)


def test_login_rejected() -> None:
    for why in (b"A", b"S"):
        assert _sessions.soup_login_rejected(why) == b"\0\2J" + why


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(min_size=20, max_size=20),
        st.text(" 0123456789", min_size=20, max_size=20).map(str.encode),
        st.tuples(st.integers(2**64 - 20, 2**64 + 20), st.booleans()).map(
            lambda t: str(t[0]).encode().rjust(20) if t[1] else str(t[0]).encode().ljust(20)
        ),
        st.tuples(st.integers(0, 10**20 - 1), st.integers(0, 19), st.sampled_from(b"\0 /:+-x")).map(
            lambda t: (lambda b: b[: t[1]] + bytes([t[2]]) + b[t[1] + 1 :])(b"%020d" % t[0])
        ),
    )
)
def test_numbers_in_text(field: bytes) -> None:
    """ASCII digits with spaces around them, below 2**64."""
    found = _sessions.soup_parse_login_accepted(b"SESSION001" + field)
    matched = re.fullmatch(rb" *([0-9]+) *", field)
    if matched and int(matched[1]) < 2**64:
        assert found == (b"SESSION001", int(matched[1]))
    else:
        assert found is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _sessions.soup_login_request(b"SEVENCH", b""), "username: b'SEVENCH', allowed: at most 6 bytes"),
        (lambda: _sessions.soup_login_request(b"", b"x" * 11), "password: b'xxxxxxxxxxx', allowed: at most 10 bytes"),
        (lambda: _sessions.soup_login_request(b"", b"", b"s" * 11), "session: b'sssssssssss', allowed: at most 10"),
        (lambda: _sessions.soup_login_accepted(b"s" * 11, 1), "session: b'sssssssssss', allowed: at most 10 bytes"),
        (lambda: _sessions.soup_login_rejected(b"AB"), "reason: b'AB', allowed: one byte"),
        (lambda: _sessions.soup_data(b"SS"), "kind b'SS'"),
    ],
)
def test_fields_that_do_not_fit(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
