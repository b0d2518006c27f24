"""What every fuzzer shares: inputs made from valid seeds, each in a block of exactly its size, and the count.

A decoder is a function of (data, size, sink). It returns its verdict, -100 to 300, and BROKEN when what
it found contradicts itself; it adds what it read to sink, so that the compiler keeps the reads.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy, memmove, memset

cdef enum:
    BROKEN = -100
    HIGHEST = 300
    VERDICTS = 401
    LIMIT = 4096                # bytes of an input

ctypedef int (*decoder_t)(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil

cdef struct Seeds:
    const uint8_t *text
    const uint32_t *ends        # of each seed in text
    uint32_t count


cdef inline uint64_t random(uint64_t *state) noexcept nogil:
    """xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled")."""
    cdef uint64_t x = state[0]
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    state[0] = x
    return (x * 0x2545F4914F6CDD1DULL) >> 16


cdef inline uint32_t below(uint64_t *state, uint32_t limit) noexcept nogil:
    return <uint32_t> (random(state) % limit)


cdef inline uint32_t _seed(const Seeds *seeds, uint64_t *rng, const uint8_t **at) noexcept nogil:
    cdef uint32_t i = below(rng, seeds.count)
    cdef uint32_t begin = seeds.ends[i - 1] if i else 0
    at[0] = seeds.text + begin
    return seeds.ends[i] - begin if seeds.ends[i] - begin < LIMIT else LIMIT


cdef inline uint32_t make(const Seeds *seeds, uint64_t *rng, uint8_t *out) noexcept nogil:
    """An input in out[LIMIT]; its size. One in 16 is a seed as it is, one in 16 is noise."""
    cdef const char *marks = "\x00\x01\x7f\x80\xff09.,:\"\\{}[] \n\r-+eE"
    cdef const uint8_t *other
    cdef uint32_t size, i, _i, n, place, rest
    cdef int rounds, action = below(rng, 16)
    if action == 0:
        size = below(rng, 64)
        for i in range(size):
            out[i] = <uint8_t> random(rng)
        return size
    size = _seed(seeds, rng, &other)
    memcpy(out, other, size)
    if action == 1:
        return size
    rounds = 1 + below(rng, 3)
    while rounds > 0:
        rounds -= 1
        action = below(rng, 8)
        if size == 0:
            out[0] = <uint8_t> random(rng)
            size = 1
        place = below(rng, size)
        if action == 0:                                     # bits
            for _i in range(1 + below(rng, 4)):
                out[below(rng, size)] ^= <uint8_t> (1 << below(rng, 8))
        elif action == 1:                                   # a byte that means something to a decoder
            out[place] = <uint8_t> marks[below(rng, 23)]
        elif action == 2:                                   # truncation
            size = place
        elif action == 3:                                   # splice: the head of one, the tail of another
            n = _seed(seeds, rng, &other)
            rest = below(rng, n + 1)
            if place + rest <= LIMIT:
                memcpy(out + place, other + n - rest, rest)
                size = place + rest
        elif action == 4:                                   # more behind it
            n = 1 + below(rng, 16)
            if size + n <= LIMIT:
                for i in range(n):
                    out[size + i] = <uint8_t> random(rng)
                size += n
        elif action == 5:                                   # a part taken out
            n = 1 + below(rng, size - place)
            memmove(out + place, out + place + n, size - place - n)
            size -= n
        elif action == 6:                                   # a part doubled
            n = 1 + below(rng, size - place)
            if size + n <= LIMIT:
                memmove(out + place + n, out + place, size - place)
                size += n
        else:                                               # a number's extremes
            n = 1 << below(rng, 4)
            if place + n <= size:
                for i in range(n):
                    out[place + i] = 0xFF if action & 1 else 0
    return size


cdef inline void run(decoder_t decoder, const Seeds *seeds, uint64_t count, uint64_t rng_seed, uint64_t *counts,
                     uint64_t *sink) noexcept nogil:
    """`count` inputs; counts[VERDICTS] by verdict - BROKEN."""
    cdef uint8_t scratch[LIMIT]
    cdef uint64_t rng = rng_seed * 2 + 1
    cdef uint8_t *block
    cdef uint32_t size
    cdef uint64_t _i
    cdef int verdict
    for _i in range(count):
        size = make(seeds, &rng, scratch)
        # exactly the input's size, on the heap: a sanitizer sees the first byte read behind it
        block = <uint8_t *> malloc(size)
        if block == NULL and size:
            abort()
        memcpy(block, scratch, size)
        verdict = decoder(block, size, sink)
        free(block)
        if verdict < BROKEN or verdict > HIGHEST:
            verdict = BROKEN
        counts[verdict - BROKEN] += 1


cdef inline dict drive(decoder_t decoder, list seeds, uint64_t count, uint64_t rng_seed):
    """`count` inputs made from the seeds (bytes): how many got each verdict, by its number; None: BROKEN."""
    cdef bytes text = b"".join(seeds)
    cdef uint64_t counts[VERDICTS]
    cdef uint64_t sink = 0
    cdef Seeds all
    cdef uint32_t *ends
    cdef uint32_t end = 0
    cdef int i
    if not text:
        raise ValueError("seeds: found none with a byte in it")
    ends = <uint32_t *> malloc(len(seeds) * sizeof(uint32_t))
    if ends == NULL:
        raise MemoryError
    for i in range(len(seeds)):
        end += len(seeds[i])
        ends[i] = end
    all.text = <const uint8_t *> <const char *> text
    all.ends = ends
    all.count = <uint32_t> len(seeds)
    memset(counts, 0, sizeof(counts))
    with nogil:
        run(decoder, &all, count, rng_seed, counts, &sink)
    free(ends)
    return {None if i == 0 else i + BROKEN: counts[i] for i in range(VERDICTS) if counts[i]}
