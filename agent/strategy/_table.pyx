# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Strategy tables: built, checked, initialised, and driven by hand."""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from agent.strategy.abi cimport *
from agent.protocols.wire cimport now

#: Places in struct agent_params for the configuration's numbers.
VALUES = AGENT_VALUES
#: What the state of a strategy may take, in bytes.
LARGEST_STATE = 1 << 30


cdef int32_t no_init(void *state, const agent_params *params) noexcept nogil:
    return 0


cdef int32_t no_fill(void *state, const agent_fill *fill, agent_order *out) noexcept nogil:
    return 0


cdef int32_t no_timer(void *state, int64_t now_ns, agent_order *out) noexcept nogil:
    return 0


cdef void no_fini(void *state) noexcept nogil:
    pass


def layout_hash():
    """agent_layout_hash() of strategy/include/agent_strategy.h as compiled."""
    return agent_layout_hash()


def capsule(object found):
    """The address in a capsule "agent.strategy"; ValueError for anything else."""
    if not PyCapsule_IsValid(found, "agent.strategy"):
        raise ValueError("not a capsule agent.strategy")
    return <uintptr_t> PyCapsule_GetPointer(found, "agent.strategy")


def address(const uint8_t[::1] memory not None):
    """Where the memory of a buffer is: valid as long as its owner keeps it there."""
    return <uintptr_t> &memory[0]


cdef object _given(const agent_order *orders, int32_t n):
    if n < 0 or n > AGENT_MAX_ORDERS:
        return n
    return [(<const char *> &orders[k])[:sizeof(agent_order)] for k in range(n)]


cdef class Table:
    """A struct agent_strategy without NULL: what a strategy leaves out does nothing."""

    cdef agent_strategy t

    @staticmethod
    def build(uint64_t state_size, *, uintptr_t on_event, uintptr_t init=0, uintptr_t on_fill=0, uintptr_t on_timer=0,
              uintptr_t fini=0):
        """Of functions by address; state_size in bytes. ValueError when on_event is 0 or the state too large."""
        cdef Table table = Table.__new__(Table)
        table.t.abi = AGENT_ABI
        table.t.size = sizeof(agent_strategy)
        table.t.layout = agent_layout_hash()
        table.t.state_size = state_size
        table.t.init = <agent_init_fn> init
        table.t.on_event = <agent_on_event_fn> on_event
        table.t.on_fill = <agent_on_fill_fn> on_fill
        table.t.on_timer = <agent_on_timer_fn> on_timer
        table.t.fini = <agent_fini_fn> fini
        table.check()
        return table

    @staticmethod
    def at(uintptr_t address):
        """A copy of the struct agent_strategy at an address. ValueError when it was built for another ABI or is not
        complete."""
        cdef Table table = Table.__new__(Table)
        cdef agent_strategy *found = <agent_strategy *> address
        if found.abi != AGENT_ABI or found.size != sizeof(agent_strategy):
            raise ValueError(f"built for ABI {found.abi} ({found.size} bytes), "
                             f"allowed: ABI {AGENT_ABI} ({sizeof(agent_strategy)} bytes)")
        if found.layout != agent_layout_hash():
            raise ValueError(f"layout hash {found.layout:#018x}, allowed: {agent_layout_hash():#018x}: it was compiled "
                             "with another agent_strategy.h")
        memcpy(&table.t, found, sizeof(agent_strategy))
        table.check()
        return table

    cdef int check(self) except -1:
        if self.t.on_event == NULL:
            raise ValueError("has no on_event")
        if self.t.state_size > <uint64_t> LARGEST_STATE:
            raise ValueError(f"state of {self.t.state_size} bytes, allowed: at most {LARGEST_STATE}")
        if self.t.init == NULL:
            self.t.init = no_init
        if self.t.on_fill == NULL:
            self.t.on_fill = no_fill
        if self.t.on_timer == NULL:
            self.t.on_timer = no_timer
        if self.t.fini == NULL:
            self.t.fini = no_fini
        return 0

    @property
    def address(self):
        """Valid while this object lives."""
        return <uintptr_t> &self.t

    @property
    def state_size(self):
        return self.t.state_size

    def init(self, uintptr_t state, double fast, double slow, int64_t size, uint64_t symbols, list values):
        """Call init() on a zeroed state; its code."""
        cdef agent_params params
        memset(&params, 0, sizeof(params))
        params.fast = fast
        params.slow = slow
        params.size = size
        params.symbols = symbols
        for i, value in enumerate(values[:AGENT_VALUES]):
            params.values[i] = value
        return self.t.init(<void *> state, &params)

    def fill(self, uintptr_t state, const uint8_t[::1] fill not None):
        """Call on_fill for a struct agent_fill: the orders' bytes, or a negative or impossible count."""
        cdef agent_order[8] orders
        if <size_t> fill.shape[0] != sizeof(agent_fill):
            raise ValueError(f"fill of {fill.shape[0]} bytes, allowed: {sizeof(agent_fill)}")
        memset(orders, 0, sizeof(orders))
        return _given(orders, self.t.on_fill(<void *> state, <const agent_fill *> &fill[0], orders))

    def timer(self, uintptr_t state, int64_t now_ns):
        """Call on_timer: the orders' bytes, or a negative or impossible count."""
        cdef agent_order[8] orders
        memset(orders, 0, sizeof(orders))
        return _given(orders, self.t.on_timer(<void *> state, now_ns, orders))

    def fini(self, uintptr_t state):
        """Call fini()."""
        self.t.fini(<void *> state)

    def drive(self, uintptr_t state, const uint8_t[::1] events not None):
        """Call on_event for each struct agent_event in a buffer: [(index of the event, bytes of a struct agent_order)],
        and an (index, code) for each negative or impossible count."""
        cdef agent_order[8] orders
        cdef const agent_event *event
        cdef int32_t n
        cdef Py_ssize_t i, k, count = events.shape[0] // sizeof(agent_event)
        found = []
        for i in range(count):
            memset(orders, 0, sizeof(orders))
            event = <const agent_event *> &events[i * sizeof(agent_event)]
            n = self.t.on_event(<void *> state, event, orders)
            if n < 0 or n > AGENT_MAX_ORDERS:
                found.append((i, n))
                continue
            for k in range(n):
                found.append((i, (<const char *> &orders[k])[:sizeof(agent_order)]))
        return found

    def time(self, uintptr_t state, const uint8_t[::1] events not None, int repeat):
        """Nanoseconds that `repeat` passes over the events take, and the orders they gave."""
        cdef agent_order[8] orders
        cdef Py_ssize_t i, count = events.shape[0] // sizeof(agent_event)
        cdef const agent_event *first = <const agent_event *> &events[0]
        cdef int64_t begun, given = 0
        cdef int k
        with nogil:
            begun = now()
            for k in range(repeat):
                for i in range(count):
                    given += self.t.on_event(<void *> state, first + i, orders)
            begun = now() - begun
        return begun, given
