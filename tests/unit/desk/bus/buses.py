"""Buses that tests make, their events, and loops that run them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from desk.bus import Bus, Event
from desk.bus.faults import Faults

LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


class A(Event, frozen=True, gc=False):
    n: int


class B(Event, frozen=True, gc=False):
    n: int


class C(Event, frozen=True, gc=False):
    n: int


KINDS: tuple[type[Any], ...] = (A, B, C)


def run(work: Coroutine[Any, Any, Any], make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> Any:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(asyncio.wait_for(work, 10))


def make_bus(said: list[str] | None = None) -> Bus:
    return Bus(Faults((said if said is not None else []).append))


async def settle() -> None:
    """Let everything run that can run now."""
    for _ in range(6):
        await asyncio.sleep(0)
