# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Fuzzers of the market data decoders: itch, csvtick, binance, stamped, binaryfile."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cimport agent.protocols.binance as binance
cimport agent.protocols.binaryfile as binaryfile
cimport agent.protocols.csv_ticks as csvtick
cimport agent.protocols.itch as itch
cimport agent.protocols.text as lines
from agent.strategy.abi cimport agent_event
from tests.fuzz.loop cimport BROKEN, decoder_t, drive


cdef bint _inside(const uint8_t *data, uint32_t size, const uint8_t *at, uint32_t n, uint64_t *sink) noexcept nogil:
    cdef uint32_t i
    if at < data or at + n > data + size:
        return False
    for i in range(n):
        sink[0] += at[i]
    return True


cdef int _itch(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    cdef itch.Message m
    cdef int verdict = itch.parse(data, size, &m)
    if verdict < 0:
        return verdict
    sink[0] += m.locate + m.timestamp + m.reference + m.new_reference + m.match + m.shares + m.price
    if verdict != data[0] or size != itch.length(data[0]):
        return BROKEN
    if m.stock != NULL and not _inside(data, size, m.stock, 8, sink):
        return BROKEN
    return verdict


cdef int _csvtick(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    cdef agent_event event
    cdef binance.Span symbol
    cdef int verdict = csvtick.parse(data, size, &event, &symbol)
    if verdict > 0 and verdict != csvtick.HEADER:
        if event.bid < 0 or event.ask < 0 or event.price < 0 or event.exchange_ns < 0:
            return BROKEN
        if not _inside(data, size, symbol.at, symbol.size, sink):
            return BROKEN
    return verdict


cdef int _binance(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    cdef agent_event event
    cdef binance.Span symbol
    cdef int verdict = binance.parse(data, size, &event, &symbol)
    if verdict == binance.BOOK or verdict == binance.TRADE:
        if event.bid < 0 or event.ask < 0 or event.price < 0:
            return BROKEN
        if not _inside(data, size, symbol.at, symbol.size, sink):
            return BROKEN
    return verdict


cdef int _stamped(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """Every line of the input; the verdict on the last one."""
    cdef const uint8_t *at = data
    cdef const uint8_t *line = NULL
    cdef const uint8_t *message = NULL
    cdef uint32_t n = 0
    cdef uint32_t k = 0
    cdef int64_t local = 0
    cdef int verdict = lines.EMPTY
    while lines.next_line(&at, data + size, &line, &n):
        if not _inside(data, size, line, n, sink):
            return BROKEN
        verdict = lines.stamped(line, n, &local, &message, &k)
        if verdict == lines.STAMPED and (local < 0 or k == 0 or not _inside(line, n, message, k, sink)):
            return BROKEN
    return verdict if at == data + size else BROKEN


cdef int _binaryfile(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """As recordings.py and the replay walk a file: whole(), its records, resync(); here all at once."""
    cdef const uint8_t *at = data
    cdef const uint8_t *end = data + size
    cdef const uint8_t *record
    cdef const uint8_t *before
    cdef const uint8_t *message = NULL
    cdef itch.Message m
    cdef uint32_t n = 0
    cdef int verdict
    # as a chunk that others follow: the answer must be inside too
    verdict = binaryfile.whole(&at, end, False)
    if at < data or at > end or verdict == binaryfile.CUT or verdict == binaryfile.SESSION_END:
        return BROKEN
    if verdict == binaryfile.LOST:
        before = at
        at = binaryfile.resync(at, end, False)
        if at <= before or at > end:
            return BROKEN
    at = data
    while True:
        record = at
        verdict = binaryfile.whole(&at, end, True)
        if at < record or at > end or verdict == binaryfile.MORE:
            return BROKEN
        while record < at:
            if binaryfile.next_record(&record, at, &message, &n) != binaryfile.RECORD:
                return BROKEN
            if not _inside(data, size, message, n, sink):
                return BROKEN
            if itch.parse(message, n, &m) > 0:
                sink[0] += m.reference
        if verdict != binaryfile.LOST:
            return verdict
        before = at
        at = binaryfile.resync(at, end, True)
        if at <= before or at > end:
            return BROKEN


cdef int _overread(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """Wrong on purpose: it shows that the sanitizer of a build sees the first byte behind an input."""
    sink[0] += data[size]
    return 1


DECODERS = ("itch", "csvtick", "binance", "stamped", "binaryfile")


def fuzz(str decoder not None, list seeds not None, uint64_t count, uint64_t rng_seed):
    """`count` inputs made from the seeds (bytes): how many got each verdict, by its number; None: a broken one."""
    cdef decoder_t function
    if decoder == "itch":
        function = _itch
    elif decoder == "csvtick":
        function = _csvtick
    elif decoder == "binance":
        function = _binance
    elif decoder == "stamped":
        function = _stamped
    elif decoder == "binaryfile":
        function = _binaryfile
    elif decoder == "overread":
        function = _overread
    else:
        raise ValueError(f"decoder: found {decoder!r}, allowed are {', '.join(DECODERS)}, overread")
    return drive(function, seeds, count, rng_seed)
