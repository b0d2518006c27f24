"""The distances in plain Python: for comparison, and where there is no OpenMP."""

import math

from agent.analysis.kernels import EARTH_KM


def compute_distance(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Returns the great-circle distance in km of two places in degrees, on a sphere of radius EARTH_KM.

    R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984.
    """
    one, two = math.radians(latitude), math.radians(other_latitude)
    half = math.radians(other_longitude - longitude) / 2
    a = math.sin((two - one) / 2) ** 2 + math.cos(one) * math.cos(two) * math.sin(half) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, a)))
