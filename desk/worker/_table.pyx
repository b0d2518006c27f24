# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Worker tables (struct desk_worker): built, copied, checked, and their functions called from Python."""

import re

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from desk.worker.abi cimport (DESK_WORKER_ABI, DESK_WORKER_NAME, DESK_WORKER_NUMBERS, DESK_WORKER_PARAMETERS,
                              DESK_WORKER_RECORD, DESK_WORKER_RESULTS, desk_fini_fn, desk_init_fn, desk_report_fn,
                              desk_work_fn, desk_worker)

ABI = DESK_WORKER_ABI
#: Places for the configuration's numbers.
PARAMETERS = DESK_WORKER_PARAMETERS
#: What the state of a worker may take, in bytes.
LARGEST_STATE = 1 << 30
_NAME = re.compile(rb"[a-z][a-z0-9_]{0,30}")


cdef int32_t no_init(void *state, const double *parameters, uint32_t count) noexcept nogil:
    return 0


cdef void no_report(const void *state, double *numbers) noexcept nogil:
    pass


cdef void no_fini(void *state) noexcept nogil:
    pass


def read_capsule(object found):
    """Returns the address in a capsule "desk.worker". Raises ValueError for anything else."""
    if not PyCapsule_IsValid(found, "desk.worker"):
        raise ValueError("not a capsule desk.worker")
    return <uintptr_t> PyCapsule_GetPointer(found, "desk.worker")


