# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The parts of the exchange simulator, each by itself, from Python: what the simulator has inlined."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cimport agent.exchange.log as log
cimport agent.exchange.matching as matching
cimport agent.exchange.order_entry as order_entry
cimport agent.exchange.plan as plan
cimport agent.exchange.publish as publish
cimport agent.exchange.recover as recover
cimport agent.exchange.session as session
from agent.exchange.state cimport MAX_OPEN_ORDERS, MAX_RETRANSMISSION, STREAM_CAPACITY, Arrivals, Market, Order, \
    Publisher, Run, SequencedLog

OPEN_ORDERS = MAX_OPEN_ORDERS
STREAM = STREAM_CAPACITY


cdef class Log:
    """A log of Sequenced Data packets of `capacity` bytes; state_file: a descriptor, or -1."""
    cdef SequencedLog log

    def __cinit__(self, uint64_t capacity, int state_file=-1):
        if not log.allocate_log(&self.log, capacity):
            raise MemoryError
        self.log.state_file = state_file

    def __dealloc__(self):
        log.free_log(&self.log)

    def append(self, const uint8_t[::1] payload not None):
        """Append a packet. Returns whether it fitted."""
        cdef uint8_t *place = log.append_payload(&self.log, <uint32_t> payload.shape[0])
        if place == NULL:
            return False
        if payload.shape[0]:
            memcpy(place, &payload[0], <size_t> payload.shape[0])
        return True

    def find_offset(self, uint64_t sequence):
        return log.find_offset(&self.log, sequence)

    def write(self):
        """Returns whether the state file could be written."""
        return log.write_state_file(&self.log)

    @property
    def data(self):
        return bytes(self.log.data[:self.log.size])

    @property
    def count(self):
        return self.log.count

    @property
    def full(self):
        return self.log.full


cdef class OrderEntry:
    """A market and its order entry. symbols: names of 8 characters; times are 0 at midnight."""
    cdef Market market
    cdef Arrivals arrivals
    cdef int64_t[1024] messages, times
    cdef uint32_t[1024] user_ref_nums
    cdef uint64_t *names

    def __cinit__(self, list symbols, uint64_t capacity=1 << 20, bint executes=True, uint32_t reject_every=0,
                  uint64_t samples=1024):
        cdef bytes name
        self.names = <uint64_t *> malloc(8 * (len(symbols) + 1))
        if self.names == NULL:
            raise MemoryError
        for i, name in enumerate(symbols):
            memcpy(&self.names[i], <const char *> name, 8)
        if not matching.allocate_market(&self.market, capacity, <int32_t> len(symbols), self.names):
            raise MemoryError
        self.market.executes = executes
        self.market.reject_every = reject_every
        self.arrivals.message = self.messages
        self.arrivals.at = self.times
        self.arrivals.user_ref_num = self.user_ref_nums
        self.arrivals.capacity = samples
        if samples > 1024:
            raise ValueError(f"samples: found {samples}, allowed: at most 1024")
        self.arrivals.first_sequence = 1

    def __dealloc__(self):
        matching.free_market(&self.market)
        free(self.names)

    def set_best_prices(self, int32_t symbol, uint64_t bid, uint64_t ask, uint64_t bid_size, uint64_t ask_size,
                        int64_t at=0):
        cdef uint64_t[4] mark
        mark[0], mark[1], mark[2], mark[3] = bid, ask, bid_size, ask_size
        matching.set_best_prices(&self.market, symbol, mark, at)

    def handle(self, const uint8_t[::1] message not None, int64_t at=0):
        order_entry.handle_message(&self.market, &self.arrivals, &message[0], <uint32_t> message.shape[0], at)

    def cancel_all(self, int64_t at=0):
        order_entry.cancel_open_orders(&self.market, at)

    def recover(self, const uint8_t[::1] packets not None):
        recover.recover_market(&self.market, &packets[0] if packets.shape[0] else NULL, <uint64_t> packets.shape[0])

    def publish(self, uint64_t messages):
        """So many messages of the feed were sent."""
        self.arrivals.messages_sent = messages

    @property
    def log(self):
        return bytes(self.market.log.data[:self.market.log.size])

    @property
    def full(self):
        return self.market.log.full

    @property
    def open_orders(self):
        """{UserRefNum: (price, shares, executed)}"""
        cdef Order *o
        cdef uint32_t i
        found = {}
        for i in range(<uint32_t> MAX_OPEN_ORDERS):
            o = &self.market.orders[i]
            if o.user_ref_num:
                found[o.user_ref_num] = (o.price, o.total, o.executed)
        return found

    @property
    def arrived(self):
        """(message, at, UserRefNum) of each sample."""
        return [(self.messages[i], self.times[i], self.user_ref_nums[i]) for i in range(self.arrivals.count)]

    @property
    def counts(self):
        m = &self.market
        return {
            "acknowledged": m.acknowledged, "executions": m.executions, "canceled": m.canceled, "replaced": m.replaced,
            "replaces_ignored": m.replaces_ignored, "rejected_on_purpose": m.rejected_on_purpose,
            "invalid": m.invalid, "out_of_order": m.out_of_order, "other_messages": m.other_messages,
            "queries": m.queries, "unmatched": self.arrivals.unmatched, "overflow": self.arrivals.overflow,
        }

    @property
    def last_user_ref_num(self):
        return self.market.last_user_ref_num

    @property
    def last_match_number(self):
        return self.market.last_match_number


