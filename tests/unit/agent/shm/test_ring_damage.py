"""Rings with memory that somebody has damaged: nothing outside of a ring is read or written."""

import ctypes
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.shm import _ring
from agent.shm.ring import Ring, RingError

from .ring_memory import HEAD, TAIL, handle, memory, patch


@pytest.fixture(scope="module")
def guarded() -> Iterator[Callable[[int, int], Any]]:
    """Gives memory for a ring that ends where no access is allowed: whoever reads or writes behind it dies."""
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 5 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (0, 4):
        assert libc.mprotect(ctypes.c_void_p(start + guard * page), ctypes.c_size_t(page), 0) == 0

    def give(capacity: int, record: int) -> Any:
        size = _ring.HEADER_SIZE + capacity
        found = (ctypes.c_ubyte * size).from_address(start + 4 * page - size)
        ctypes.memset(found, 0, size)
        _ring.initialise(memoryview(found)[: _ring.HEADER_SIZE], capacity, record, b"boot")
        return found

    yield give
    for guard in (0, 4):
        libc.mprotect(ctypes.c_void_p(start + guard * page), ctypes.c_size_t(page), 3)


_FIELDS = {"magic": (0, 8), "version": (8, 4), "record": (12, 4), "capacity": (16, 8), "data": (24, 8)}


@pytest.mark.parametrize("field", _FIELDS)
@settings(max_examples=40, deadline=None)
@given(value=st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 1024), st.integers(0, 63).map(lambda n: 1 << n)))
def test_a_damaged_header_is_refused(field: str, value: int) -> None:
    ring = memory(512)
    offset, size = _FIELDS[field]
    value &= 2 ** (8 * size) - 1
    there = int.from_bytes(ring[offset : offset + size], "little")
    ring[offset : offset + size] = value.to_bytes(size, "little")
    if value == there or (field == "record" and value <= 256):
        _ring.Handle(ring, True)
    else:
        with pytest.raises(ValueError, match=r"HTRING|version|describes another ring"):
            _ring.Handle(ring, True)


@pytest.mark.parametrize("size", [0, 1, 127, 383, 384, 384 + 511, 384 + 513, 384 + 1024])
def test_a_cut_file_is_refused(path: Path, size: int) -> None:
    path.write_bytes(bytes((memory(512) + bytes(1024))[:size]))
    with pytest.raises(RingError, match=r"not a ring|empty|describes another"):
        Ring.attach(path, "reader")


@settings(max_examples=100, deadline=None)
@given(tail=st.integers(0, 2**64 - 1), used=st.one_of(st.integers(0, 600), st.integers(0, 2**64 - 1)))
def test_indices_that_cannot_be_are_refused(tail: int, used: int) -> None:
    ring, head = memory(512), (tail - used) % 2**64
    ring[TAIL : TAIL + 8], ring[HEAD : HEAD + 8] = tail.to_bytes(8, "little"), head.to_bytes(8, "little")
    for writer in (True, False):
        if tail % 8 == head % 8 == 0 and used <= 512:
            handle(ring, writer)
        else:
            with pytest.raises(ValueError, match=rf"^damaged: tail {tail}, head {head}, capacity 512$"):
                handle(ring, writer)


words = st.one_of(
    st.integers(0, 2**64 - 1), st.integers(0, 600), st.sampled_from([2**64 - 1, 2**63, 2**32, 2**32 + 8, 0])
)


@settings(max_examples=400, deadline=None)
@given(
    damage=st.lists(st.tuples(st.integers(0, 63), words), max_size=8),
    indices=st.lists(st.tuples(st.sampled_from([TAIL, HEAD]), words), max_size=2),
    record=st.sampled_from([0, 24]),
    pushed=st.integers(0, 12),
)
def test_damage_under_both_ends_is_never_read_out_of_bounds(
    guarded: Callable[[int, int], Any], damage: Any, indices: Any, record: int, pushed: int
) -> None:
    """Lengths and indices change at random while both ends are attached: no access leaves the ring."""
    ring = guarded(512, record)
    writer, reader = handle(ring, True), handle(ring, False)
    for number in range(pushed):
        writer.push(bytes([number]) * (record or 5 * number))
    for place, word in damage:
        ring[_ring.HEADER_SIZE + 8 * place : _ring.HEADER_SIZE + 8 * place + 8] = list(word.to_bytes(8, "little"))
    for place, word in indices:
        ring[place : place + 8] = list(word.to_bytes(8, "little"))
    for _ in range(4):
        found = reader.peek_many(100)
        assert all(len(r) == record if record else len(r) <= 248 for r in found)
        reader.commit(min(len(found), 1))
        writer.push(bytes(record or 200))


