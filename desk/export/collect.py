"""All metrics of this host, read anew for each answer: its engines, the journals' rings, a check's textfile, and the
exporter itself. What cannot be read costs its own metrics, and is counted."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from agent.monitor.prometheus import collect_metrics
from agent.shm import place
from agent.shm import segment as shm
from agent.shm.ring import read_fill
from agent.shm.segment import SegmentError
from desk import counters
from desk.errors import UsageError
from desk.export import desk, engines
from desk.export.server import Counts
from desk.settings.export import Export
from hosttune import files
from hosttune.output import escape, print_message
from hosttune.report.formats.prometheus import escape_family

#: Of a textfile: bytes, and the names that it may have metrics of.
_MAX_TEXTFILE = 1 << 20
_TEXTFILE_NAMES = "hosttune_"
#: Processes of the desk whose numbers are exported, at most.
_MOST_PROCESSES = 256
#: Characters of a message about what cannot be read, at most.
_MOST_TEXT = 500


class HostCollector(Collector):
    """Collects for prometheus_client. counts: of the server that answers. errors: what could not be
    read, by desk.SOURCES."""

    def __init__(self, settings: Export, counts: Counts) -> None:
        self._settings, self._counts = settings, counts
        self.errors = dict.fromkeys(desk.SOURCES, 0)
        #: What was wrong at the last collection, and is at this one: each is told once, until it is well again.
        self._told: set[str] = set()
        self._wrong: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric family once, with the samples of all engines."""
        begin = time.perf_counter()
        self._wrong = set()
        merged: dict[str, Metric] = {}
        readable: dict[str, bool] = {}
        for path in self._find_engines():
            found = self._attempt("engine", partial(_read_engine, path))
            readable[place.name_of(path)] = found is not None
            _merge(merged, found or [])
            _merge(merged, self._attempt("ring", partial(_read_ring, path)) or [])
        _merge(merged, self._attempt("process", self._read_processes) or [])
        if self._settings.textfile:
            _merge(merged, self._attempt("textfile", self._read_textfile) or [])
        for text in sorted(self._wrong - self._told):
            print_message(f"desk: export: {escape(text)}")
        self._told = self._wrong
        yield from map(escape_family, merged.values())
        seconds = time.perf_counter() - begin
        yield from desk.describe_exporter(readable, self.errors, self._counts.values, seconds)

    def _attempt(self, source: str, read: Callable[[], list[Metric]]) -> list[Metric] | None:
        """Returns what read() returns, None where it cannot."""
        try:
            return read()
        except (UsageError, OSError, ValueError, ArithmeticError) as error:
            self.errors[source] += 1
            self._wrong.add(f"{source}: {error}"[:_MOST_TEXT])
            return None

    def _find_engines(self) -> list[Path]:
        """Returns the paths of the segments in this user's directory and in the service's, each name once, in that
        order, at most as many as configured."""
        found: dict[str, Path] = {}
        for directory in dict.fromkeys((place.own_directory(), place.SYSTEM)):
            try:
                for name in place.list_segments(directory):
                    found.setdefault(name, directory / name)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.errors["directory"] += 1
                self._wrong.add(f"directory: {place.explain(error, directory)}")
        paths = list(found.values())
        self.errors["left_out"] += len(paths[self._settings.engines :])
        return paths[: self._settings.engines]

    def _read_processes(self) -> list[Metric]:
        """Returns the numbers of the desk's processes. Raises CountersError where their directory cannot be read."""
        found = []
        for one in itertools.islice(counters.list_all(), _MOST_PROCESSES):
            if isinstance(one, counters.Snapshot):
                found.append(one)
            else:
                self.errors["process"] += 1
                self._wrong.add(f"process: {one}"[:_MOST_TEXT])
        return list(desk.describe_processes(found))

    def _read_textfile(self) -> list[Metric]:
        """Returns the metrics of a check. Raises OSError, ValueError for a file that is none, or of another program."""
        text = files.read_file(self._settings.textfile, _MAX_TEXTFILE).decode()
        families = list(text_string_to_metric_families(text))
        for family in families:
            if not family.name.startswith(_TEXTFILE_NAMES) or any(s.timestamp is not None for s in family.samples):
                raise ValueError(family.name)
        return families


def _read_engine(path: Path) -> list[Metric]:
    segment = shm.read(path)
    names = [symbol.name for symbol in segment.symbols]
    if len({*names}) < len(names):
        raise SegmentError(f"{path}: two symbols with one name")
    return list(collect_metrics(segment))


def _read_ring(segment: Path) -> list[Metric]:
    """Returns the metrics of a journal's ring; none for an engine that has no journal."""
    path = place.ring_of(segment)
    if not path.exists():
        return []
    return list(engines.describe_ring(place.name_of(segment), read_fill(path)))


def _merge(merged: dict[str, Metric], families: Iterable[Metric]) -> None:
    """Add the samples to those of the family with the same name. An engine of another build may have one of another
    type: it is left out, since a name has one type."""
    for family in families:
        first = merged.setdefault(family.name, family)
        if first is not family and first.type == family.type:
            first.samples.extend(family.samples)
