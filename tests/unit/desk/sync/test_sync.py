"""`desk sync` between a real Redis and a real engine, at its best and where Redis, the engine or itself fails."""

import signal
import time
from pathlib import Path

import msgspec
import pytest

from agent.shm import segment as shm
from desk.cli.main import main

from ...agent.stage import Stage
from ...waiting import wait
from .driving import MOST
from .servers import Desk, Server, limit


def key(stage: Stage, name: str) -> str:
    return f"desk:limits:{stage.segment.name.removesuffix('.segment')}:{name}"


def test_limits_come_in_are_confirmed_journaled_and_audited(stage: Stage, server: Server) -> None:
    client = server.client()
    client.set(key(stage, "max_size"), 50)
    stage.agent()
    desk = Desk(stage, server).start()
    wait(lambda: limit(stage, "max_size") == 50, "the value that was there is not in force")
    client.set(key(stage, "max_notional"), "250000.5")
    wait(lambda: limit(stage, "max_notional") == 250000.5, "a change is not in force")
    client.mset({key(stage, "max_size"): 7, key(stage, "max_orders_per_second"): 20})
    wait(lambda: limit(stage, "max_size") == 7 and limit(stage, "max_orders_per_second") == 20, "changes of one MSET")
    client.delete(key(stage, "max_size"))  # what is in force stays
    client.set(key(stage, "kill"), 1)
    wait(lambda: limit(stage, "kill") == 1, "kill is not in force")
    wait(lambda: desk.number("confirmed[segment]") >= 4, "not confirmed")
    client.set(key(stage, "kill"), 0)  # resuming is the operator's
    time.sleep(0.3)
    assert limit(stage, "kill") == 1 and limit(stage, "max_size") == 7
    code, said = desk.end()
    assert (code, said) == (0, (
        f"desk: sync: segment: {key(stage, 'kill')} is 0, and kill stays set: may_resume is false;"
        " agent resume segment\n"
    ))  # fmt: skip
    lines = desk.audit()
    assert {"time_ns", "engine", "what", "values", "source"} == set(lines[0])
    done = [(line["values"], line["what"]) for line in lines if line["what"] == "confirmed"]
    assert ({"kill": 1}, "confirmed") in done and ({"max_size": 50}, "confirmed") in done
    assert all(line["source"].startswith("desk:limits:segment:") for line in lines)


def test_may_resume_only_what_it_has_killed(stage: Stage, server: Server) -> None:
    stage.agent()
    desk = Desk(stage, server, "may_resume = true").start()
    client = server.client()
    client.set(key(stage, "kill"), 1)
    wait(lambda: limit(stage, "kill") == 1 and desk.number("confirmed[segment]") == 1, "kill is not in force")
    client.set(key(stage, "kill"), 0)
    wait(lambda: limit(stage, "kill") == 0, "it does not resume")
    assert main(["check-config", str(desk.config)]) == 0
    from agent.monitor import control

    control.decide([stage.segment], lambda now: {"kill": 1})  # an operator's
    time.sleep(0.5)
    assert limit(stage, "kill") == 1
    assert desk.end() == (0, (
        f"desk: sync: segment: {key(stage, 'kill')} is 0, and kill stays set: desk sync has not set it since its start;"
        " agent resume segment\n"
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("max_size", b"0", "allowed: a whole number from 1 to 999,999"),
        ("max_size", b"1e3", "max_size: found"),
        ("max_size", b"12.5", "max_size: found"),
        ("max_size", b"12 shares", "max_size: found"),
        ("max_size", b'"12"', "max_size: found"),
        ("max_size", b"\x1b[2J\n\xff", "max_size: found"),
        ("max_size", b"9" * 5000, "more than 32 bytes"),
        ("max_size", b"9" * 20_000_000, "more than 32 bytes"),
        ("kill", b"2", "kill: found '2', allowed: a whole number from 0 to 1"),
        ("collar", b"nan", "collar: found"),
        ("max_sise", b"5", "did you mean max_size"),
    ],
)
def test_what_no_limit_can_be_is_refused_and_changes_nothing(
    stage: Stage, server: Server, name: str, value: bytes, wanted: str
) -> None:
    stage.agent()
    before = shm.read(stage.segment).limits
    desk = Desk(stage, server).start()
    wait(lambda: desk.number("connected") == 1, "not connected")
    client = server.client()
    client.set(key(stage, name), value)
    wait(lambda: desk.number("bad_values") + desk.number("unknown_keys") > 0, "it is not counted")
    client.set(key(stage, "max_open_orders"), 9)
    wait(lambda: limit(stage, "max_open_orders") == 9, "the good one does not come through")
    changed = {word for word, value in shm.read(stage.segment).limits.items() if value != before[word]}
    assert changed == {"max_open_orders"}
    code, said = desk.end()
    assert code == 0 and said.count("\n") == 1 and wanted in said and "\x1b" not in said and len(said) < 1500


