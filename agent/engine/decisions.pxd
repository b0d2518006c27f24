# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Decisions about the limits: the operator's, whose commands write words of shared memory, and the engine's own.

Each change is journaled, with its old and new value and who did it, and is in force again after a restart, until the
limit has the value of agent.toml again. The gate obeys a word as soon as it is written; here, now and then, the change
is seen, journaled, and answered to the command that waits for it.
"""

from libc.stdint cimport uint32_t, uint64_t

cimport agent.journal.record as record
from agent.engine.journal cimport write_limit_record
from agent.engine.state cimport Core
from agent.shm.segment cimport agent_limits, agent_request

# What is read behind a LOAD is no older than the word that it returns; what was written before a STORE is seen with it.
cdef extern from *:
    """
    #define DECISION_LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
    #define DECISION_STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
    """
    uint64_t LOAD "DECISION_LOAD"(const uint64_t *) nogil
    void STORE "DECISION_STORE"(uint64_t *, uint64_t) nogil

cdef enum:
    LIMITS = sizeof(agent_limits) // sizeof(uint64_t)
    ABANDONED = 200             # looks at the limits, after which a request that is not complete has nobody behind it


cdef inline bint note_limit(Core *e, uint32_t limit, uint64_t value, uint32_t uid, uint32_t login) noexcept nogil:
    """Journal that a limit, which is value now, has changed. Returns False if the journal has no room."""
    cdef uint64_t *known = &(<uint64_t *> &e.decisions.known)[limit]
    cdef bint set_apart = value != (<const uint64_t *> &e.shm.configured)[limit]
    cdef bint written = write_limit_record(e, record.LIMIT_SET if set_apart else record.LIMIT_RESET, limit, known[0],
                                           value, uid, login)
    known[0] = value
    (<uint64_t *> &e.decisions.apart)[limit] = set_apart
    return written


cdef inline void decide_limit(Core *e, uint64_t *word, uint64_t value) noexcept nogil:
    """Change a limit as the engine's own decision: it is journaled, and lasts as an operator's does. word: of
    Risk.limits."""
    word[0] = value
    note_limit(e, <uint32_t> (word - <uint64_t *> e.risk.limits), value, record.UNKNOWN_USER, record.ENGINE_ITSELF)


cdef inline void watch_limits(Core *e) noexcept nogil:
    """Journal what has changed of the limits since the last look.

    A decision that says the same as agent.toml, which somebody has edited meanwhile, is none any more."""
    cdef agent_request *asked = &e.shm.request
    cdef uint64_t begun, value
    cdef uint32_t uid = record.UNKNOWN_USER, login = record.UNKNOWN_USER, i
    e.decisions.complete = LOAD(&asked.complete)
    e.decisions.written = True
    for i in range(<uint32_t> LIMITS):
        value = LOAD(&(<const uint64_t *> e.risk.limits)[i])
        if value == (<const uint64_t *> &e.decisions.known)[i] and not (
                (<const uint64_t *> &e.decisions.apart)[i] and value == (<const uint64_t *> &e.shm.configured)[i]):
            continue
        # The number of a request was written before its limits.
        begun = LOAD(&asked.begun)
        if begun != e.decisions.answered and not (e.decisions.waited > ABANDONED and begun == e.decisions.begun):
            uid, login = <uint32_t> asked.uid, <uint32_t> asked.login
        e.decisions.written &= note_limit(e, i, value, uid, login)


cdef inline void answer_request(Core *e) noexcept nogil:
    """Answer the command whose changes of the limits have been seen, and what they led to."""
    cdef agent_request *asked = &e.shm.request
    cdef uint64_t begun, complete = e.decisions.complete
    begun = LOAD(&asked.begun)
    if complete == begun and complete != e.decisions.answered:
        e.decisions.answered = complete
        if e.decisions.written and not e.journal.full:
            STORE(&asked.journaled, complete)
        STORE(&asked.answered, complete)
    e.decisions.waited = e.decisions.waited + 1 if begun == e.decisions.begun else 0
    e.decisions.begun = begun
