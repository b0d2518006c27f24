# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""record.pxd for Python: fields go by their names, so the layout stands there alone."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport agent.journal.record as layout
from agent.journal.record cimport (BAD_ID, BAD_KIND, BAD_NAME, BAD_NUMBER, BAD_ORIGINAL, BAD_QUANTITY, BAD_SESSION,
                                   BAD_SIDE, BAD_SYMBOL, FINE, LIMIT_NAME, MAX_QUANTITY, JournalRecord, LimitRecord,
                                   find_fault, is_limit_record)

SIZE = sizeof(JournalRecord)

ENTERED = layout.ENTERED
REPLACING = layout.REPLACING
ACCEPTED = layout.ACCEPTED
REPLACED = layout.REPLACED
EXECUTED = layout.EXECUTED
CANCELED = layout.CANCELED
REJECTED = layout.REJECTED
NEVER_REACHED = layout.NEVER_REACHED
SESSION = layout.SESSION
QUERIED = layout.QUERIED
CAUGHT_UP = layout.CAUGHT_UP
IGNORED = layout.IGNORED
CONTRADICTED = layout.CONTRADICTED
BROKEN = layout.BROKEN
MODIFIED = layout.MODIFIED
OVER = layout.OVER
LIMIT_SET = layout.LIMIT_SET
LIMIT_RESET = layout.LIMIT_RESET

#: Not of the kinds: who changed a limit, where no user did.
who = {"unknown": <uint32_t> layout.UNKNOWN_USER, "engine": <uint32_t> layout.ENGINE_ITSELF}


cdef const JournalRecord *record_at(const uint8_t[::1] records, Py_ssize_t index) except NULL:
    if not 0 <= index < records.shape[0] // <Py_ssize_t> sizeof(JournalRecord):
        raise IndexError(f"record {index} of {records.shape[0] // <Py_ssize_t> sizeof(JournalRecord)}")
    return <const JournalRecord *> &records[index * <Py_ssize_t> sizeof(JournalRecord)]


cdef dict fields_of(const JournalRecord *r):
    cdef const LimitRecord *limit = <const LimitRecord *> r
    if not is_limit_record(r):
        return r[0]
    return {"number": limit.number, "time_ns": limit.time_ns, "kind": limit.kind,
            "name": limit.name[:LIMIT_NAME].rstrip(b"\0"), "old": limit.old, "new": limit.new, "uid": limit.uid,
            "login": limit.login}


def unpack(const uint8_t[::1] records not None, Py_ssize_t index):
    """Returns the fields of record `index` by name: of struct JournalRecord, or of LimitRecord, whose name is bytes.
    Raises IndexError when records has fewer whole ones."""
    return fields_of(record_at(records, index))


def pack(dict fields not None):
    """Returns the SIZE bytes of a record from its fields by name. Raises ValueError when one is missing."""
    cdef JournalRecord record
    cdef LimitRecord limit
    if fields["kind"] not in (LIMIT_SET, LIMIT_RESET):
        record = fields
        return (<const char *> &record)[:sizeof(JournalRecord)]
    name = fields["name"].ljust(LIMIT_NAME, b"\0")
    limit = fields | {"name": bytes(LIMIT_NAME)}
    memcpy(limit.name, <const char *> name, LIMIT_NAME)
    return (<const char *> &limit)[:sizeof(LimitRecord)]


def explain_contradiction(uint32_t why):
    """Returns what the exchange said that cannot be, by JournalRecord.original of a record CONTRADICTED."""
    return {
        layout.SETTLED: "settled",
        layout.UNKNOWN_ORDER: "about an order that is not known",
        layout.WRONG_ANSWER: "not an answer that the order can get",
        layout.WRONG_SIDE: "another side",
        layout.WRONG_SYMBOL: "another symbol",
        layout.WRONG_PRICE: "a price worse than the order's limit",
        layout.WRONG_SIZE: "another size",
        layout.EXECUTED_TOO_MUCH: "executed more than was open",
        layout.CANCELED_TOO_MUCH: "canceled more than was open",
        layout.WRONG_MATCH: "an execution told twice, or taken back that is not known",
        layout.LOST_SESSION: "the session went on or back without a word on open orders",
        layout.BAD_VALUE: "a quantity that OUCH does not allow",
    }.get(why, f"contradiction {why}")


def explain_fault(int fault, dict record not None, uint32_t symbols):
    """Returns what is wrong with a record (fields by name), one line, by the number that find_fault() gives it."""
    field, allowed = {
        BAD_NUMBER: ("number", "from 1"),
        BAD_KIND: ("kind", f"{layout.ENTERED} to {layout.LAST_KIND}, {layout.LIMIT_SET}, {layout.LIMIT_RESET}"),
        BAD_SYMBOL: ("symbol", f"below {symbols}, the number of the journal's symbols, and 0 of no order"),
        BAD_SIDE: ("side", "1 (buy) or -1 (sell), and 0 of no order"),
        BAD_QUANTITY: ("quantity", f"1 to {MAX_QUANTITY}, and 0 of no order"),
        BAD_ID: ("id", "a number from 1"),
        BAD_ORIGINAL: ("original", f"the number of another order of a Replace, at most {layout.LAST_CONTRADICTION} of "
                       "a contradiction, else 0"),
        BAD_NAME: ("name", f"a limit's: a-z, 0-9 and _, at most {LIMIT_NAME} characters"),
        BAD_SESSION: ("price", "of a session the last 2 of its characters"),
    }[fault]
    return f"record {record['number']}: {field}: found {record[field]}, allowed: {allowed}"


def check(const uint8_t[::1] records not None, Py_ssize_t index, uint32_t symbols):
    """Returns what is wrong with record `index` by itself, one line; "" for one that an engine writes. Raises
    IndexError as unpack()."""
    cdef const JournalRecord *r = record_at(records, index)
    cdef int fault = find_fault(r, symbols)
    return "" if fault == FINE else explain_fault(fault, fields_of(r), symbols)


def select(const uint8_t[::1] records not None, uint32_t symbols, uint64_t last):
    """Returns (first, end, why): of whole records, those from `first` to before `end` follow record number `last`, one
    after the other. Those before `first` are in the journal already. All before `end` are such as an engine writes.
    why: "" when that is all of them, else what is wrong with the one at `end`, one line."""
    cdef Py_ssize_t count = records.shape[0] // <Py_ssize_t> sizeof(JournalRecord), first = 0, end
    cdef const JournalRecord *r
    cdef int fault
    while first < count:
        r = <const JournalRecord *> &records[first * <Py_ssize_t> sizeof(JournalRecord)]
        fault = find_fault(r, symbols)
        if fault != FINE:
            return first, first, explain_fault(fault, fields_of(r), symbols)
        if r.number > last:
            break
        first += 1
    for end in range(first, count):
        r = <const JournalRecord *> &records[end * <Py_ssize_t> sizeof(JournalRecord)]
        if r.number != last + 1:
            return first, end, f"record {r.number} follows record {last}: records are missing"
        fault = find_fault(r, symbols)
        if fault != FINE:
            return first, end, explain_fault(fault, fields_of(r), symbols)
        last = r.number
    return first, count, ""
