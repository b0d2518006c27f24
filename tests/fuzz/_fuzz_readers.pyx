# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Fuzzers of the readers of files that outlive their writer, which are Python over compiled modules: readers.py."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from tests.fuzz.loop cimport BROKEN, drive

cdef object reader              # from bytes to a verdict
cdef object failed              # (what the reader raised, its input), or None


cdef int _call(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept with gil:
    global failed
    cdef bytes text = (<const char *> data)[:size]
    sink[0] += size
    if failed is not None:
        return BROKEN
    try:
        return reader(text)
    except Exception as error:
        failed = error, text
        return BROKEN


cdef int _decode(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    return _call(data, size, sink)


DECODERS = ("ring", "journal", "segment", "series")


def fuzz(str decoder not None, list seeds not None, uint64_t count, uint64_t rng_seed):
    """Run a reader on `count` inputs made from the seeds (bytes).

    Returns how many inputs got each verdict, by its number. Raises what the reader raises and does not document, with
    the input, and ValueError for a reader that does not exist."""
    global reader, failed
    from tests.fuzz.readers import READERS

    if decoder not in READERS:
        raise ValueError(f"decoder: found {decoder!r}, allowed are {', '.join(DECODERS)}")
    reader, failed = READERS[decoder], None
    counts = drive(_decode, seeds, count, rng_seed)
    if failed is not None:
        raise AssertionError(f"input {failed[1].hex()}") from failed[0]
    return counts
