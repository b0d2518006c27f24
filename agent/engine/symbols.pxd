# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The symbols of the feed, found by name."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from agent.engine.setup cimport add_symbol, find_name_slot, padded_name
from agent.engine.state cimport NOT_OURS, Core


cdef inline int find_symbol(Core *e, const uint8_t *name, uint32_t size) noexcept nogil:
    """Find a symbol by its name, size characters; in a replay of all symbols, a name that is new is added.

    Returns its index, or NOT_OURS.
    """
    cdef uint64_t key
    cdef uint16_t place
    if size > 8:
        return NOT_OURS
    key = padded_name(<const char *> name, size)
    if e.feed.rows[e.feed.last_symbol].name == key:
        return <int> e.feed.last_symbol
    place = find_name_slot(e, key)[0]
    if place:
        e.feed.last_symbol = place - 1
        return place - 1
    if e.feed.symbols == e.feed.capacity:
        return NOT_OURS
    # Replay: a symbol that the recording brings.
    return <int> add_symbol(e, key, True)
