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


def compute(latitude: float, longitude: float, place: tuple[float, float]) -> float | None:
    """Returns the distance in km to a place in degrees, None for what is no place."""
    if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
        return None
    north = math.sin((latitude - place[0]) * HALF_DEGREE)
    east = math.sin((longitude - place[1]) * HALF_DEGREE)
    cosine = math.cos(place[0] * (2 * HALF_DEGREE))
    h = north * north + cosine * math.cos(latitude * (2 * HALF_DEGREE)) * (east * east)
    return DIAMETER * math.asin(math.sqrt(min(1.0, h)))


def give_results(events: Iterable[Event], place: tuple[float, float]) -> bytes:
    """Returns the results that a worker has to give."""
    found = ((n, i, stamp, compute(latitude, longitude, place)) for n, i, latitude, longitude, stamp in events)
    return b"".join(RESULT.pack(*each) for each in found if each[3] is not None)
