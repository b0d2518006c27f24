"""Great-circle distances of events to a reference point: by the haversine formula, on a sphere of the earth's radius.

parameters: latitude and longitude of the reference point in degrees, and a radius in km. An event outside of [-90, 90]
and [-180, 180], or whose place is not a number, is counted as refused and has no result.

Nothing but additions, multiplications, divisions and square roots, which IEEE 754 defines to the last bit: so this,
geo_cython.pyx and geo_rust.rs, which do the same in the same order, give the same bits on any machine, and compilers
can do several events at once. Sines are of angles within a quarter of a turn: Taylor's series, off by one bit at most;
a cosine is the sine of what is left to 90 degrees. The arc sine is fdlibm's rational function (e_asin.c).

R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984; the radius is IUGG's R1.
"""

import math

from desk.worker import Worker

CHUNK = 64  # events, of which the compiler computes several at once
#: sequence, number of the event, place in degrees, the event's time in ns.
RECORD = [("sequence", "u8"), ("id", "u8"), ("latitude", "f8"), ("longitude", "f8"), ("stamp", "i8")]
#: The event's sequence, number and time, and its distance to the reference point in km.
RESULT = [("sequence", "u8"), ("id", "u8"), ("stamp", "i8"), ("distance", "f8")]
STATE = [
    ("latitude", "f8"), ("longitude", "f8"), ("cosine", "f8"), ("radius", "f8"),
    ("events", "u8"), ("refused", "u8"), ("within", "u8"), ("total", "f8"), ("longest", "f8"),
    ("latitudes", "f8", CHUNK), ("longitudes", "f8", CHUNK), ("distances", "f8", CHUNK),
]  # fmt: skip

HALF_DEGREE = 0.0087266462599716478846  # radians
DEGREE = 2 * HALF_DEGREE
QUARTER = 1.5707963267948966  # of a turn, radians
DIAMETER = 2 * 6371.0088  # km
#: Of Taylor's series of the sine, from the third power up.
S3, S5, S7, S9, S11, S13, S15, S17, S19, S21 = ((-1) ** (n // 2) / math.factorial(n) for n in range(3, 22, 2))
#: Of the arc sine: numerator and denominator.
P0, P1, P2 = 1.66666666666666657415e-01, -3.25565818622400915405e-01, 2.01212532134862925881e-01
P3, P4, P5 = -4.00555345006794114027e-02, 7.91534994289814532176e-04, 3.47933107596021167570e-05
Q1, Q2 = -2.40339491173441421878e00, 2.02094576023350569471e00
Q3, Q4 = -6.88283971605453293030e-01, 7.70381505559019352791e-02


def init(state, parameters):  # type: ignore[no-untyped-def]
    if len(parameters) != 3:
        return -1
    latitude, longitude, radius = parameters[0], parameters[1], parameters[2]
    if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0 and 0.0 <= radius <= 1e9):
        return -2
    state.latitude, state.longitude, state.radius = latitude, longitude, radius
    x = (90.0 - abs(latitude)) * DEGREE
    z = x * x
    p = ((((((((S21 * z + S19) * z + S17) * z + S15) * z + S13) * z + S11) * z + S9) * z + S7) * z + S5) * z + S3
    state.cosine = x + x * (z * p)
    return 0


def work(state, records, results):  # type: ignore[no-untyped-def]
    made = 0
    reference, meridian, beside = state.latitude, state.longitude, state.cosine
    latitudes, longitudes, distances = state.latitudes, state.longitudes, state.distances
    for first in range(0, len(records), CHUNK):
        some = min(CHUNK, len(records) - first)
        for i in range(some):
            latitudes[i], longitudes[i] = records[first + i].latitude, records[first + i].longitude
        for i in range(CHUNK):  # of what is no place, anything
            latitude = latitudes[i]
            x = (latitude - reference) * HALF_DEGREE
            z = x * x
            p = (
                (((((((S21 * z + S19) * z + S17) * z + S15) * z + S13) * z + S11) * z + S9) * z + S7) * z + S5
            ) * z + S3
            north = x + x * (z * p)
            turned = longitudes[i] - meridian
            turned = turned - 360.0 if turned > 180.0 else (turned + 360.0 if turned < -180.0 else turned)
            x = turned * HALF_DEGREE
            z = x * x
            p = (
                (((((((S21 * z + S19) * z + S17) * z + S15) * z + S13) * z + S11) * z + S9) * z + S7) * z + S5
            ) * z + S3
            east = x + x * (z * p)
            x = (90.0 - abs(latitude)) * DEGREE
            z = x * x
            p = (
                (((((((S21 * z + S19) * z + S17) * z + S15) * z + S13) * z + S11) * z + S9) * z + S7) * z + S5
            ) * z + S3
            h = north * north + beside * (x + x * (z * p)) * (east * east)
            h = 1.0 if h > 1.0 else h
            s = math.sqrt(h)
            left = (1.0 - s) * 0.5
            root = math.sqrt(left)
            z, t = (left, root) if s > 0.5 else (h, s)
            p = z * (P0 + z * (P1 + z * (P2 + z * (P3 + z * (P4 + z * P5)))))
            arc = t + t * (p / (1.0 + z * (Q1 + z * (Q2 + z * (Q3 + z * Q4)))))
            distances[i] = DIAMETER * (QUARTER - 2.0 * arc if s > 0.5 else arc)
        for i in range(some):
            if not (-90.0 <= latitudes[i] <= 90.0 and -180.0 <= longitudes[i] <= 180.0):
                state.refused += 1
                continue
            record, result, distance = records[first + i], results[made], distances[i]
            result.sequence, result.id, result.stamp = record.sequence, record.id, record.stamp
            result.distance = distance
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
