# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Strategy tables (struct agent_strategy): built, copied, checked, and their functions called from Python."""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from agent.strategy.abi cimport (AGENT_ABI, AGENT_MAX_ORDERS, AGENT_NAME, AGENT_SYMBOLS, AGENT_VALUES, agent_event,
                                 agent_fill, agent_fini_fn, agent_init_fn, agent_layout_hash, agent_on_event_fn,
                                 agent_on_fill_fn, agent_on_timer_fn, agent_order, agent_params, agent_strategy)
from agent.shm.clock cimport monotonic_ns

#: Places in struct agent_params for the configuration's numbers.
VALUES = AGENT_VALUES
#: Places in the order buffer of one call.
MAX_ORDERS = AGENT_MAX_ORDERS
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
    """Returns agent_layout_hash() of strategy/include/agent_strategy.h as compiled."""
    return agent_layout_hash()


def read_capsule(object found):
    """Returns the address in a capsule "agent.strategy". Raises ValueError for anything else."""
    if not PyCapsule_IsValid(found, "agent.strategy"):
        raise ValueError("not a capsule agent.strategy")
    return <uintptr_t> PyCapsule_GetPointer(found, "agent.strategy")


def find_address(const uint8_t[::1] memory not None):
    """Returns the address of a buffer's memory: valid as long as its owner does not move it."""
    return <uintptr_t> &memory[0]


cdef object _copy_orders(const agent_order *orders, int32_t n):
    """Returns the bytes of n orders, or n where it is negative or impossible."""
    if n < 0 or n > AGENT_MAX_ORDERS:
        return n
    return [(<const char *> &orders[k])[:sizeof(agent_order)] for k in range(n)]


