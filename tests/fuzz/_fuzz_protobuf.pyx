# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Fuzzers of the Protobuf decoder: of a schema with fields of all kinds, and of a plain one.

Each input is decoded twice: as it is, and by a table in which no field is tried first, so that each is looked up, and
all defaults are written ahead. Both have to come to the same verdict and record.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcmp, memset

from desk.codec.decode cimport STRING, Counts, Entry, Plan, decode
from desk.codec.plan cimport fill_plan, free_plan
from desk.codec.wire cimport DECODED
from tests.fuzz.loop cimport BROKEN, drive

cdef Plan plan                  # of the decoder
cdef Plan slow                  # the same without a field that is tried first


cdef bint is_right(const uint8_t *record) noexcept nogil:
    """Returns whether a record can be one: counts in their bounds, nothing but zeros behind a text."""
    cdef uint32_t t, i, k
    cdef const Entry *e
    for t in range(plan.count):
        for i in range(plan.tables[t].count):
            e = &plan.tables[t].entries[i]
            if e.repeated and (<const uint64_t *> (record + e.offset))[0] > e.width:
                return False
            if e.kind == STRING:
                k = 0
                while k < e.size and record[e.offset + k]:
                    k += 1
                if k > e.width:
                    return False
                while k < e.size:
                    if record[e.offset + k]:
                        return False
                    k += 1
    return True


cdef int _decode(const uint8_t *data, uint32_t size, uint64_t *sink) noexcept nogil:
    cdef Counts counts[2]
    # Of exactly a record's size: a sanitizer sees the first byte written behind it.
    cdef uint8_t *record = <uint8_t *> malloc(plan.size)
    cdef uint8_t *other = <uint8_t *> malloc(plan.size)
    cdef int verdict, again
    if record == NULL or other == NULL:
        abort()
    memset(counts, 0, sizeof(counts))
    memset(record, 0xAA, plan.size)
    memset(other, 0x55, plan.size)
    verdict = decode(&plan, data, size, record, &counts[0])
    again = decode(&slow, data, size, other, &counts[1])
    if verdict != again or counts[0].unknown != counts[1].unknown or counts[0].mistyped != counts[1].mistyped:
        verdict = BROKEN
    elif verdict == DECODED and (memcmp(record, other, plan.size) or not is_right(record)):
        verdict = BROKEN
    sink[0] += record[0]
    free(record)
    free(other)
    return verdict


DECODERS = ("kinds", "tick")


def fuzz(str decoder not None, list seeds not None, uint64_t count, uint64_t rng_seed):
    """Run a decoder on `count` inputs made from the seeds (bytes).

    Returns how many inputs got each verdict, by its number; None: a result that contradicts itself. Raises ValueError
    for a decoder that does not exist."""
    from desk.codec.schema import read_own_schema, read_schema
    from tests.unit.desk.codec import schemas
    cdef uint32_t t, i

    if decoder == "kinds":
        schema = read_schema(schemas.kinds(), "test.Kinds", schemas.FIELDS)
    elif decoder == "tick":
        schema = read_schema(read_own_schema(), "desk.v1.Tick", schemas.TICK)
    else:
        raise ValueError(f"decoder: found {decoder!r}, allowed are {', '.join(DECODERS)}")
    memset(&plan, 0, sizeof(Plan))
    memset(&slow, 0, sizeof(Plan))
    fill_plan(&plan, schema, 0)
    fill_plan(&slow, schema, 0)
    slow.plain = False
    for t in range(slow.count):
        for i in range(slow.tables[t].count):
            slow.tables[t].entries[i].tag, slow.tables[t].entries[i].mask = 1, 0
    found = drive(_decode, seeds, count, rng_seed)
    free_plan(&plan)
    free_plan(&slow)
    return found
