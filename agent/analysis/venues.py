"""How far trading venues are from each other, and how long light needs at the least: a document for `agent venues`."""

import csv
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent.analysis.kernels import plain
from agent.errors import AgentError
from hosttune.report.columns import measure, pad

if TYPE_CHECKING:
    from hosttune.report.document import Page

#: Speed of light in vacuum, km/s (exact, SI).
LIGHT = 299_792.458
#: Group refractive index of a common fibre (ITU-T G.652, 1550 nm).
FIBRE = 1.4682
FILE = Path(__file__).with_name("data") / "venues.csv"


class VenuesError(AgentError):
    """The venues cannot be read, or there is none of that name; the message says which are."""


class Venue(msgspec.Struct, frozen=True):
    """A data centre, and the venues in it; latitude and longitude in degrees, WGS 84."""

    name: str
    city: str
    venues: str
    latitude: float
    longitude: float


class Distances(msgspec.Struct, frozen=True):
    """Pairs of venues, nearest first.

    rows: names `from` and `to`, great-circle `km`, and the least milliseconds one way: `vacuum_ms`, which bounds a
    radio link, and `fibre_ms`.
    """

    venues: list[Venue]
    rows: list[dict[str, Any]]

    def as_data(self) -> list[dict[str, Any]]:
        """Returns the rows."""
        return self.rows

    def as_text(self, page: "Page") -> str:
        """Returns a table of the pairs, and what the table does not say."""
        labels = {venue.name: f"{venue.name} ({venue.city})" for venue in self.venues}
        width = max(measure(label) for label in labels.values())
        lines = [f"{'from':<{width}}  {'to':<{width}}{'km':>10}{'vacuum ms':>12}{'fibre ms':>11}"]
        lines += [
            f"{pad(labels[row['from']], width)}  {pad(labels[row['to']], width)}"
            f"{row['km']:>10,.1f}{row['vacuum_ms']:>12.3f}{row['fibre_ms']:>11.3f}"
            for row in self.rows
        ]
        lines.append(f"one way, along the great circle; fibre of index {FIBRE}. Cables are longer than that.")
        return "\n".join(lines) + "\n"


def read_venues(path: Path = FILE) -> list[Venue]:
    """Returns the venues of a file of NAME,CITY,VENUES,LATITUDE,LONGITUDE lines; those that begin with # are comments.

    Raises VenuesError, which names the file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise VenuesError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise VenuesError(f"{path}: not UTF-8 text") from None
    found = [
        _parse_venue(line, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
    if not found:
        raise VenuesError(f"{path}: holds no venues")
    return found


def _parse_venue(line: str, place: str) -> Venue:
    try:
        name, city, venues, latitude, longitude = next(csv.reader([line]))
        venue = Venue(name, city, venues, float(latitude), float(longitude))
    except (ValueError, csv.Error):
        raise VenuesError(f"{place}: found {line!r}, allowed: NAME,CITY,VENUES,LATITUDE,LONGITUDE") from None
    if not (abs(venue.latitude) <= 90 and abs(venue.longitude) <= 180):
        raise VenuesError(f"{place}: found {latitude}, {longitude}, allowed: degrees within 90 and 180")
    return venue


def measure_distances(venues: list[Venue], start: str | None = None, end: str | None = None) -> Distances:
    """Returns each pair of venues once, or the pairs from `start`, or to `end`. Raises VenuesError for an unknown name.

    Delays are along the great circle, at the speed of light in vacuum and in fibre.
    """
    names = [venue.name for venue in venues]
    for wanted in (start, end):
        if wanted is not None and wanted not in names:
            raise VenuesError(f"venue: found {wanted!r}, allowed: {', '.join(names)}")
    pairs = [
        (a, b)
        for i, a in enumerate(venues)
        for b in (venues if start or end else venues[i + 1 :])
        if a is not b and start in (None, a.name) and end in (None, b.name)
    ]
    rows = [
        {
            "from": a.name,
            "to": b.name,
            "km": round(km, 1),
            "vacuum_ms": round(1e3 * km / LIGHT, 3),
            "fibre_ms": round(1e3 * km * FIBRE / LIGHT, 3),
        }
        for (a, b), km in zip(pairs, _compute_kilometres(pairs), strict=True)
    ]
    return Distances(venues, sorted(rows, key=lambda row: row["km"]))


def _compute_kilometres(pairs: list[tuple[Venue, Venue]]) -> list[float]:
    """Returns the great-circle distance of each pair."""
    try:
        from agent.analysis.kernels import haversine
    except ImportError:  # built where there is no OpenMP
        return [plain.compute_distance(a.latitude, a.longitude, b.latitude, b.longitude) for a, b in pairs]
    out = array("d", bytes(8 * len(pairs)))
    haversine.compute_distances(
        array("d", (a.latitude for a, _ in pairs)),
        array("d", (a.longitude for a, _ in pairs)),
        array("d", (b.latitude for _, b in pairs)),
        array("d", (b.longitude for _, b in pairs)),
        out,
    )
    return list(out)
