# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The log of Sequenced Data packets, and the state file that has a copy of it.

Every Sequenced Data packet is appended to one log, and the link is sent the log from where it has got to: so a login
that asks for an earlier sequence number is served by going back in it. With a state file the log is appended to that
before it is sent: a simulator that was killed knows everything that an agent can have read.

Source: Nasdaq "SoupBinTCP Version 3.00".
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from agent.exchange.state cimport SequencedLog
from agent.protocols.wire cimport store16
from agent.system cimport write

cdef enum:
    SHORTEST_PACKET = 20        # bytes on average, at least: the log's places for offsets follow from it


cdef inline bint allocate_log(SequencedLog *log, uint64_t capacity) noexcept nogil:
    """Make an empty log of `capacity` bytes. Returns False when there is no memory; free_log() is due in any case."""
    log.capacity = capacity
    log.max_count = capacity // SHORTEST_PACKET
    log.state_file = -1
    log.data = <uint8_t *> calloc(1, capacity)
    log.offsets = <uint64_t *> calloc(log.max_count, sizeof(uint64_t))
    return log.data != NULL and log.offsets != NULL


cdef inline void free_log(SequencedLog *log) noexcept nogil:
    """Free what allocate_log() made. The state file's descriptor is its opener's."""
    free(log.data)
    free(log.offsets)
    log.data = NULL
    log.offsets = NULL


cdef inline uint8_t *append_space(SequencedLog *log, uint64_t size) noexcept nogil:
    """Append a packet of `size` bytes, unwritten. Returns its place, or NULL: the log is full."""
    cdef uint8_t *packet = log.data + log.size
    if size > log.capacity - log.size or log.count == log.max_count:
        log.full = True
        return NULL
    log.offsets[log.count] = log.size
    log.count += 1
    log.size += size
    return packet


cdef inline uint8_t *append_payload(SequencedLog *log, uint32_t size) noexcept nogil:
    """Append a Sequenced Data packet, its header written. Returns the place of its payload of `size` bytes, or NULL:
    the log is full."""
    cdef uint8_t *packet = append_space(log, size + 3)
    if packet == NULL:
        return NULL
    store16(packet, <uint16_t> (size + 1))
    packet[2] = c'S'
    return packet + 3


cdef inline bint append_packet(SequencedLog *log, const uint8_t *packet, uint64_t size) noexcept nogil:
    """Append a whole packet. Returns False when the log is full."""
    cdef uint8_t *place = append_space(log, size)
    if place == NULL:
        return False
    memcpy(place, packet, size)
    return True


cdef inline uint64_t find_offset(const SequencedLog *log, uint64_t sequence) noexcept nogil:
    """Returns the offset of the packet with a sequence number (1 to count + 1: the end of the log)."""
    return log.offsets[sequence - 1] if sequence <= log.count else log.size


cdef inline bint write_state_file(SequencedLog *log) noexcept nogil:
    """Append to the state file what it does not have yet. Returns False when it cannot be written."""
    cdef Py_ssize_t n
    while log.state_file >= 0 and log.written < log.size:
        n = write(log.state_file, log.data + log.written, log.size - log.written)
        if n < 0 and errno != EINTR:
            return False
        if n > 0:
            log.written += <uint64_t> n
    return True
