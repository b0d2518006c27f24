"""Engines that have ended, hang, are replaced, or do not journal: an operator's decision lasts, and what is not so is
said."""

import os
import signal
import struct
import time
from pathlib import Path

import pytest

from agent.shm import _segment
from agent.shm import segment as shm
from agent.shm.request import find_asker
from desk.sync.engine import Engine, Wish

from ...agent.stage import Stage
from ...waiting import wait
from .killing import kill_under_load
from .servers import Desk, Server, limit
from .test_sync import key


def text(desk: Desk) -> str:
    found = desk.snapshot()
    return found.texts["engine[segment]"] if found else ""


def end(stage: Stage, number: int) -> None:
    stage.children[0].send_signal(number)
    stage.children.pop(0).communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_kill_reaches_an_engine_that_has_ended(stage: Stage, server: Server, number: int) -> None:
    stage.agent()
    end(stage, number)
    desk = Desk(stage, server).start()
    server.client().mset({key(stage, "kill"): 1, key(stage, "max_size"): 60})
    wait(lambda: limit(stage, "kill") == 1, "the kill switch is not written where no loop runs")
    assert limit(stage, "max_size") != 60, "another limit waits for the loop"
    desk.end()  # neither it nor Redis is there when the engine starts
    server.end()
    stage.agent()
    assert limit(stage, "kill") == 1
    assert [line["what"] for line in desk.audit()] == ["kill written where no loop runs"]


def test_the_policy_kill_reaches_an_engine_that_has_ended(stage: Stage, server: Server) -> None:
    stage.agent()
    end(stage, signal.SIGTERM)
    desk = Desk(stage, server, 'redis_lost_s = 0.5\npolicy = "kill"').start()
    wait(lambda: desk.number("connected") == 1, "not connected")
    server.end()
    wait(lambda: limit(stage, "kill") == 1, "the kill switch is not written where no loop runs")
    desk.end()


def test_kill_waits_for_no_other_request(stage: Stage, server: Server) -> None:
    agent = stage.agent()
    desk = Desk(stage, server).start()
    wait(lambda: desk.number("connected") == 1, "not connected")
    client = server.client()
    agent.send_signal(signal.SIGSTOP)
    try:
        for size in range(10, 16):  # which the loop does not answer
            client.set(key(stage, "max_size"), size)
            time.sleep(0.02)
        begun = time.monotonic()
        client.set(key(stage, "kill"), 1)
        wait(lambda: limit(stage, "kill") == 1, "the kill switch waits")
        assert time.monotonic() - begun < 1.0
    finally:
        agent.send_signal(signal.SIGCONT)
    wait(lambda: limit(stage, "max_size") == 15, "the last value is not in force")
    wait(lambda: text(desk) == "", "it is not well again")

    def has(name: str, value: int) -> bool:
        return any(line["what"] == "confirmed" and line["values"].get(name) == value for line in desk.audit())

    wait(lambda: has("kill", 1) and has("max_size", 15), "what is in force is not confirmed")
    desk.end()
    assert not any("max_size" in line["values"] and line["values"]["max_size"] < 15 for line in desk.audit()
                   if line["what"] == "confirmed"), "what was replaced before counts as confirmed"  # fmt: skip


def test_what_is_not_journaled_stays_visible_until_it_is(stage: Stage, server: Server) -> None:
    agent = stage.agent()
    desk = Desk(stage, server).start()
    wait(lambda: desk.number("connected") == 1, "not connected")
    agent.send_signal(signal.SIGSTOP)
    server.client().set(key(stage, "max_size"), 60)
    wait(lambda: limit(stage, "max_size") == 60, "it is not written")
    number = shm.read(stage.segment).request.complete
    with stage.segment.open("r+b") as file:  # as a loop answers whose journal has no room
        file.seek(_segment.request_fields()["answered"].offset)
        file.write(struct.pack("<Q", number))
    try:
        wait(lambda: text(desk) == "in force, and not journaled: a restart may forget max_size", "it is not said")
        assert [line["what"] for line in desk.audit()] == ["asked", "confirmed, not journaled"]
    finally:
        agent.send_signal(signal.SIGCONT)
    time.sleep(1)
    assert "max_size" in text(desk)
    server.client().set(key(stage, "max_open_orders"), 9)
    wait(lambda: limit(stage, "max_open_orders") == 9, "another limit")
    time.sleep(0.7)
    assert "max_size" in text(desk), "another limit that is journaled says nothing of this one"
    server.client().set(key(stage, "max_size"), 61)
    wait(lambda: text(desk) == "", "it is journaled now")
    desk.end()