def test_another_type_of_key_is_refused(stage: Stage, server: Server) -> None:
    server.client().rpush(key(stage, "max_size"), 5)
    stage.agent()
    desk = Desk(stage, server).start()
    wait(lambda: desk.number("bad_values") == 1, "it is not counted")
    server.client().set(key(stage, "max_open_orders"), 9)
    wait(lambda: limit(stage, "max_open_orders") == 9, "the good one does not come through")
    assert "another type than string" in desk.end()[1]


def test_positions_and_states_go_out_the_latest_wins(stage: Stage, server: Server) -> None:
    stage.strategy("every_tick")
    stage.agent()
    desk = Desk(stage, server).start()
    stage.exchange("--feed", "generated", "--messages", "4000", "--rate", "4000")
    client = server.client()

    def out() -> dict[str, object]:
        data = client.get("desk:engine:segment")
        return msgspec.msgpack.decode(data) if data else {}

    now = shm.read(stage.segment)
    wait(lambda: out().get("orders_sent") == now.counters["orders_sent"] > 0, "the engine's numbers are not there")
    for symbol in now.symbols:
        found = msgspec.msgpack.decode(client.get(f"desk:symbol:segment:{symbol.name}"))
        assert (found["position"], found["bid"], found["ask"]) == (symbol.position, symbol.bid, symbol.ask)
        assert 0 <= time.time_ns() - found["stamp_ns"] < 60e9
    assert shm.read(stage.segment).counters["lost"] == 0
    desk.end()


def test_a_frozen_redis_stalls_nothing_and_is_read_again(stage: Stage, server: Server) -> None:
    stage.agent()
    desk = Desk(stage, server, 'redis_lost_s = 1.0\npolicy = "tighten"\ntighten = {max_size = 1}').start()
    client = server.client()
    client.set(key(stage, "max_size"), 60)
    wait(lambda: limit(stage, "max_size") == 60, "a change is not in force")
    server.signal(signal.SIGSTOP)
    wait(lambda: limit(stage, "max_size") == 1, "the policy is not in force")
    wait(lambda: desk.number("redis_lost") == 1, "it does not say so")
    time.sleep(1)
    server.signal(signal.SIGCONT)
    wait(lambda: limit(stage, "max_size") == 60, "what Redis has is not in force again")
    wait(lambda: desk.number("redis_lost") == 0, "it does not say that Redis is back")
    assert desk.number("longest_step_seconds") <= MOST
    assert "no answer of Redis for 1 s: policy tighten" in desk.end()[1]


def test_the_policy_tighten_loosens_nothing(stage: Stage, server: Server) -> None:
    stage.agent()
    limits = "{max_size = 8, max_open_orders = 5, duplicate_ms = 1, allow_halted = 0}"
    desk = Desk(stage, server, f'redis_lost_s = 0.5\npolicy = "tighten"\ntighten = {limits}').start()
    client = server.client()
    client.mset({key(stage, "max_size"): 3, key(stage, "duplicate_ms"): 20})
    wait(lambda: limit(stage, "max_size") == 3 and limit(stage, "duplicate_ms") == 20, "changes are not in force")
    server.end()
    wait(lambda: limit(stage, "max_open_orders") == 5, "the policy is not in force")
    time.sleep(0.3)
    assert (limit(stage, "max_size"), limit(stage, "duplicate_ms"), limit(stage, "allow_halted")) == (3, 20, 0)
    desk.end()


def test_a_hung_engine_is_told(stage: Stage, server: Server) -> None:
    agent = stage.agent()
    desk = Desk(stage, server).start()
    wait(lambda: desk.number("connected") == 1, "not connected")
    agent.send_signal(signal.SIGSTOP)
    try:
        server.client().set(key(stage, "max_size"), 60)
        wait(lambda: desk.number("unconfirmed[segment]") == 1, "it counts as confirmed")
        for _ in range(10):
            time.sleep(0.1)
            found = desk.snapshot()
            assert found and "not confirmed" in found.texts["engine[segment]"]
    finally:
        agent.send_signal(signal.SIGCONT)
    wait(lambda: (found := desk.snapshot()) and found.texts["engine[segment]"] == "", "it is not well again")
    assert limit(stage, "max_size") == 60
    desk.end()


