"""Great-circle distances of events to a reference point: by the haversine formula, on a sphere of the earth's radius.

parameters: latitude and longitude of the reference point in degrees, and a radius in km. An event outside of [-90, 90]
and [-180, 180], or whose place is not a number, is counted as refused and has no result. geo_cython.pyx and geo_rust.rs
do the same arithmetic in the same order with the same C library: all three give the same bits on one machine.

R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984; the radius is IUGG's R1.
"""

import math

from desk.worker import Worker

#: sequence, number of the event, place in degrees, the event's time in ns.
RECORD = [("sequence", "u8"), ("id", "u8"), ("latitude", "f8"), ("longitude", "f8"), ("stamp", "i8")]
#: The event's sequence, number and time, and its distance to the reference point in km.
RESULT = [("sequence", "u8"), ("id", "u8"), ("stamp", "i8"), ("distance", "f8")]
STATE = [
    ("latitude", "f8"), ("longitude", "f8"), ("cosine", "f8"), ("radius", "f8"),
    ("events", "u8"), ("refused", "u8"), ("within", "u8"), ("total", "f8"), ("longest", "f8"),
]  # fmt: skip

HALF_DEGREE = 0.0087266462599716478846  # radians
DIAMETER = 2 * 6371.0088  # km


def init(state, parameters):  # type: ignore[no-untyped-def]
    if len(parameters) != 3:
        return -1
    latitude, longitude, radius = parameters[0], parameters[1], parameters[2]
    if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0 and 0.0 <= radius <= 1e9):
        return -2
    state.latitude, state.longitude, state.radius = latitude, longitude, radius
    state.cosine = math.cos(latitude * (2 * HALF_DEGREE))
    return 0


def work(state, records, results):  # type: ignore[no-untyped-def]
    made = 0
    for i in range(len(records)):
        record = records[i]
        latitude, longitude = record.latitude, record.longitude
        if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
            state.refused += 1
            continue
        north = math.sin((latitude - state.latitude) * HALF_DEGREE)
        east = math.sin((longitude - state.longitude) * HALF_DEGREE)
        h = north * north + state.cosine * math.cos(latitude * (2 * HALF_DEGREE)) * (east * east)
        distance = DIAMETER * math.asin(math.sqrt(1.0 if h > 1.0 else h))
        result = results[made]
        result.sequence, result.id, result.stamp, result.distance = record.sequence, record.id, record.stamp, distance
        made += 1
        state.events += 1
        state.total += distance
        if distance > state.longest:
            state.longest = distance
        if distance <= state.radius:
            state.within += 1
    return made


def report(state, numbers):  # type: ignore[no-untyped-def]
    numbers[0] = state.events
    numbers[1] = state.refused
    numbers[2] = state.within
    numbers[3] = state.total / state.events if state.events > 0 else 0.0
    numbers[4] = state.longest


WORKER = Worker(
    work, RECORD, RESULT, STATE, init=init, report=report,
    numbers=["events", "refused", "within_radius", "mean_km", "max_km"],
)  # fmt: skip
