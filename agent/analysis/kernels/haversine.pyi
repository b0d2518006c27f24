from typing import Any

def distances(
    latitude: Any, longitude: Any, other_latitude: Any, other_longitude: Any, out: Any, threads: int = 0
) -> None: ...
