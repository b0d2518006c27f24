from typing_extensions import Buffer

def compute_distances(
    latitude: Buffer,
    longitude: Buffer,
    other_latitude: Buffer,
    other_longitude: Buffer,
    out: Buffer,
    threads: int = 0,
) -> None:
    """Write the kilometres between the places of each pair to `out`."""
