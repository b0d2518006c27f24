# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""geo.py in Cython."""

from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport asin, cos, sin, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset, strcpy

from desk.worker.abi cimport DESK_WORKER_ABI, desk_worker

cdef extern from *:
    """
    #define GEO_HALF_DEGREE 0.0087266462599716478846
    #define GEO_DIAMETER (2 * 6371.0088)
    """
    const double HALF_DEGREE "GEO_HALF_DEGREE"      # radians
    const double DIAMETER "GEO_DIAMETER"            # km

cdef struct Record:
    uint64_t sequence
    uint64_t id
    double latitude
    double longitude
    int64_t stamp

cdef struct Result:
    uint64_t sequence
    uint64_t id
    int64_t stamp
    double distance

cdef struct State:
    double latitude
    double longitude
    double cosine
    double radius
    uint64_t events
    uint64_t refused
    uint64_t within
    double total
    double longest


cdef int32_t init(void *memory, const double *parameters, uint32_t count) noexcept nogil:
    cdef State *state = <State *> memory
    if count != 3:
        return -1
    if not (-90.0 <= parameters[0] <= 90.0 and -180.0 <= parameters[1] <= 180.0 and 0.0 <= parameters[2] <= 1e9):
        return -2
    state.latitude, state.longitude, state.radius = parameters[0], parameters[1], parameters[2]
    state.cosine = cos(state.latitude * (2 * HALF_DEGREE))
    return 0


cdef int32_t work(void *memory, const void *records, uint32_t count, uint32_t size, void *results,
                  uint32_t capacity) noexcept nogil:
    cdef State *state = <State *> memory
    cdef const Record *record = <const Record *> records
    cdef Result *result = <Result *> results
    cdef double latitude, longitude, north, east, h, distance
    cdef uint32_t i
    for i in range(count):
        latitude, longitude = record[i].latitude, record[i].longitude
        if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
            state.refused += 1
            continue
        north = sin((latitude - state.latitude) * HALF_DEGREE)
        east = sin((longitude - state.longitude) * HALF_DEGREE)
        h = north * north + state.cosine * cos(latitude * (2 * HALF_DEGREE)) * (east * east)
        distance = DIAMETER * asin(sqrt(1.0 if h > 1.0 else h))
        result.sequence, result.id, result.stamp, result.distance = record[i].sequence, record[i].id, record[i].stamp, \
            distance
        result += 1
        state.events += 1
        state.total += distance
        if distance > state.longest:
            state.longest = distance
        if distance <= state.radius:
            state.within += 1
    return <int32_t> (result - <Result *> results)


cdef void report(const void *memory, double *numbers) noexcept nogil:
    cdef const State *state = <const State *> memory
    numbers[0] = <double> state.events
    numbers[1] = <double> state.refused
    numbers[2] = <double> state.within
    numbers[3] = state.total / <double> state.events if state.events > 0 else 0.0
    numbers[4] = state.longest


cdef desk_worker table
memset(&table, 0, sizeof(table))
table.abi = DESK_WORKER_ABI
table.size = sizeof(desk_worker)
table.state_size = sizeof(State)
table.record_size = sizeof(Record)
table.result_size = sizeof(Result)
table.most_results = 1
table.numbers = 5
strcpy(table.names[0], b"events")
strcpy(table.names[1], b"refused")
strcpy(table.names[2], b"within_radius")
strcpy(table.names[3], b"mean_km")
strcpy(table.names[4], b"max_km")
table.init = init
table.work = work
table.report = report

WORKER = PyCapsule_New(&table, "desk.worker", NULL)
