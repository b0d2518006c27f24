"""Reading what engines hold: correlated symbols by one MGET, ages that grow, and values that are none."""

import time
from collections.abc import Iterator

import msgspec
import pytest

from desk.redis.link import RedisLost
from desk.settings.redis import Redis
from desk.settings.sync import Sync
from desk.sync.reader import Reader

from ...agent.stage import Stage
from ...waiting import wait
from .servers import Desk, Server

GROUP = ["AAPL", "MSFT", "GOOG"]


@pytest.fixture
def reader(server: Server) -> Iterator[Reader]:
    reader = Reader(Redis(socket=str(server.socket)), Sync(engines=["main"], correlated=[GROUP]))
    yield reader
    reader.close()


def put(server: Server, symbol: str, seconds: float = 0, tick: int | None = 0, **more: int) -> None:
    stamp = time.time_ns() - round(seconds * 1e9)
    data = msgspec.msgpack.encode({"stamp_ns": stamp, "tick_age_ns": tick, **more})
    server.client().set(f"desk:symbol:main:{symbol}", data)


def asked(server: Server) -> int:
    return int(server.client().info("commandstats").get("cmdstat_mget", {"calls": 0})["calls"])


def test_correlated_symbols_ride_in_one_mget(server: Server, reader: Reader) -> None:
    for at, symbol in enumerate(GROUP):
        put(server, symbol, position=at)
    assert reader.read("main", "AAPL").value == {**msgspec.msgpack.decode(
        server.client().get("desk:symbol:main:AAPL"))} and asked(server) == 1  # fmt: skip
    for at, symbol in enumerate(GROUP):
        found = reader.read("main", symbol, most_age=30)
        assert found.value and found.value["position"] == at
    assert asked(server) == 1
    reader.read("main", "MSFT")  # fresh, however young it is
    assert asked(server) == 2
    assert reader.read("main", "ZVZZT", most_age=30).value is None and asked(server) == 3
    assert reader.read("other", "AAPL", most_age=30).value is None and asked(server) == 4


def test_ages_grow_in_memory_too(server: Server, reader: Reader) -> None:
    put(server, "AAPL", seconds=5, tick=2 * 10**9)
    put(server, "MSFT", tick=None)
    put(server, "GOOG", seconds=-100)  # written by a host whose clock is ahead
    first = reader.read("main", "AAPL")
    assert first.age and 5 <= first.age < 35 and first.tick_age == pytest.approx(first.age + 2)
    time.sleep(0.2)
    later = reader.read("main", "AAPL", most_age=30)
    assert later.age and later.tick_age and later.age >= first.age + 0.2 and later.tick_age >= first.age + 2.2
    assert reader.read("main", "MSFT", most_age=30).tick_age is None
    goog = reader.read("main", "GOOG", most_age=30)
    assert goog.age is not None and 0.2 <= goog.age < 30


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x93\x01\x02\x03", b"{}", b"x" * 5000,
                                 msgspec.msgpack.encode({"stamp_ns": "now"}), b"\x81\xa1\xff\x01"])  # fmt: skip
def test_what_is_no_value_is_none(server: Server, reader: Reader, raw: bytes) -> None:
    server.client().set("desk:symbol:main:AAPL", raw)
    assert reader.read("main", "AAPL").value is None
    server.client().delete("desk:symbol:main:AAPL")
    server.client().rpush("desk:symbol:main:AAPL", "x")
    assert reader.read("main", "AAPL").value is None


def test_a_dead_redis_is_an_error_soon_and_a_living_one_is_used_again(server: Server, reader: Reader) -> None:
    put(server, "AAPL")
    assert reader.read("main", "AAPL").value
    server.end()
    for _ in range(2):
        begun = time.monotonic()
        with pytest.raises(RedisLost):
            reader.read("main", "AAPL")
        assert time.monotonic() - begun < 0.7
    server.start()
    put(server, "AAPL")
    assert reader.read("main", "AAPL").value


def test_what_desk_sync_writes_is_what_is_read(stage: Stage, server: Server) -> None:
    stage.strategy("every_tick")
    stage.agent()
    desk = Desk(stage, server).start()
    stage.exchange("--feed", "generated", "--messages", "1000", "--rate", "2000")
    sync = Sync(engines=["segment"])
    from agent.shm import segment as shm

    name = shm.read(stage.segment).symbols[0].name
    reader = Reader(Redis(socket=str(server.socket)), sync)
    try:
        wait(lambda: (reader.read("segment", name).tick_age or 0) > 0.5, "the tick's age does not grow")
        found = reader.read("segment", name)
        assert found.value and found.age is not None and found.tick_age and found.tick_age >= found.age
        assert found.age < 6, "all is written every refresh_s"
        begun = time.monotonic()
        ticked = begun - found.tick_age
        time.sleep(1)
        again = reader.read("segment", name)
        assert again.tick_age and abs(time.monotonic() - again.tick_age - ticked) < 0.5
    finally:
        reader.close()
    desk.end()
