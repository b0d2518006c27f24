# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A worker's loop: blocks of records out of one ring by pointer, through work(), results into another; without the GIL.

A block is taken off the input ring when its results are published in the output ring, and not before: whoever is
killed between the two reads the block again. A block is as long as there is room for its results, so that nothing is
ever dropped. What comes from the input ring is never trusted for a bound (agent/shm/ring.pxd).
"""

from cpython.exc cimport PyErr_Occurred
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from agent.shm.clock cimport monotonic_ns
from agent.shm.ring cimport RING_LOAD, RING_STORE, Ring, ring_padded_size, ring_peek_at, ring_publish, ring_reserve
from desk.worker.abi cimport desk_worker


cdef extern from *:
    """
    #include <signal.h>
    #include <stdlib.h>
    #include <string.h>
    #include <time.h>
    #include <unistd.h>

    /* What is said when the module ends the process: written ahead, since a signal handler may not. */
    static const int worker_signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
    #define WORKER_SIGNALS 5
    static char worker_texts[WORKER_SIGNALS][512];
    static volatile sig_atomic_t worker_inside;

    static void worker_explain(int number)
    {
        for (int i = 0; i < WORKER_SIGNALS; i++)
            if (worker_signals[i] == number && (worker_inside || number == SIGBUS))
                if (write(2, worker_texts[i], strlen(worker_texts[i])) < 0)
                    break;
        signal(number, SIG_DFL);
        raise(number);
    }

    static inline void worker_set_inside(int inside) { worker_inside = inside; }

    static int worker_guard(void)
    {
        static char stack[65536];                   /* the module may have used up its own */
        stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
        struct sigaction action = { .sa_handler = worker_explain, .sa_flags = SA_ONSTACK };
        if (sigaltstack(&other, NULL))
            return -1;
        for (int i = 0; i < WORKER_SIGNALS; i++)
            if (sigaction(worker_signals[i], &action, NULL))
                return -1;
        return 0;
    }

    static void worker_nap(int64_t ns)
    {
        struct timespec wanted = { ns / 1000000000, ns % 1000000000 };
        nanosleep(&wanted, NULL);                   /* a signal ends it early */
    }
    """
    const int *worker_signals
    char worker_texts[5][512]
    int WORKER_SIGNALS
    void worker_set_inside(int) noexcept nogil
    int worker_guard() noexcept nogil
    void worker_nap(int64_t) noexcept nogil

#: What run() returns: the time is over; the input ring has no more, or is damaged; work() gave a count that none may.
BUSY, EMPTY, FULL, DAMAGED, NONSENSE = range(5)

cdef enum:
    IS_BUSY, IS_EMPTY, IS_FULL, IS_DAMAGED, IS_NONSENSE

cdef enum:
    PATIENCE = 16               # naps of the first length, before each is twice as long as that before
    LONGEST_NAP = 2_000_000     # ns


def explain_signals(dict texts not None):
    """Have this process say what ended it when its module does, by one of these signals: number to bytes, at most 511;
    SIGBUS in any case, since a ring whose file was cut short gives it too."""
    cdef const uint8_t[::1] text
    for i in range(WORKER_SIGNALS):
        text = texts[worker_signals[i]][:511]
        memcpy(worker_texts[i], &text[0], text.shape[0])
        worker_texts[i][text.shape[0]] = 0
    if worker_guard():
        raise OSError("sigaction")


def enter_module(bint inside):
    """Note whether a function of the module runs, which is blamed for a signal then."""
    worker_set_inside(inside)


cdef int raise_pending() except? -1:
    """Raise what a function of the module has raised, against the rules."""
    return -1 if PyErr_Occurred() != NULL else 0


cdef uint64_t find_free(const Ring *r, uint32_t size) noexcept nogil:
    """Returns how many records of `size` bytes the writer can push, by the head that it last saw."""
    cdef uint64_t padded = ring_padded_size(size, True), used = r.own - r.peer, room
    cdef uint64_t end = r.capacity - (r.own & r.mask)
    if used > r.capacity:
        return 0                # what no reader wrote
    room = r.capacity - used
    return room // padded if room <= end else end // padded + (room - end) // padded


cdef class Pump:
    """The loop of a worker. table, state: what it calls (desk.worker); source, target: the rings (agent.shm.ring.Ring),
    None for no target; batch: records of a call at most; nap: ns to sleep when there is nothing to do.

    Raises ValueError for rings whose records are not the worker's, and for a target in which the results of one record
    do not fit.
    """

    cdef desk_worker *functions
    cdef void *state
    cdef Ring *source
    cdef Ring *target
    cdef object owners
    cdef uint8_t *room
    cdef uint64_t places        # for results, in `room`
    cdef uint32_t batch
    cdef int64_t shortest, nap, naps
    cdef bint stuck             # the output ring was full when it was looked at last
    #: So far: records taken, results given, calls of work(); times that the output ring was found
    #: full, and ns waited for it.
    cdef readonly uint64_t records, results, batches, waits, waited_ns
    #: What work() returned last.
    cdef readonly int32_t returned

    def __cinit__(self, table, uintptr_t state, source, target, uint32_t batch, int64_t nap):
        cdef uint64_t capacity
        self.functions = <desk_worker *> <uintptr_t> table.address
        self.state = <void *> state
        self.source = <Ring *> <uintptr_t> source.address
        self.owners = (table, source, target)
        self.batch, self.shortest, self.nap = max(batch, <uint32_t> 1), max(nap, 1), max(nap, 1)
        if self.source.record != self.functions.record_size:
            raise ValueError(f"{source.path}: records of {self.source.record} bytes (0: of any size), the worker takes "
                             f"records of {self.functions.record_size}")
        if (target is None) != (self.functions.result_size == 0):
            raise ValueError(f"output: found {'none' if target is None else target.path}, the worker has results of "
                             f"{self.functions.result_size} bytes (0: none)")
        if target is None:
            return
        self.target = <Ring *> <uintptr_t> target.address
        if self.target.record != self.functions.result_size:
            raise ValueError(f"{target.path}: records of {self.target.record} bytes (0: of any size), the worker gives "
                             f"results of {self.functions.result_size}")
        capacity = self.target.capacity // ring_padded_size(self.functions.result_size, True)
        if self.functions.most_results >= capacity:
            raise ValueError(f"{target.path}: {capacity} records, allowed: more than the {self.functions.most_results} "
                             "results that a record may have")
        self.places = min(capacity, <uint64_t> self.batch * self.functions.most_results)
        self.room = <uint8_t *> calloc(self.places, self.functions.result_size)
        if self.room == NULL:
            raise MemoryError(f"{self.places} results")

    def __dealloc__(self):
        free(self.room)

    cdef int step(self) noexcept nogil:
        """One call of work(). Returns IS_BUSY when it was one."""
        cdef Ring *r = self.source
        cdef desk_worker *f = self.functions
        cdef uint64_t index = r.own, size = f.record_size, count, capacity = 0, i
        cdef uint32_t first = 0
        cdef const uint8_t *at
        cdef int32_t made
        r.peer = RING_LOAD(&r.header.tail.index)
        at = <const uint8_t *> ring_peek_at(r, &index, &first)
        if at == NULL:
            return IS_DAMAGED if r.damaged else IS_EMPTY
        # And those behind it, up to the ring's end.
        count = 1 + min(r.peer - index, r.capacity - <uint64_t> (at + size - r.data)) // size
        count = min(count, <uint64_t> self.batch)
        if self.target != NULL:
            capacity = find_free(self.target, f.result_size)
            if capacity < count * f.most_results:
                self.target.peer = RING_LOAD(&self.target.header.head.index)
                capacity = find_free(self.target, f.result_size)
                if capacity < f.most_results:
                    return IS_FULL
            capacity = min(capacity, self.places)
            count = min(count, capacity // f.most_results)
            capacity = count * f.most_results
        worker_set_inside(True)
        made = f.work(self.state, at, <uint32_t> count, f.record_size, self.room, <uint32_t> capacity)
        worker_set_inside(False)
        self.returned = made
        if made < 0 or <uint64_t> made > capacity:
            return IS_NONSENSE
        for i in range(<uint64_t> made):
            memcpy(ring_reserve(self.target, f.result_size), self.room + i * f.result_size, f.result_size)
        if made:
            ring_publish(self.target)
        r.own = index + (count - 1) * size
        RING_STORE(&r.header.head.index, r.own)
        self.records += count
        self.results += <uint64_t> made
        self.batches += 1
        return IS_BUSY

    def run(self, int64_t slice_ns, int64_t hurry_ns=-1):
        """Work for so many ns, or until there is something to say: BUSY, EMPTY, FULL (what there was last), DAMAGED or
        NONSENSE; the last two end the worker. hurry_ns: not below 0: end after so many ns where there are results and
        nothing more to do. Raises what work() has raised."""
        cdef int64_t now = monotonic_ns(), begun = now, end = now + slice_ns, asleep
        cdef uint64_t before = self.results
        cdef int found
        with nogil:
            while True:
                found = self.step()
                if found >= IS_DAMAGED:
                    break
                now = monotonic_ns()
                if found == IS_BUSY:
                    self.nap, self.naps, self.stuck = self.shortest, 0, False
                else:
                    if hurry_ns >= 0 and self.results != before and now - begun >= hurry_ns:
                        break
                    if found == IS_FULL:
                        self.waits += not self.stuck
                        self.stuck = True
                    worker_nap(min(self.nap, max(end - now, <int64_t> 1)))
                    asleep = now
                    now = monotonic_ns()
                    if found == IS_FULL:
                        self.waited_ns += <uint64_t> (now - asleep)
                    self.naps += 1
                    if self.naps > PATIENCE:
                        self.nap = min(2 * self.nap, <int64_t> LONGEST_NAP)
                if now >= end:
                    break
        raise_pending()
        return found
