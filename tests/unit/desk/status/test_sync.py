"""`desk status` beside a real `desk sync`, a real Redis and a real engine: ages, and a Redis that is lost."""

import signal

import pytest

from agent.shm import place

from ...agent.stage import Stage
from ..sync.conftest import server, stage
from ..sync.servers import Desk, Server
from .conftest import Look, wait_until

__all__ = ["server", "stage"]


def test_the_age_of_redis_is_shown_and_a_redis_that_is_lost_is_not_well(
    look: Look, stage: Stage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.agent()
    desk = Desk(stage, server, "redis_lost_s = 1.0").start()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(desk.home))
    assert place.own_directory() == desk.home

    def find_sync() -> dict[str, object]:
        (found,) = look(str(desk.config))[1]["processes"]
        return dict(found)

    def list_findings() -> list[str]:
        return [line for line in look(str(desk.config))[1]["findings"] if line.startswith("desk process sync: ")]

    try:
        wait_until(lambda: find_sync()["numbers"]["connected"] == 1)  # type: ignore[index]
        wait_until(lambda: not list_findings())
        numbers = find_sync()["numbers"]
        assert 0 <= numbers["redis_age_seconds"] < 2  # type: ignore[index]
        server.signal(signal.SIGSTOP)
        wait_until(list_findings)
        wait_until(lambda: find_sync()["numbers"]["redis_lost"] == 1)  # type: ignore[index]
        assert find_sync()["numbers"]["redis_age_seconds"] >= 1  # type: ignore[index]
        server.signal(signal.SIGCONT)
        wait_until(lambda: not list_findings())
    finally:
        desk.end()
    assert find_sync()["state"] == "ended"
