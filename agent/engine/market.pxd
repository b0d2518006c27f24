# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""From a message of the feed to orders, in one call that never waits: parse -> book -> strategy -> gate -> socket."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from agent.engine.itch_feed cimport handle_itch_message
from agent.engine.quotes cimport handle_tick_message
from agent.engine.state cimport Core


cdef inline bint handle_message(Core *e, const uint8_t *data, uint32_t size, uint64_t sequence) noexcept nogil:
    """Handle one message of the feed, of size bytes, with its MoldUDP64 sequence number.

    Returns False when the connection to the exchange is lost.
    """
    e.counters.messages += 1
    if e.feed.format.parse == NULL:
        return handle_itch_message(e, data, size, sequence)
    return handle_tick_message(e, data, size, sequence)
