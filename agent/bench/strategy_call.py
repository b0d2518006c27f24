"""A call of a strategy: EMA cross in each language against the same in C, through the same loop over events."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agent import records, strategy
from agent.bench import machine
from agent.bench.sample import Sample

EVENTS = 20_000
PASSES = 20


def _time(loaded: strategy.Loaded, events: bytes) -> float:
    """Nanoseconds a call."""
    prepared = strategy.prepare(loaded, 10, 50, 1)
    nanoseconds, _ = loaded.table.time(prepared.state, events, PASSES)
    return nanoseconds / (EVENTS * PASSES)


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
            samples.append(
                Sample(metric=name, unit="ns", ours=_time(loaded, events), reference=floor, reference_name="C, dlopen")
            )
        yield samples
