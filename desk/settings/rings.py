"""The rings that the tables of desk.toml write to: one writer each, and no record that comes back to its worker."""

from collections.abc import Iterator, Mapping

from desk.settings.ingest import Ingest
from desk.settings.ring_path import name_ring
from desk.settings.worker import Worker
from hosttune.refusals import KeyRefused, SeveralRefused


def check_rings(ingest: Ingest | None, workers: Mapping[str, Worker]) -> None:
    """Raise ValueError, with all that is wrong, where two tables write to one ring, or workers are a circle."""
    if refused := [*_list_second_writers(ingest, workers), *_list_circles(workers)]:
        raise SeveralRefused(
            [KeyRefused(("worker", name, key), f"worker.{name}.{key}: {words}") for name, key, words in refused]
        )


def _list_second_writers(ingest: Ingest | None, workers: Mapping[str, Worker]) -> Iterator[tuple[str, str, str]]:
    """Yields the worker, the key and the words about it, for each whose output has a writer already."""
    writers: dict[str, str] = {}
    for at, topic in enumerate(ingest.topics if ingest else ()):
        writers |= {name_ring(topic.ring_of(number)): f"ingest.topics[{at}].ring" for number in topic.partitions}
    for name, worker in workers.items():
        mine = f"worker.{name}.output"
        if worker.output and (other := writers.setdefault(name_ring(worker.output), mine)) != mine:
            words = f"found {worker.output}, which is {other} too, allowed: a ring of its own, which has one writer"
            yield name, "output", words


def _list_circles(workers: Mapping[str, Worker]) -> Iterator[tuple[str, str, str]]:
    """Yields as _list_second_writers(), for one worker of each circle."""
    writers = {name_ring(worker.output): name for name, worker in workers.items() if worker.output}
    seen: set[str] = set()
    for first in workers:
        chain: list[str] = []
        name: str | None = first
        while name is not None and name not in seen:
            seen.add(name)
            chain.append(name)
            name = writers.get(name_ring(workers[name].input))
        if name in chain:
            circle = list(reversed(chain[chain.index(name) :]))
            at = circle.index(next(each for each in workers if each in circle))
            shown = " -> ".join([*circle[at:], *circle[: at + 1]])
            words = f"found a circle of workers, {shown}, allowed: rings whose records do not come back"
            yield circle[at], "input", words
