# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""record.pxd for Python: fields go by their names, so the layout stands there alone."""

from libc.stdint cimport uint8_t

cimport agent.journal.record as layout
from agent.journal.record cimport JournalRecord

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


def unpack(const uint8_t[::1] records not None, Py_ssize_t index):
    """Returns the fields of record `index` by name. Raises IndexError when records has fewer whole ones."""
    if not 0 <= index < records.shape[0] // <Py_ssize_t> sizeof(JournalRecord):
        raise IndexError(f"record {index} of {records.shape[0] // <Py_ssize_t> sizeof(JournalRecord)}")
    return (<const JournalRecord *> &records[index * <Py_ssize_t> sizeof(JournalRecord)])[0]


def pack(dict fields not None):
    """Returns the SIZE bytes of a record from its fields by name. Raises ValueError when one is missing."""
    cdef JournalRecord record = fields
    return (<const char *> &record)[:sizeof(JournalRecord)]
