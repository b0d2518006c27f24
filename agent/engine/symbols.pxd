# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The symbols, found by the feed's and by the exchange's names."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp

from agent.engine.setup cimport add_symbol, find_name_slot, get_exchange_name, has_name, write_name
from agent.engine.state cimport NOT_OURS, Core, Name
from agent.protocols.ouch cimport SYMBOL_SIZE
from agent.protocols.text cimport SYMBOL


cdef inline int find_symbol(Core *e, const uint8_t *name, uint32_t size) noexcept nogil:
    """Find a symbol by its name, size characters; in a replay of all symbols, a name that is new is added.

    Returns its index, or NOT_OURS.
    """
    cdef Name key
    cdef uint16_t place
    if size > SYMBOL:
        return NOT_OURS
    write_name(&key, <const char *> name, size)
    if has_name(e, e.feed.last_symbol, &key):
        return <int> e.feed.last_symbol
    place = find_name_slot(e, &key)[0]
    if place:
        e.feed.last_symbol = place - 1
        return place - 1
    if e.feed.symbols == e.feed.capacity:
        return NOT_OURS
    # Replay: a symbol that the recording brings. Its orders go nowhere, so that a longer name may be cut.
    return <int> add_symbol(e, &key, <const char *> &key, True)


cdef inline int find_exchange_symbol(const Core *e, const uint8_t *name, uint32_t likely) noexcept nogil:
    """Find a symbol by the exchange's name of it, 8 characters; the one with the index `likely` is looked at first.

    Returns its index, or NOT_OURS.
    """
    cdef uint32_t i
    if likely < e.feed.symbols and memcmp(get_exchange_name(e, likely), name, SYMBOL_SIZE) == 0:
        return <int> likely
    for i in range(e.feed.symbols):
        if memcmp(get_exchange_name(e, i), name, SYMBOL_SIZE) == 0:
            return <int> i
    return NOT_OURS
