"""A call of a strategy: EMA cross in each language against the same in C, through the same loop over events.

Each round takes the least of PASSES short slices on either side: the limit of 10 ns a call is absolute, and what else
the machine does only ever adds.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agent import strategy
from agent.strategy import types as records
from benchmarks.agent import machine
from benchmarks.agent.sample import Sample, limit

EVENTS = 20_000
PASSES = 20
LIMIT = 10.0  # nanoseconds a call


def _time(loaded: strategy.Loaded, events: bytes) -> float:
    """Nanoseconds a call, in the fastest of PASSES slices."""
    prepared = strategy.prepare(loaded, 10, 50, 1)
    return float(min(loaded.table.time_events(prepared.state, events, 1)[0] for _ in range(PASSES)) / EVENTS)


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: C, then each language that is built here."""
    reference = strategy.load(str(machine.build("strategy", directory, shared=True)))
    languages = {name: strategy.load(name) for name in strategy.built_in() if name.startswith("ema_cross")}
    rng = np.random.default_rng(1)
    walk = np.zeros(EVENTS, records.EVENT)
    walk["bid"] = 6 * 10**12 + np.cumsum(rng.integers(-5, 6, EVENTS)) * 10**8
    walk["ask"] = walk["bid"] + 10**6
    walk["kind"] = 1
    events = walk.tobytes()
    while True:
        samples = []
        for name, loaded in languages.items():
            floor = _time(reference, events)
            ours = _time(loaded, events)
            samples += [
                limit(name, "ns", ours, LIMIT),
                Sample(metric=name, unit="ns", ours=ours, reference=floor, reference_name="C, dlopen"),
            ]
        yield samples