cdef class Feed:
    """The feed of a PreparedPlan; its clock is set by hand."""
    cdef Publisher feed
    cdef list views

    def __cinit__(self, prepared):
        self.views = []
        plan.copy_feed(&self.feed, prepared, self.views)

    def publish(self):
        """Publish the next packet. Returns whether it was sent."""
        if not publish.publish_packet(&self.feed, self.feed.next):
            return False
        self.feed.next += 1
        return True

    def publish_header(self, uint16_t count):
        publish.publish_header(&self.feed, publish.next_sequence(&self.feed), count)

    def time_until_due(self, int64_t started_at, int64_t at):
        self.feed.started_at = started_at
        return publish.time_until_due(&self.feed, at)

    def answer_request(self):
        recover.answer_request(&self.feed)

    def retransmission(self, uint64_t sequence, uint16_t count):
        """Returns the packet, or b""."""
        cdef uint8_t[MAX_RETRANSMISSION] packet
        size = recover.write_retransmission(&self.feed, packet, sequence, count)
        return bytes(packet[:size])

    @property
    def counts(self):
        return {
            "fates": [self.feed.fate_counts[i] for i in range(4)], "send_retries": self.feed.send_retries,
            "refused": self.feed.refused, "requests": self.feed.requests, "retransmitted": self.feed.retransmitted,
        }


cdef class Session:
    """The order entry of a PreparedPlan, without its feed. Connections are its own and closed with it."""
    cdef Run *r
    cdef list views

    def __cinit__(self, prepared):
        self.views = []
        self.r = plan.allocate_run()
        plan.copy_plan(self.r, prepared, self.views)

    def __dealloc__(self):
        if self.r != NULL:
            plan.free_run(self.r)

    def serve_candidate(self, int64_t at):
        session.serve_candidate(self.r, at)

    def serve_link(self, int64_t at):
        session.serve_link(self.r, at)

    def close_link(self, int64_t at):
        session.close_link(self.r, at)

    def hold_answers(self, bint hold):
        self.r.session.hold_answers = hold

    def append(self, const uint8_t[::1] payload not None):
        """Append a Sequenced Data packet to the log."""
        cdef uint8_t *place = log.append_payload(&self.r.market.log, <uint32_t> payload.shape[0])
        memcpy(place, &payload[0], <size_t> payload.shape[0])

    @property
    def link(self):
        return self.r.session.link

    @property
    def candidate(self):
        return self.r.session.candidate

    @property
    def ended(self):
        """The reason why the run has ended, as a number of state.pxd; None: it goes on."""
        return self.r.ended if self.r.finished else None

    @property
    def counts(self):
        s = &self.r.session
        return {
            "logins": s.logins, "looks": s.looks, "logins_refused": s.logins_refused, "disconnects": s.disconnects,
            "replayed": s.replayed, "heartbeats": s.heartbeats, "other_packets": s.other_packets,
            "logged_out": bool(s.logged_out),
        }