def test_a_password_that_is_gone_is_as_a_lost_redis(stage: Stage, server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "redis-password"
    secret.write_text("s3cret-of-mine")
    secret.chmod(0o600)
    server.client().config_set("requirepass", "s3cret-of-mine")
    stage.agent()
    desk = Desk(stage, server, 'redis_lost_s = 0.5\npolicy = "kill"', f'password_file = "{secret}"').start()
    wait(lambda: desk.number("connected") == 1, "not connected")
    secret.unlink()
    server.end()
    wait(lambda: limit(stage, "kill") == 1, "the policy is not in force")
    assert not desk.ended()
    code, said = desk.end()
    assert code == 0 and "redis.password_file" in said and "s3cret" not in said


def test_a_redis_that_was_killed_and_comes_back_empty_changes_nothing(stage: Stage, server: Server) -> None:
    stage.agent()
    desk = Desk(stage, server, "redis_lost_s = 0.5").start()
    server.client().set(key(stage, "max_size"), 60)
    wait(lambda: limit(stage, "max_size") == 60, "a change is not in force")
    server.end()
    wait(lambda: desk.number("redis_lost") == 1, "it does not say so")
    server.start()
    wait(lambda: desk.number("redis_lost") == 0 and desk.number("connections") == 2, "it does not come back")
    assert limit(stage, "max_size") == 60
    wait(lambda: server.client().get("desk:engine:segment"), "nothing goes out again")
    server.client().set(key(stage, "max_size"), 61)
    wait(lambda: limit(stage, "max_size") == 61, "a change after it is not in force")
    assert desk.number("longest_step_seconds") <= MOST
    desk.end()


def test_the_policy_kill(stage: Stage, server: Server) -> None:
    stage.agent()
    desk = Desk(stage, server, 'redis_lost_s = 0.5\npolicy = "kill"').start()
    wait(lambda: desk.number("connected") == 1, "not connected")
    server.end()
    wait(lambda: limit(stage, "kill") == 1, "kill is not in force")
    server.start()
    wait(lambda: desk.number("redis_lost") == 0, "it does not come back")
    time.sleep(0.3)
    assert limit(stage, "kill") == 1
    desk.end()


def test_a_lost_connection_of_the_invalidations_loses_no_change(stage: Stage, server: Server) -> None:
    stage.agent()
    desk = Desk(stage, server).start()
    client = server.client()
    for number in range(1, 21):
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.set(key(stage, "max_size"), number)
    wait(lambda: limit(stage, "max_size") == 20, "the last value is not in force")
    wait(lambda: desk.number("connections") > 1, "it was never connected again")
    desk.end()


def test_a_full_redis_refuses_values_and_limits_still_come(stage: Stage, tmp_path: Path) -> None:
    server = Server(tmp_path, "--maxmemory-policy", "noeviction").start()
    try:
        stage.agent()
        client = server.client()
        client.set(key(stage, "max_size"), 60)
        client.config_set("maxmemory", 1)
        desk = Desk(stage, server, "refresh_s = 1").start()
        wait(lambda: desk.number("values_refused") > 0, "nothing was refused")
        wait(lambda: limit(stage, "max_size") == 60, "a limit does not come through")
        found = desk.snapshot()
        assert found and "command not allowed when used memory" in found.texts["problem"]
        desk.end()
    finally:
        server.end()


def test_an_engine_that_starts_again_has_what_redis_has(stage: Stage, server: Server) -> None:
    desk = Desk(stage, server).start()
    server.client().set(key(stage, "max_size"), 60)
    stage.agent()
    wait(lambda: limit(stage, "max_size") == 60, "an engine that comes later is not told")
    stage.children[-1].kill()
    stage.children[-1].communicate(timeout=30)
    server.client().set(key(stage, "max_size"), 61)
    stage.agent()
    wait(lambda: limit(stage, "max_size") == 61, "an engine that starts again is not told")
    desk.end()


def test_a_wrong_password_is_told_without_it(stage: Stage, tmp_path: Path) -> None:
    server = Server(tmp_path, "--requirepass", "another")
    secret = tmp_path / "redis-password"
    secret.write_text("s3cret-of-mine")
    secret.chmod(0o600)
    desk = Desk(stage, server, "", f'password_file = "{secret}"')
    server.start(answers=False)
    try:
        desk.start()
        wait(lambda: desk.number("losses") > 1, "it is not refused")
        found = desk.snapshot()
        assert found and "invalid username-password pair" in found.texts["problem"]
        said = desk.end()[1]
        assert "invalid username-password pair" in said and "s3cret" not in said
    finally:
        server.end()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "sync is missing"),
        ("[sync]\nengines = []\n", r"sync.engines"),
        ('[sync]\nengines = ["a", "a"]\n', "found a again"),
        ('[sync]\nengines = ["a"]\npolicy = "tighten"\n', "sync.policy: found tighten"),
        ('[sync]\nengines = ["a"]\ntighten = {max_size = 0}\n', "sync.tighten.max_size: found the number 0"),
        ('[sync]\nengines = ["a"]\n[redis]\npassword = "x"\n', "unknown key redis.password"),
        ('[sync]\nengines = ["a"]\n[redis]\nread_timeout_ms = 500\n', "allowed: at most 600 together"),
    ],
)
def test_a_wrong_configuration(tmp_path: Path, text: str, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "desk.toml"
    path.write_text(text)
    assert main(["sync", str(path)]) == 2
    assert wanted in capsys.readouterr().err
