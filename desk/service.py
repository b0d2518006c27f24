"""The loop of a process of the desk, from the moment at which it is ready until it is asked to end."""

from typing import Protocol

from agent.engine.systemd import notify
from desk.counters import Counters
from desk.stop import Stop
from hosttune.output import escape, write_out


class Loop(Protocol):
    """What a process does: step() returns soon, count() and describe() say what is published."""

    def step(self) -> None: ...
    def count(self) -> dict[str, int | float]: ...
    def describe(self) -> dict[str, str]: ...
    def close(self) -> None: ...


def serve(loop: Loop, counters: Counters, stop: Stop, ready: str) -> None:
    """Say that the process is ready, with this line, and step until a signal asks for the end. Raises what step() does;
    then, too, the loop is closed."""
    notify("READY=1")
    write_out(escape(f"ready: {ready}") + "\n")
    try:
        while not stop.wanted:
            loop.step()
            if counters.due():
                counters.publish(loop.count(), loop.describe())
    finally:
        notify("STOPPING=1")
        loop.close()
