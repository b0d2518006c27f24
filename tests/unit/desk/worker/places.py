"""Events for the geospatial workers, and what plain Python makes of them."""

import math
import struct
from collections.abc import Iterable

RECORD = struct.Struct("<QQddq")
RESULT = struct.Struct("<QQqd")
HALF_DEGREE = 0.0087266462599716478846
DIAMETER = 2 * 6371.0088

Event = tuple[int, int, float, float, int]


def pack(events: Iterable[Event]) -> bytes:
    """Returns the records of events: sequence, id, latitude, longitude, stamp."""
    return b"".join(RECORD.pack(*event) for event in events)


def make_events(first: int, count: int) -> list[Event]:
    """Returns events whose places are spread over the earth, numbered from `first`."""
    return [(n, n % 97, n * 7.31 % 180 - 90, n * 13.7 % 360 - 180, 1000 * n) for n in range(first, first + count)]


SERIES = [(-1) ** (n // 2) / math.factorial(n) for n in range(3, 22, 2)]
ABOVE = [1.66666666666666657415e-01, -3.25565818622400915405e-01, 2.01212532134862925881e-01,
         -4.00555345006794114027e-02, 7.91534994289814532176e-04, 3.47933107596021167570e-05]  # fmt: skip
BELOW = [1.0, -2.40339491173441421878e00, 2.02094576023350569471e00, -6.88283971605453293030e-01,
         7.70381505559019352791e-02]  # fmt: skip


def evaluate(coefficients: list[float], z: float) -> float:
    """Returns a polynomial's value, by Horner's rule."""
    value = 0.0
    for each in reversed(coefficients):
        value = value * z + each
    return value


def sine(x: float) -> float:
    """Returns the sine of an angle within a quarter of a turn."""
    return x + x * (x * x * evaluate(SERIES, x * x))


def compute(latitude: float, longitude: float, place: tuple[float, float]) -> float | None:
    """Returns the distance in km to a place in degrees, None for what is no place: to the last bit."""
    if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
        return None
    turned = longitude - place[1]
    turned = turned - 360.0 if turned > 180.0 else turned + 360.0 if turned < -180.0 else turned
    north, east = sine((latitude - place[0]) * HALF_DEGREE), sine(turned * HALF_DEGREE)
    cosines = [sine((90.0 - abs(each)) * (2 * HALF_DEGREE)) for each in (place[0], latitude)]
    h = min(1.0, north * north + cosines[0] * cosines[1] * (east * east))
    s = math.sqrt(h)
    z = (1.0 - s) * 0.5 if s > 0.5 else h
    t = math.sqrt(z) if s > 0.5 else s
    arc = t + t * (z * evaluate(ABOVE, z) / evaluate(BELOW, z))
    return DIAMETER * (math.pi / 2 - 2.0 * arc if s > 0.5 else arc)


def give_results(events: Iterable[Event], place: tuple[float, float]) -> bytes:
    """Returns the results that a worker has to give."""
    found = ((n, i, stamp, compute(latitude, longitude, place)) for n, i, latitude, longitude, stamp in events)
    return b"".join(RESULT.pack(*each) for each in found if each[3] is not None)