cdef class Table:
    """A struct agent_strategy without NULL: a function that a strategy leaves out does nothing."""

    cdef agent_strategy functions

    @staticmethod
    def build(uint64_t state_size, *, uintptr_t on_event, uintptr_t init=0, uintptr_t on_fill=0, uintptr_t on_timer=0,
              uintptr_t fini=0):
        """Make a table of functions.

        state_size: bytes; the others: addresses of C functions, 0 for none. Returns the table. Raises ValueError when
        on_event is 0 or the state too large.
        """
        cdef Table table = Table.__new__(Table)
        table.functions.abi = AGENT_ABI
        table.functions.size = sizeof(agent_strategy)
        table.functions.layout = agent_layout_hash()
        table.functions.state_size = state_size
        table.functions.init = <agent_init_fn> init
        table.functions.on_event = <agent_on_event_fn> on_event
        table.functions.on_fill = <agent_on_fill_fn> on_fill
        table.functions.on_timer = <agent_on_timer_fn> on_timer
        table.functions.fini = <agent_fini_fn> fini
        table.check()
        return table

    @staticmethod
    def copy_from(uintptr_t address):
        """Copy the struct agent_strategy at an address.

        Returns the table. Raises ValueError when the struct was built for another ABI, is not complete, or has too
        large a state.
        """
        cdef Table table = Table.__new__(Table)
        cdef agent_strategy *found = <agent_strategy *> address
        if found.abi != AGENT_ABI or found.size != sizeof(agent_strategy):
            raise ValueError(f"built for ABI {found.abi} ({found.size} bytes), "
                             f"allowed: ABI {AGENT_ABI} ({sizeof(agent_strategy)} bytes): compile it with this "
                             "release's agent_strategy.h or agent_abi.rs")
        if found.layout != agent_layout_hash():
            raise ValueError(f"layout hash {found.layout:#018x}, allowed: {agent_layout_hash():#018x}: it was compiled "
                             "with another agent_strategy.h")
        memcpy(&table.functions, found, sizeof(agent_strategy))
        table.check()
        return table

    cdef int check(self) except -1:
        if self.functions.on_event == NULL:
            raise ValueError("has no on_event")
        if self.functions.state_size > <uint64_t> LARGEST_STATE:
            raise ValueError(f"state of {self.functions.state_size} bytes, allowed: at most {LARGEST_STATE}")
        if self.functions.init == NULL:
            self.functions.init = no_init
        if self.functions.on_fill == NULL:
            self.functions.on_fill = no_fill
        if self.functions.on_timer == NULL:
            self.functions.on_timer = no_timer
        if self.functions.fini == NULL:
            self.functions.fini = no_fini
        return 0

    @property
    def address(self):
        """The address of the struct: valid while this object lives."""
        return <uintptr_t> &self.functions

    @property
    def state_size(self):
        """Bytes of the strategy's state."""
        return self.functions.state_size

    def call_init(self, uintptr_t state, double fast, double slow, int64_t size, list names, list values):
        """Call init() on the zeroed state at an address, with the members of struct agent_params.

        names: of the symbols, bytes each. Returns its code. Raises ValueError for more names or values, or a longer
        name, than the struct has room for.
        """
        cdef agent_params params
        cdef const uint8_t[::1] name
        if len(names) > AGENT_SYMBOLS or len(values) > AGENT_VALUES:
            raise ValueError(f"found {len(names)} symbols and {len(values)} values, "
                             f"allowed: at most {AGENT_SYMBOLS} and {AGENT_VALUES}")
        memset(&params, 0, sizeof(params))
        params.fast = fast
        params.slow = slow
        params.size = size
        params.symbols = len(names)
        for i, value in enumerate(values):
            params.values[i] = value
        for i, text in enumerate(names):
            # A zero stays behind it.
            if len(text) >= AGENT_NAME:
                raise ValueError(f"found the symbol {text.decode()!r}, allowed: at most {AGENT_NAME - 1} bytes")
            if text:
                name = text
                memcpy(params.names[i].text, &name[0], name.shape[0])
        return self.functions.init(<void *> state, &params)

    def call_on_fill(self, uintptr_t state, const uint8_t[::1] fill not None):
        """Call on_fill() for the bytes of a struct agent_fill.

        Returns the bytes of each struct agent_order, or a count that is negative or impossible. Raises ValueError for
        bytes of another size.
        """
        cdef agent_order[8] orders
        if <size_t> fill.shape[0] != sizeof(agent_fill):
            raise ValueError(f"fill of {fill.shape[0]} bytes, allowed: {sizeof(agent_fill)}")
        memset(orders, 0, sizeof(orders))
        return _copy_orders(orders, self.functions.on_fill(<void *> state, <const agent_fill *> &fill[0], orders))

    def call_on_timer(self, uintptr_t state, int64_t now_ns):
        """Call on_timer() for a time in ns.

        Returns the bytes of each struct agent_order, or a count that is negative or impossible.
        """
        cdef agent_order[8] orders
        memset(orders, 0, sizeof(orders))
        return _copy_orders(orders, self.functions.on_timer(<void *> state, now_ns, orders))

    def call_fini(self, uintptr_t state):
        """Call fini()."""
        self.functions.fini(<void *> state)

    def drive(self, uintptr_t state, const uint8_t[::1] events not None):
        """Call on_event() for each struct agent_event in a buffer.

        Returns (index of the event, bytes of a struct agent_order) for each order, and (index, count) for each count
        that is negative or impossible.
        """
        cdef agent_order[8] orders
        cdef const agent_event *event
        cdef int32_t n
        cdef Py_ssize_t i, k, count = events.shape[0] // sizeof(agent_event)
        found = []
        for i in range(count):
            memset(orders, 0, sizeof(orders))
            event = <const agent_event *> &events[i * sizeof(agent_event)]
            n = self.functions.on_event(<void *> state, event, orders)
            if n < 0 or n > AGENT_MAX_ORDERS:
                found.append((i, n))
                continue
            for k in range(n):
                found.append((i, (<const char *> &orders[k])[:sizeof(agent_order)]))
        return found

    def time_events(self, uintptr_t state, const uint8_t[::1] events not None, int repeat):
        """Call on_event() for each struct agent_event in a buffer, `repeat` times over.

        Returns the nanoseconds that all of it took, and how many orders were returned.
        """
        cdef agent_order[8] orders
        cdef Py_ssize_t i, count = events.shape[0] // sizeof(agent_event)
        cdef const agent_event *first = <const agent_event *> &events[0]
        cdef int64_t begun, orders_made = 0
        cdef int _pass
        with nogil:
            begun = monotonic_ns()
            for _pass in range(repeat):
                for i in range(count):
                    orders_made += self.functions.on_event(<void *> state, first + i, orders)
            begun = monotonic_ns() - begun
        return begun, orders_made
