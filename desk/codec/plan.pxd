# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The tables of a schema (schema.py), as compiled code reads them (decode.pxd)."""

from cpython.bytes cimport PyBytes_AsString
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from desk.codec.decode cimport (BOOL, BYTES, DIRECT, FIXED32, FLOAT, INT32, MESSAGE, PASS_FIXED, PASS_LENGTH,
                                PASS_VARINT, SFIXED32, SINT32, SINT64, SKIP, STRING, UINT32, VARINT, WORD, Entry, Plan,
                                Range, Table)
from desk.codec.wire cimport IS_32, IS_64, IS_LENGTH, IS_VARINT


cdef inline int read_kind(str name) except -1:
    """Returns the number of a kind."""
    return {
        "skip": SKIP, "varint": VARINT, "int32": INT32, "uint32": UINT32, "sint32": SINT32, "sint64": SINT64,
        "bool": BOOL, "word": WORD, "fixed32": FIXED32, "sfixed32": SFIXED32, "float": FLOAT, "string": STRING,
        "bytes": BYTES, "message": MESSAGE,
    }[name]


cdef inline int choose_quick(row) except -1:
    """Returns what Entry.quick is of a row of the schema."""
    if row.repeated or row.packed or row.clear:
        return SKIP
    if row.kind == "skip":
        passes = {IS_VARINT: PASS_VARINT, IS_64: PASS_FIXED, IS_32: PASS_FIXED, IS_LENGTH: PASS_LENGTH}
        return passes.get(row.wire, SKIP)
    return read_kind(row.kind) if row.wire == IS_VARINT or row.kind in ("word", "string") else SKIP


cdef inline int fill_entry(Entry *e, row, uint32_t clear) except -1:
    """Write a row of the schema; clear: the first of its ranges."""
    cdef uint32_t tag = row.number << 3 | row.wire
    e.tag, e.need = 1, 2
    if tag < 128 * 128:
        e.tag_size = 1 if tag < 128 else 2
        e.mask = 0xFF if tag < 128 else 0xFFFF
        e.tag = <uint16_t> (tag if tag < 128 else tag & 127 | 128 | tag >> 7 << 8)
        e.need = e.tag_size + (8 if row.wire == IS_64 else 4 if row.wire == IS_32 else 1)
    e.kind, e.quick, e.wire, e.number = read_kind(row.kind), choose_quick(row), row.wire, row.number
    e.offset, e.size, e.width, e.table = row.offset, row.size, row.width, row.table
    e.repeated, e.packed = row.repeated, row.packed
    e.clear, e.clears = clear, len(row.clear)
    return 0


cdef inline int fill_plan(Plan *plan, schema, uint32_t base) except -1:
    """Write the tables of a schema into a zeroed plan, which uses the schema's defaults as long as it lives. base:
    where the message's fields begin in a record."""
    cdef Table *table
    ranges = []
    plan.defaults = <const uint8_t *> PyBytes_AsString(schema.defaults)
    plan.size, plan.base, plan.plain = len(schema.defaults), base, True
    plan.tables = <Table *> calloc(len(schema.tables), sizeof(Table))
    if plan.tables == NULL:
        raise MemoryError("tables of a schema")
    plan.count = len(schema.tables)
    for number, rows in enumerate(schema.tables):
        table = &plan.tables[number]
        table.entries = <Entry *> calloc(len(rows) + 1, sizeof(Entry))
        if table.entries == NULL:
            raise MemoryError("tables of a schema")
        table.count = len(rows)
        table.entries[table.count].tag, table.entries[table.count].need = 1, 2
        for place, row in enumerate(rows):
            fill_entry(&table.entries[place], row, len(ranges))
            ranges += row.clear
            if row.number < DIRECT:
                table.direct[row.number] = place + 1
            if row.repeated or row.clear or row.kind == "message":
                plan.plain = False
    plan.ranges = <Range *> calloc(len(ranges) + 1, sizeof(Range))
    if plan.ranges == NULL:
        raise MemoryError("tables of a schema")
    for place, (start, end) in enumerate(ranges):
        plan.ranges[place].offset, plan.ranges[place].size = start, end - start
    return 0


cdef inline void free_plan(Plan *plan) noexcept:
    cdef uint32_t i
    for i in range(plan.count):
        free(plan.tables[i].entries)
    free(plan.tables)
    free(plan.ranges)
