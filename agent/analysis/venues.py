"""`agent venues`: how far trading venues are from each other, and how long light needs at the least."""

import csv
from array import array
from pathlib import Path
from typing import Any

import msgspec

from agent.analysis.kernels import plain

#: km/s, and the group refractive index of a common fibre (ITU-T G.652, 1550 nm).
LIGHT = 299_792.458
FIBRE = 1.4682
FILE = Path(__file__).with_name("data") / "venues.csv"


class VenuesError(Exception):
    """The venues cannot be read, or there is none of that name; the message says which are."""


class Venue(msgspec.Struct, frozen=True):
    """A data centre; degrees."""

    name: str
    city: str
    venues: str
    latitude: float
    longitude: float


def read(path: Path = FILE) -> list[Venue]:
    """A file of NAME,CITY,VENUES,LATITUDE,LONGITUDE; lines that begin with # are left out. Raises VenuesError."""
    found: list[Venue] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise VenuesError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise VenuesError(f"{path}: not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, city, venues, latitude, longitude = next(csv.reader([line]))
            place = Venue(name, city, venues, float(latitude), float(longitude))
        except ValueError:
            raise VenuesError(
                f"{path}:{number}: found {line!r}, allowed: NAME,CITY,VENUES,LATITUDE,LONGITUDE"
            ) from None
        if not (abs(place.latitude) <= 90 and abs(place.longitude) <= 180):
            raise VenuesError(f"{path}:{number}: found {latitude}, {longitude}, allowed: degrees within 90 and 180")
        found.append(place)
    if not found:
        raise VenuesError(f"{path}: holds no venues")
    return found


def pairs(venues: list[Venue], start: str | None = None, end: str | None = None) -> list[dict[str, Any]]:
    """Each pair once, or those from `start`, or to `end`; nearest first: km, and the least milliseconds one way in
    vacuum (a radio link's bound) and in fibre along the great circle. Raises VenuesError for an unknown name."""
    names = [v.name for v in venues]
    for wanted in (start, end):
        if wanted is not None and wanted not in names:
            raise VenuesError(f"venue: found {wanted!r}, allowed: {', '.join(names)}")
    chosen = [
        (a, b)
        for i, a in enumerate(venues)
        for b in (venues if start or end else venues[i + 1 :])
        if a is not b and start in (None, a.name) and end in (None, b.name)
    ]
    kilometres = _distances(chosen)
    rows = [
        {
            "from": a.name,
            "to": b.name,
            "km": round(km, 1),
            "vacuum_ms": round(1e3 * km / LIGHT, 3),
            "fibre_ms": round(1e3 * km * FIBRE / LIGHT, 3),
        }
        for (a, b), km in zip(chosen, kilometres, strict=True)
    ]
    return sorted(rows, key=lambda row: row["km"])


def _distances(chosen: list[tuple[Venue, Venue]]) -> list[float]:
    try:
        from agent.analysis.kernels import haversine
    except ImportError:  # built where there is no OpenMP
        return [plain.haversine(a.latitude, a.longitude, b.latitude, b.longitude) for a, b in chosen]
    columns = [
        array("d", (a.latitude for a, _ in chosen)),
        array("d", (a.longitude for a, _ in chosen)),
        array("d", (b.latitude for _, b in chosen)),
        array("d", (b.longitude for _, b in chosen)),
    ]
    out = array("d", bytes(8 * len(chosen)))
    haversine.distances(columns[0], columns[1], columns[2], columns[3], out)
    return list(out)


def as_text(venues: list[Venue], rows: list[dict[str, Any]]) -> str:
    """A table of pairs, one way; and what it does not say."""
    city = {v.name: f"{v.name} ({v.city})" for v in venues}
    width = max(len(text) for text in city.values())
    lines = [f"{'from':<{width}}  {'to':<{width}}{'km':>10}{'vacuum ms':>12}{'fibre ms':>11}"]
    lines += [
        f"{city[r['from']]:<{width}}  {city[r['to']]:<{width}}"
        f"{r['km']:>10,.1f}{r['vacuum_ms']:>12.3f}{r['fibre_ms']:>11.3f}"
        for r in rows
    ]
    lines.append(f"one way, along the great circle; fibre of index {FIBRE}. Cables are longer than that.")
    return "\n".join(lines) + "\n"