def test_every_length_at_every_place(guarded: Callable[[int, int], Any]) -> None:
    """A length is followed only when the record ends in the ring and before the tail."""
    ring = guarded(512, 0)
    ring[_ring.HEADER_SIZE :] = [7] * 512
    lengths = [*range(530), 2**32, 2**32 + 8, 2**63, 2**64 - 2, 2**64 - 8, 2**64 - 1]
    for place in range(0, 512, 8):
        at = _ring.HEADER_SIZE + place
        for there in (8, 40, 512 - place, 512):
            ring[HEAD : HEAD + 8] = list((512 + place).to_bytes(8, "little"))
            ring[TAIL : TAIL + 8] = list((512 + place + there).to_bytes(8, "little"))
            for length in lengths:
                ring[at : at + 8] = list(length.to_bytes(8, "little"))
                reader = handle(ring, False)
                need = 8 + (length + 7) // 8 * 8
                fits = length <= 248 and need <= there and need <= 512 - place
                if length == 2**64 - 1:
                    # The way to the beginning: there is either nothing more, or a length of nonsense.
                    assert reader.peek_many(1) == [] and reader.damaged == (there != 512 - place)
                else:
                    assert reader.peek_many(1) == ([bytes(ring[at + 8 : at + 8 + length])] if fits else [])
                    assert reader.damaged != fits
        ring[at : at + 8] = [7] * 8


@pytest.mark.parametrize("record", [8, 20, 24, 64, 200, 256])
def test_every_tail_at_every_place(guarded: Callable[[int, int], Any], record: int) -> None:
    """Of a ring of one size, a record is read only when it ends before the tail, and inside the ring."""
    ring, need = guarded(512, record), (record + 7) // 8 * 8
    ring[_ring.HEADER_SIZE :] = [number % 251 for number in range(512)]
    for place in range(0, 512, 8):
        begin = place if place + need <= 512 else 512
        for there in range(0, 513, 4):
            ring[HEAD : HEAD + 8] = list((512 + place).to_bytes(8, "little"))
            ring[TAIL : TAIL + 8] = list((512 + place).to_bytes(8, "little"))
            reader = handle(ring, False)
            ring[TAIL : TAIL + 8] = list((512 + place + there).to_bytes(8, "little"))
            fits = begin + need <= place + there
            at = _ring.HEADER_SIZE + begin % 512
            assert reader.peek_many(1) == ([bytes(ring[at : at + record])] if fits else [])
            assert reader.damaged is (not fits and there > 0)
            if need == record:
                whole = (min(place + there, 512 if begin < 512 else 1024) - begin) // record if fits else 0
                assert reader.peek_block() == bytes(ring[at : at + whole * record])


def test_records_of_a_cache_line_lie_on_one(path: Path) -> None:
    with Ring.create(path, 1024, record=64) as writer, Ring.attach(path, "reader") as reader:
        assert all(writer.push(bytes([number]) * 64) for number in range(16)) and not writer.push(bytes(64))
        ring = path.read_bytes()
        assert ring[_ring.HEADER_SIZE :] == b"".join(bytes([number]) * 64 for number in range(16))
        assert _ring.HEADER_SIZE % 128 == 0 and len(reader.peek_many(17)) == 16


def test_a_damaged_length_is_said_after_what_is_before_it(path: Path) -> None:
    with Ring.create(path, 512) as writer, Ring.attach(path, "reader") as reader:
        for text in (b"one", b"two", b"three"):
            writer.push(text)
        patch(path, _ring.HEADER_SIZE + 32, 2**40)
        assert reader.pop() == b"one" and reader.peek_many(9) == [b"two"] and reader.pop() == b"two"
        for _ in range(2):
            with pytest.raises(RingError, match=rf"^{path}: damaged: a length or the tail does not fit$"):
                reader.pop()
