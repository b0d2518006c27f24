"""The log of Sequenced Data packets and its copy in the state file."""

import os
import tempfile

from hypothesis import given
from hypothesis import strategies as st

from tests.compiled import _exchange_parts

PACKET = 20  # bytes of capacity for each packet that a log has an offset for


def packet(payload: bytes) -> bytes:
    return (1 + len(payload)).to_bytes(2, "big") + b"S" + payload


@given(st.integers(0, 400), st.lists(st.one_of(st.binary(max_size=60), st.none())))
def test_it_holds_what_a_list_holds(capacity: int, steps: list[bytes | None]) -> None:
    """Payloads are appended; at None, the state file is brought up to the log."""
    kept: list[bytes] = []
    full = False
    with tempfile.TemporaryFile() as file:
        log = _exchange_parts.Log(capacity, file.fileno())
        for payload in steps:
            if payload is None:
                assert log.write()
                file.seek(0)
                assert file.read() == b"".join(kept)
                continue
            fits = sum(map(len, kept)) + 3 + len(payload) <= capacity and len(kept) < capacity // PACKET
            assert log.append(payload) == fits
            full = full or not fits
            if fits:
                kept.append(packet(payload))
        assert log.data == b"".join(kept) and log.count == len(kept) and log.full == full
        # A link that asks for a sequence number is sent the log from there.
        for sequence in range(1, len(kept) + 2):
            assert log.data[log.find_offset(sequence) :] == b"".join(kept[sequence - 1 :])


def test_a_state_file_that_cannot_be_written_is_told() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        log = _exchange_parts.Log(100, descriptor)
        assert log.write()  # nothing to write
        assert log.append(b"x")
        assert not log.write()
    finally:
        os.close(descriptor)


def test_without_a_state_file_nothing_is_written() -> None:
    log = _exchange_parts.Log(100)
    assert log.append(b"x") and log.write() and log.data == packet(b"x")
