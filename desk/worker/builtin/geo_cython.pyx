# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""geo.py in Cython: CHUNK events at a time, so that the compiler computes several distances at once."""

from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport fabs, sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset, strcpy

from desk.worker.abi cimport DESK_WORKER_ABI, desk_worker

cdef extern from *:
    """
    #define GEO_HALF_DEGREE 0.0087266462599716478846
    #define GEO_DEGREE (2 * GEO_HALF_DEGREE)
    #define GEO_QUARTER 1.5707963267948966
    #define GEO_DIAMETER (2 * 6371.0088)
    """
    const double HALF_DEGREE "GEO_HALF_DEGREE"      # radians
    const double DEGREE "GEO_DEGREE"
    const double QUARTER "GEO_QUARTER"              # of a turn
    const double DIAMETER "GEO_DIAMETER"            # km

cdef enum:
    CHUNK = 64

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


cdef inline double sine(double x) noexcept nogil:
    """Returns the sine of an angle within a quarter of a turn."""
    cdef double z = x * x
    cdef double p = 1.0 / 51090942171709440000.0
    p = p * z + -1.0 / 121645100408832000.0
    p = p * z + 1.0 / 355687428096000.0
    p = p * z + -1.0 / 1307674368000.0
    p = p * z + 1.0 / 6227020800.0
    p = p * z + -1.0 / 39916800.0
    p = p * z + 1.0 / 362880.0
    p = p * z + -1.0 / 5040.0
    p = p * z + 1.0 / 120.0
    p = p * z + -1.0 / 6.0
    return x + x * (z * p)


cdef inline double measure(const State *state, double latitude, double longitude) noexcept nogil:
    """Returns the distance to a place; of what is no place, anything."""
    cdef double north = sine((latitude - state.latitude) * HALF_DEGREE)
    cdef double turned = longitude - state.longitude
    cdef double east, h, s, z, t, p, arc
    turned = turned - 360.0 if turned > 180.0 else (turned + 360.0 if turned < -180.0 else turned)
    east = sine(turned * HALF_DEGREE)
    h = north * north + state.cosine * sine((90.0 - fabs(latitude)) * DEGREE) * (east * east)
    h = 1.0 if h > 1.0 else h
    s = sqrt(h)
    z = (1.0 - s) * 0.5
    t = sqrt(z)
    z = z if s > 0.5 else h
    t = t if s > 0.5 else s
    p = 7.91534994289814532176e-04 + z * 3.47933107596021167570e-05
    p = 2.01212532134862925881e-01 + z * (-4.00555345006794114027e-02 + z * p)
    p = z * (1.66666666666666657415e-01 + z * (-3.25565818622400915405e-01 + z * p))
    z = 1.0 + z * (-2.40339491173441421878e+00 + z * (2.02094576023350569471e+00
                   + z * (-6.88283971605453293030e-01 + z * 7.70381505559019352791e-02)))
    arc = t + t * (p / z)
    return DIAMETER * (QUARTER - 2.0 * arc if s > 0.5 else arc)


cdef int32_t init(void *memory, const double *parameters, uint32_t count) noexcept nogil:
    cdef State *state = <State *> memory
    if count != 3:
        return -1
    if not (-90.0 <= parameters[0] <= 90.0 and -180.0 <= parameters[1] <= 180.0 and 0.0 <= parameters[2] <= 1e9):
        return -2
    state.latitude, state.longitude, state.radius = parameters[0], parameters[1], parameters[2]
    state.cosine = sine((90.0 - fabs(state.latitude)) * DEGREE)
    return 0


cdef int32_t work(void *memory, const void *records, uint32_t count, uint32_t size, void *results,
                  uint32_t capacity) noexcept nogil:
    cdef State *state = <State *> memory
    cdef State reference = state[0]
    cdef const Record *record = <const Record *> records
    cdef Result *result = <Result *> results
    cdef double latitudes[CHUNK]
    cdef double longitudes[CHUNK]
    cdef double distances[CHUNK]
    cdef double distance
    cdef uint32_t i, n
    memset(latitudes, 0, sizeof(latitudes))
    memset(longitudes, 0, sizeof(longitudes))
    while count:
        n = min(count, <uint32_t> CHUNK)
        for i in range(n):
            latitudes[i], longitudes[i] = record[i].latitude, record[i].longitude
        for i in range(CHUNK):
            distances[i] = measure(&reference, latitudes[i], longitudes[i])
        for i in range(n):
            if not (-90.0 <= latitudes[i] <= 90.0 and -180.0 <= longitudes[i] <= 180.0):
                state.refused += 1
                continue
            distance = distances[i]
            result.sequence, result.id, result.stamp = record[i].sequence, record[i].id, record[i].stamp
            result.distance = distance
            result += 1
            state.events += 1
            state.total += distance
            if distance > state.longest:
                state.longest = distance
            if distance <= state.radius:
                state.within += 1
        record += n
        count -= n
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