def test_killed_five_times_under_load(stage: Stage, server: Server) -> None:
    kill_under_load(stage, server, 5)


def spoil(path: Path, how: str) -> None:
    path.unlink()
    match how:
        case "a link":
            other = path.with_name("other")
            other.write_bytes(b"x" * 400_000)
            path.symlink_to(other)
        case "a FIFO":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "garbage":
            path.write_bytes(os.urandom(400_000))
        case "nothing in it":
            path.touch()
        case "everybody's":
            path.write_bytes(b"x")
            path.chmod(0o666)


@pytest.mark.parametrize("how", ["a link", "a FIFO", "a folder", "garbage", "nothing in it", "everybody's", "gone"])
def test_a_segment_that_a_stranger_has_replaced_is_not_touched(stage: Stage, server: Server, how: str) -> None:
    stage.agent()
    desk = Desk(stage, server).start()
    wait(lambda: text(desk) == "" and desk.number("connected") == 1, "the engine is not there")
    spoil(stage.segment, how)
    before = {path: path.read_bytes() for path in stage.folder.iterdir() if path.name in ("segment", "other")
              and path.is_file()}  # fmt: skip
    server.client().set(key(stage, "max_size"), 60)
    wait(lambda: str(stage.segment) in text(desk), "it is not said")
    assert not desk.ended()
    assert all(path.read_bytes() == data for path, data in before.items())
    if stage.segment.is_dir() and not stage.segment.is_symlink():
        stage.segment.rmdir()
    else:
        stage.segment.unlink(missing_ok=True)
    end(stage, signal.SIGKILL)
    stage.agent()
    wait(lambda: limit(stage, "max_size") == 60, "an engine that is there again is not told")
    desk.end()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a file to another user")
def test_a_segment_of_another_user_is_not_touched(stage: Stage) -> None:
    stage.agent()
    os.chown(stage.segment, 65534, 65534)
    told: list[str] = []
    engine = Engine(str(stage.segment), "segment", find_asker(), lambda *about: told.append(about[1]), False)
    try:
        before = shm_bytes(stage)
        engine.wish({"kill": Wish(1, "key")})
        assert engine.look(time.monotonic()) is None and "user" in engine.problem and not told
        assert shm_bytes(stage)["limits"] == before["limits"]
    finally:
        os.chown(stage.segment, 0, 0)
        engine.close()


def shm_bytes(stage: Stage) -> dict[str, object]:
    owner = stage.segment.stat().st_uid
    os.chown(stage.segment, os.getuid(), -1)
    try:
        return {"limits": shm.read(stage.segment).limits}
    finally:
        os.chown(stage.segment, owner, -1)


def test_a_segment_that_is_cut_short_while_it_is_used(stage: Stage, server: Server) -> None:
    stage.agent()
    desk = Desk(stage, server).start()
    wait(lambda: text(desk) == "" and desk.number("connected") == 1, "the engine is not there")
    stage.children[0].send_signal(signal.SIGKILL)  # before its pages go
    stage.children[0].communicate(timeout=30)
    os.truncate(stage.segment, 100)
    server.client().set(key(stage, "kill"), 1)
    wait(lambda: "segment" in text(desk), "it is not said")
    assert not desk.ended()
    stage.segment.unlink()
    desk.end()
