# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Fuzzers of the market data decoders: those named in DECODERS, and the parser of each feed format of quotes and
trades, by the name of the format."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cimport agent.protocols.binaryfile as binaryfile
cimport agent.protocols.itch as itch
cimport agent.protocols.text as text
from agent.protocols.formats cimport FEED_FORMATS, STAMPED_LINES, FeedFormat, find_feed_format, set_feed_format
from agent.protocols.verdict cimport EMPTY, QUOTE, TRADE
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


cdef FeedFormat feed_format    # whose parser _ticks calls


cdef int _ticks(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """One message of feed_format."""
    cdef text.Tick tick
    cdef int verdict = feed_format.parse(data, size, &tick)
    if verdict > EMPTY and verdict <= (QUOTE | TRADE):
        if tick.bid < 0 or tick.bid_size < 0 or tick.ask < 0 or tick.ask_size < 0 or tick.price < 0 or tick.size < 0:
            return BROKEN
        if tick.exchange_ns < 0 or tick.exchange_id < 0:
            return BROKEN
        if not _inside(data, size, tick.symbol.at, tick.symbol.size, sink):
            return BROKEN
    return verdict


cdef int _recordings(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """The input as the beginning of a recording: 1 + the index of its format, or 0. No two formats may claim it."""
    cdef FeedFormat row
    cdef int i, found = 0
    for i in range(FEED_FORMATS):
        set_feed_format(&row, i)
        if row.begins_recording(data, size):
            if found:
                return BROKEN
            found = 1 + i
    return found


cdef int _stamped(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """Every line of the input; the verdict on the last one."""
    cdef const uint8_t *at = data
    cdef const uint8_t *line = NULL
    cdef const uint8_t *message = NULL
    cdef uint32_t n = 0
    cdef uint32_t k = 0
    cdef int64_t local = 0
    cdef int verdict = text.NO_LINE
    while text.next_line(&at, data + size, &line, &n):
        if not _inside(data, size, line, n, sink):
            return BROKEN
        verdict = text.split_stamp(line, n, &local, &message, &k)
        if verdict == text.STAMPED and (local < 0 or k == 0 or not _inside(line, n, message, k, sink)):
            return BROKEN
    return verdict if at == data + size else BROKEN


cdef int _binaryfile(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """As recording.py and the replay walk a file: skip_records(), its records, find_records(); here all at once."""
    cdef const uint8_t *at = data
    cdef const uint8_t *end = data + size
    cdef const uint8_t *record
    cdef const uint8_t *before
    cdef const uint8_t *message = NULL
    cdef itch.Message m
    cdef uint32_t n = 0
    cdef int verdict
    # as a chunk that others follow: the answer must be inside too
    verdict = binaryfile.skip_records(&at, end, False)
    if at < data or at > end or verdict == binaryfile.CUT or verdict == binaryfile.SESSION_END:
        return BROKEN
    if verdict == binaryfile.LOST:
        before = at
        at = binaryfile.find_records(at, end, False)
        if at <= before or at > end:
            return BROKEN
    at = data
    while True:
        record = at
        verdict = binaryfile.skip_records(&at, end, True)
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
        at = binaryfile.find_records(at, end, True)
        if at <= before or at > end:
            return BROKEN


cdef int _replayed(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """The input as a whole recording, as the replay walks its chunks: 1 + the index of its format, or 0. Each message
    must be inside, and no step may stand still."""
    cdef FeedFormat row
    cdef text.Tick tick
    cdef itch.Message m
    cdef const uint8_t *at = data
    cdef const uint8_t *end = data + size
    cdef const uint8_t *before
    cdef const uint8_t *message = NULL
    cdef uint32_t n = 0
    cdef int64_t local = 0
    cdef int verdict, found = _recordings(data, size, sink)
    if found <= 0:
        return found
    set_feed_format(&row, found - 1)
    while at < end:
        before = at
        if row.parse == NULL:
            if binaryfile.next_record(&at, end, &message, &n) != binaryfile.RECORD:
                break
            verdict = itch.parse(message, n, &m)
        else:
            if not text.next_line(&at, end, &message, &n):
                return BROKEN
            if row.framing == STAMPED_LINES and text.split_stamp(message, n, &local, &message, &n) != text.STAMPED:
                continue
            verdict = row.parse(message, n, &tick)
            if 0 < verdict <= (QUOTE | TRADE) and not _inside(message, n, tick.symbol.at, tick.symbol.size, sink):
                return BROKEN
        if at <= before or at > end or not _inside(data, size, message, n, sink):
            return BROKEN
    return found


cdef int _overread(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    """Wrong on purpose: it shows that the sanitizer of a build sees the first byte behind an input."""
    sink[0] += data[size]
    return 1


DECODERS = ("itch", "recordings", "stamped", "binaryfile", "replayed")


def fuzz(str decoder not None, list seeds not None, uint64_t count, uint64_t rng_seed):
    """Run a decoder on `count` inputs made from the seeds (bytes).

    Returns how many inputs got each verdict, by its number; None: a result that contradicts itself. Raises ValueError
    for a decoder that does not exist."""
    cdef decoder_t function
    cdef bytes name = decoder.encode()
    if decoder == "itch":
        function = _itch
    elif decoder == "recordings":
        function = _recordings
    elif decoder == "stamped":
        function = _stamped
    elif decoder == "binaryfile":
        function = _binaryfile
    elif decoder == "replayed":
        function = _replayed
    elif decoder == "overread":
        function = _overread
    elif find_feed_format(name, &feed_format) and feed_format.parse != NULL:
        function = _ticks
    else:
        raise ValueError(f"decoder: found {decoder!r}, allowed are {', '.join(DECODERS)}, overread, or a feed format")
    return drive(function, seeds, count, rng_seed)