cdef class Table:
    """A struct desk_worker without NULL: a function that a worker leaves out does nothing."""

    cdef desk_worker functions

    @staticmethod
    def build(uint64_t state_size, uint64_t record_size, uint64_t result_size, uint64_t most_results,
              list names not None, *, uintptr_t work, uintptr_t init=0, uintptr_t report=0, uintptr_t fini=0):
        """Make a table of functions.

        Sizes in bytes; most_results: of a record; names: of the numbers that report() writes; the others: addresses of
        C functions, 0 for none. Returns the table. Raises ValueError for what a table cannot have.
        """
        cdef Table table = Table.__new__(Table)
        cdef const uint8_t[::1] name
        if len(names) > DESK_WORKER_NUMBERS:
            raise ValueError(f"{len(names)} numbers, allowed: at most {DESK_WORKER_NUMBERS}")
        for i, word in enumerate(names):
            text = word.encode() if isinstance(word, str) else b""
            if not _NAME.fullmatch(text):
                raise ValueError(f"a number's name: found {word!r}, allowed: at most 31 of a-z, 0-9 and _")
            name = text
            memcpy(table.functions.names[i], &name[0], name.shape[0])
        table.functions.abi = DESK_WORKER_ABI
        table.functions.size = sizeof(desk_worker)
        table.functions.state_size = state_size
        table.functions.record_size = <uint32_t> min(record_size, <uint64_t> 0xFFFFFFFF)
        table.functions.result_size = <uint32_t> min(result_size, <uint64_t> 0xFFFFFFFF)
        table.functions.most_results = <uint32_t> min(most_results, <uint64_t> 0xFFFFFFFF)
        table.functions.numbers = len(names)
        table.functions.init = <desk_init_fn> init
        table.functions.work = <desk_work_fn> work
        table.functions.report = <desk_report_fn> report
        table.functions.fini = <desk_fini_fn> fini
        table.check()
        return table

    @staticmethod
    def copy_from(uintptr_t address):
        """Copy the struct desk_worker at an address.

        Returns the table. Raises ValueError when the struct was built for another ABI, is not complete, or has sizes or
        names that none may have.
        """
        cdef Table table = Table.__new__(Table)
        cdef desk_worker *found = <desk_worker *> address
        if found.abi != DESK_WORKER_ABI or found.size != sizeof(desk_worker):
            raise ValueError(f"built for ABI {found.abi} ({found.size} bytes), allowed: ABI {DESK_WORKER_ABI} "
                             f"({sizeof(desk_worker)} bytes): compile it with this release's desk_worker.h or "
                             "desk_abi.rs")
        memcpy(&table.functions, found, sizeof(desk_worker))
        table.check()
        return table

    cdef int check(self) except -1:
        cdef desk_worker *f = &self.functions
        if f.work == NULL:
            raise ValueError("has no work")
        if f.state_size > <uint64_t> LARGEST_STATE:
            raise ValueError(f"state of {f.state_size} bytes, allowed: at most {LARGEST_STATE}")
        if f.record_size < 8 or f.record_size > DESK_WORKER_RECORD or f.record_size % 8:
            raise ValueError(f"records of {f.record_size} bytes, allowed: a multiple of 8, from 8 to "
                             f"{DESK_WORKER_RECORD}")
        if f.result_size > DESK_WORKER_RECORD or f.result_size % 8:
            raise ValueError(f"results of {f.result_size} bytes, allowed: a multiple of 8, at most "
                             f"{DESK_WORKER_RECORD}; 0: none")
        if f.most_results > DESK_WORKER_RESULTS or (f.most_results == 0) != (f.result_size == 0):
            raise ValueError(f"{f.most_results} results of a record, each of {f.result_size} bytes, allowed: 1 to "
                             f"{DESK_WORKER_RESULTS}, or 0 of 0 bytes")
        if f.numbers > <uint32_t> DESK_WORKER_NUMBERS or (f.numbers and f.report == NULL):
            raise ValueError(f"{f.numbers} numbers{'' if f.report else ' and no report'}, "
                             f"allowed: at most {DESK_WORKER_NUMBERS}, which report() writes")
        names = self.names
        if len(set(names)) < len(names):
            raise ValueError("two of its numbers have one name")
        if f.init == NULL:
            f.init = no_init
        if f.report == NULL:
            f.report = no_report
        if f.fini == NULL:
            f.fini = no_fini
        return 0

    @property
    def address(self):
        """The address of the struct: valid while this object lives."""
        return <uintptr_t> &self.functions

    @property
    def state_size(self):
        """Bytes of the worker's state."""
        return self.functions.state_size

    @property
    def record_size(self):
        """Bytes of a record of the input ring."""
        return self.functions.record_size

    @property
    def result_size(self):
        """Bytes of a result; 0: the worker has none."""
        return self.functions.result_size

    @property
    def most_results(self):
        """Results that a record may have."""
        return self.functions.most_results

    @property
    def names(self):
        """Names of the numbers that report() writes. Raises ValueError for one that is none."""
        found = []
        for i in range(self.functions.numbers):
            # A zero is behind it, or it is too long.
            text = (<const char *> self.functions.names[i])[:DESK_WORKER_NAME].split(b"\0", 1)[0]
            if not _NAME.fullmatch(text):
                raise ValueError(f"a number's name: found {text!r}, allowed: at most 31 of a-z, 0-9 and _")
            found.append(text.decode())
        return found

    def call_init(self, uintptr_t state, list parameters not None):
        """Call init() on the zeroed state at an address. Returns its code. Raises ValueError for too many numbers."""
        cdef double[16] values
        if len(parameters) > DESK_WORKER_PARAMETERS:
            raise ValueError(f"found {len(parameters)} parameters, allowed: at most {DESK_WORKER_PARAMETERS}")
        memset(values, 0, sizeof(values))
        for i, value in enumerate(parameters):
            values[i] = value
        return self.functions.init(<void *> state, values, <uint32_t> len(parameters))

    def call_work(self, uintptr_t state, const uint8_t[::1] records not None, uint32_t capacity):
        """Call work() for the records in a buffer, with room for so many results.

        Returns the results' bytes in one, or a count that is negative or more than there is room for. Raises ValueError
        for a buffer that is not one of records.
        """
        cdef uint32_t size = self.functions.record_size, count
        cdef int32_t made
        cdef uint8_t[::1] view
        if records.shape[0] % size or records.shape[0] > 1 << 30:
            raise ValueError(f"{records.shape[0]} bytes, allowed: records of {size}")
        count = <uint32_t> (records.shape[0] // size)
        room = bytearray(<size_t> capacity * self.functions.result_size + 8)
        view = room
        with nogil:
            made = self.functions.work(<void *> state, &records[0] if count else NULL, count, size, &view[0], capacity)
        if made < 0 or <uint32_t> made > capacity:
            return made
        return bytes(room[:made * self.functions.result_size])

    def call_report(self, uintptr_t state):
        """Call report(). Returns the numbers by name."""
        cdef double[16] numbers
        memset(numbers, 0, sizeof(numbers))
        self.functions.report(<const void *> state, numbers)
        return {name: numbers[i] for i, name in enumerate(self.names)}

    def call_fini(self, uintptr_t state):
        """Call fini()."""
        self.functions.fini(<void *> state)
