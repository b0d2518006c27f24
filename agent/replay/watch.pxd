# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Where something was first counted: for each of some words that only grow, the record behind which it was first seen
above 0."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    MOST_WATCHED = 128          # words
    EXAMPLE = 96                # bytes of a record that are kept


cdef struct Record:
    const uint8_t *data         # without its length, or its line's end
    uint32_t size
    uint64_t number             # from 1: of a line in the file, of another record among those that were read
    uint64_t byte               # where it begins in the content
    int64_t time_ns             # the recording's


cdef struct Place:
    uint64_t number
    uint64_t byte
    int64_t time_ns
    uint32_t size               # bytes of the record
    uint8_t[EXAMPLE] example    # the first of them


cdef struct Watch:
    int count                   # words
    const uint64_t *words[MOST_WATCHED]
    uint64_t seen[MOST_WATCHED]     # of each word: what it was when it was last looked at
    Place first[MOST_WATCHED]   # of each word that is above 0


cdef inline void watch_word(Watch *w, const uint64_t *word) noexcept nogil:
    """Watch a word, for which there must be room."""
    w.words[w.count] = word
    w.seen[w.count] = 0
    w.count += 1


cdef inline void look_at_words(Watch *w, const Record *r) noexcept nogil:
    """The record was handled: where a word rose from 0, that was its place."""
    cdef int i
    cdef Place *place
    for i in range(w.count):
        if w.words[i][0] == w.seen[i]:
            continue
        if w.seen[i] == 0:
            place = &w.first[i]
            place.number = r.number
            place.byte = r.byte
            place.time_ns = r.time_ns
            place.size = r.size
            memcpy(place.example, r.data, r.size if r.size < EXAMPLE else EXAMPLE)
        w.seen[i] = w.words[i][0]


cdef inline tuple place_of(const Watch *w, int i):
    """Returns (number, byte, time in ns, bytes of the record, the first of these) of a word; None while it is 0."""
    cdef const Place *p = &w.first[i]
    if w.seen[i] == 0:
        return None
    return (int(p.number), int(p.byte), int(p.time_ns), int(p.size),
            (<const char *> p.example)[:p.size if p.size < EXAMPLE else EXAMPLE])
