from typing import Any

#: A buffer of C doubles, shape (n,): array("d") or a NumPy array.
_Doubles = Any

def compute_distances(
    latitude: _Doubles,
    longitude: _Doubles,
    other_latitude: _Doubles,
    other_longitude: _Doubles,
    out: _Doubles,
    threads: int = 0,
) -> None:
    """Write the kilometres between the places of each pair to `out`."""
