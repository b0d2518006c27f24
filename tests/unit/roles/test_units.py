"""The units that the roles hosttune, trading_agent, desk and irq_affinity write: how far they are closed by the measure
of `systemd-analyze security`, and that no password is shown anywhere.

Each test host is this machine under another name; all of it is one run of ansible-playbook.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[2]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
pytestmark = pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible-core is not installed beside this Python")

SECRET = "qV7~zK1 #x"  # as long as a password may be
EXCHANGE = {"address": "10.1.2.3", "port": 26401, "username": "trader"}
CONFIG = {
    "feed": {"address": "239.1.2.3", "port": 26400, "b": {"address": "239.1.2.4", "port": 26400}},
    "exchange": EXCHANGE,
    "strategy": {"symbol": "AAPL", "size": 1},
    "risk": {"max_size": 1, "max_orders_per_second": 1},
}
DESK = {"kafka": {"brokers": "10.1.2.4:9092"}}
GOOD = {
    "trading_agent_cpus": "3",
    "trading_agent_config": CONFIG,
    "trading_agent_exchange_password": SECRET,
    "desk_processes": ["ingest"],
    "desk_config": DESK,
    "desk_kafka_password": SECRET,
    "desk_redis_password": SECRET,
}
HOSTS: dict[str, dict[str, Any]] = {
    "plain": GOOD,
    "file": {
        **GOOD,
        "trading_agent_config": {**CONFIG, "exchange": {**EXCHANGE, "password_file": "/root/password"}},
        "trading_agent_exchange_password": "",
    },
}

# host: (variables, what the refusal says)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "password": (
        {"trading_agent_config": {**CONFIG, "exchange": {**EXCHANGE, "password": SECRET}}},
        "the key password, whose value every diff .* trading_agent_exchange_password",
    ),
    "long-password": ({"trading_agent_exchange_password": SECRET + "1"}, "has 11 characters: allowed are at most 10"),
    "capital": (
        {"trading_agent_config": {**CONFIG, "exchange": {"Password": SECRET}}},
        "the key Password, whose value",
    ),
    "space": ({"trading_agent_config": {"exchange": {"password ": SECRET}}}, 'the key "password ", whose value'),
    "dotted": ({"trading_agent_config": {"exchange.password": SECRET}}, 'the key "exchange.password", whose value'),
    "table-list": (
        {"trading_agent_config": {"exchange": [{"password": SECRET}]}},
        "exchange is a list: allowed: a dict",
    ),
    "table-text": ({"trading_agent_config": {"exchange": SECRET}}, "exchange is text: allowed: a dictionary"),
    "table-below": (
        {"trading_agent_config": {"exchange": {"username": {"x": SECRET}}}},
        "username is a dictionary with",
    ),
    "list-below": ({"trading_agent_config": {"exchange": {"username": [[SECRET]]}}}, "username is a list with values"),
    "config-list": ({"trading_agent_config": [{"exchange": {"password": SECRET}}]}, "trading_agent_config is a list"),
    "config-text": (
        {"trading_agent_config": f"{{exchange: {SECRET}}}"},
        "trading_agent_config is text: allowed: a dict",
    ),
    "other-name": (
        {"trading_agent_config": {"exchange": {"passphrase": SECRET}}},
        "the key passphrase: allowed: address",
    ),
    "symbols-name": (
        {"trading_agent_config": {"exchange": {"symbols": {"password": SECRET}}}},
        "symbols has the key password, whose value",
    ),
    "symbols-below": (
        {"trading_agent_config": {"exchange": {"symbols": {"BTCUSDT": {"x": SECRET}}}}},
        "the key BTCUSDT: allowed|symbols.BTCUSDT is a dictionary with values in it: allowed: a plain value",
    ),
    "password-list": ({"trading_agent_exchange_password": [SECRET]}, "password is a list: allowed: text; quote it"),
    "password-dict": (
        {"trading_agent_exchange_password": {"value": SECRET}},
        "password is a dictionary: allowed: text",
    ),
    "desk-password": (
        {"desk_config": {"kafka": {"librdkafka": {"sasl.password": SECRET}}}},
        r"desk_config.kafka.librdkafka has the key sasl.password, whose value every diff",
    ),
    "desk-pem": (
        {"desk_config": {"kafka": {"librdkafka": {"ssl.key.pem": SECRET}}}},
        r"desk_config.kafka.librdkafka has the key ssl.key.pem, whose value every diff",
    ),
    "desk-below": (
        {"desk_config": {"redis": {"users": [{"Pass_Word": SECRET}]}}},
        r"desk_config.redis.users\[0\] has the key Pass_Word, whose value",
    ),
    "desk-no-table": ({"desk_config": {"password": SECRET}}, "has a key that is no table: allowed: a dictionary"),
    "desk-list": ({"desk_config": [SECRET]}, "desk_config is a list: allowed: a dictionary"),
    "desk-number": ({"desk_redis_password": [SECRET]}, "desk_redis_password is a list: allowed: text; quote it"),
    "desk-two-lines": ({"desk_kafka_password": SECRET + "\n"}, "desk_kafka_password has 11 characters: allowed"),
    "desk-process": (
        {"desk_processes": ["ingest", "inject"]},
        "desk_processes is .*allowed: a list, each one of ingest",
    ),
    "desk-twice": ({"desk_processes": ["run /a/b.py", "run /c/b.py"]}, "has two that are called desk-run-b"),
    "two-lines": ({"trading_agent_exchange_password": SECRET[:5] + "\n"}, "has 6 characters: allowed"),
}


def play(work: Path, hosts: dict[str, Any], *options: str, playbook: Path = HERE / "units.yml") -> str:
    """Run a playbook for test hosts; returns all that ansible-playbook prints, as it does at a desk, and at -vvv."""
    for name in hosts:
        (work / name).mkdir(exist_ok=True)
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "work": str(work),
        "project_roles": str(PROJECT / "roles"),
    }
    (work / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}, sort_keys=False))
    # A host of eight CPUs: this machine may have fewer than the agent is given.
    cpus = work / "root/sys/devices/system/cpu"
    cpus.mkdir(parents=True, exist_ok=True)
    for name in ("present", "online"):
        (cpus / name).write_text("0-7\n")
    environment = {
        **os.environ,
        "HOSTTUNE_ROOT": str(work / "root"),
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(PROJECT / "roles"),
        "ANSIBLE_HOME": str(work / "home"),
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(
        [PLAYBOOK, "-vvv", "--diff", "--forks", "4", "-i", work / "hosts.yml", *options, playbook],
        cwd=work, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Directory of what was rendered, HOST/FILE, and the output."""
    work = tmp_path_factory.mktemp("units")
    return work, play(work, {**HOSTS, **{name: {**GOOD, **given} for name, (given, _) in REFUSED.items()}})


def read_unit(path: Path) -> dict[str, list[str]]:
    """Returns a unit's settings in order, by SECTION.KEY, as systemd.syntax(7) reads lines."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in re.sub(r"\\\n", " ", re.sub(r"(?m)^[#;].*\n", "", path.read_text())).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line:
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not on this machine")
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("unit", ["trading_agent.service", "hosttune-check.service", "desk.service", "service"])
def test_exposure(outcome: tuple[Path, str], host: str, unit: str, tmp_path: Path) -> None:
    name = "hosttune-irq_affinity.service" if unit == "service" else unit
    shutil.copy(outcome[0] / host / unit, tmp_path / name)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", f"./{name}"],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    shown = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert shown and float(shown[1]) <= 2.0, done.stdout + done.stderr
    assert done.returncode == 0


def test_the_password_is_a_credential_of_the_unit(outcome: tuple[Path, str]) -> None:
    plain, file = (read_unit(outcome[0] / host / "trading_agent.service") for host in ("plain", "file"))
    assert plain["Service.LoadCredential"] == ["exchange_password:/etc/trading_agent/exchange_password"]
    assert '"--setenv" "CREDENTIALS_DIRECTORY"' in plain["Service.ExecStart"][0]
    assert "Service.LoadCredential" not in file and "CREDENTIALS" not in file["Service.ExecStart"][0]
    config = tomllib.loads((outcome[0] / "file" / "agent.toml").read_text())
    assert config["exchange"]["password_file"] == "/root/password"
    assert "engine" not in config
    assert plain["Service.CacheDirectory"] == ["trading_agent/1.0-abc"]


def test_nothing_is_sent_before_attest_has_held(outcome: tuple[Path, str]) -> None:
    unit = read_unit(outcome[0] / "plain" / "trading_agent.service")
    assert unit["Service.ExecStart"][0].split()[-3:] == ["run", "--hold", "/etc/trading_agent/agent.toml"]
    assert unit["Service.ExecStartPost"] == ["+/usr/local/bin/hosttune attest $MAINPID", "+/bin/kill -USR1 $MAINPID"]
    # What ends it while it is held, a reading back that does not hold, makes it end with 2.
    assert {"1", "2", "3", "71"} == set(unit["Service.RestartPreventExitStatus"][0].split())


def test_only_starts_by_itself_are_counted(outcome: tuple[Path, str], tmp_path: Path) -> None:
    """The preflight leaves no report, which the launcher refuses, after four crashes in ten minutes."""
    before = read_unit(outcome[0] / "plain" / "trading_agent.service")["Service.ExecStartPre"][0].removeprefix("+")
    command = shlex.split(before.replace("$$", "$").replace("%%", "%"))
    fakes = {
        "systemctl": 'cat "$restarts"',
        "date": 'cat "$now"',
        "hosttune": "echo report",
    }
    for name, text in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    command[2] = command[2].replace("/usr/local/bin/hosttune", str(tmp_path / "hosttune"))
    command[2] = command[2].replace("/run/hosttune/preflight", str(tmp_path / "preflight"))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "restarts": str(tmp_path / "n"), "now": str(tmp_path / "t")}

    def start(restarts: int, now: int) -> bool:
        (tmp_path / "n").write_text(f"{restarts}\n")
        (tmp_path / "t").write_text(f"{now}\n")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
        made = (tmp_path / "preflight" / "trading_agent.json").exists()
        assert made or "not started again" in done.stderr
        return made

    assert all(start(0, 1000) for _ in range(9))  # an operator's
    assert [start(n, 1000 + n) for n in (1, 2, 3, 4, 5)] == [True, True, True, False, False]
    assert start(0, 1010)  # an operator's again
    assert [start(n, 2000 * n) for n in range(1, 9)] == [True] * 8  # one in half an hour


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str, outcome: tuple[Path, str]) -> None:
    failed = re.findall(rf"^(?:fatal|failed): \[{name}\].*?=> (\{{\n(?:.*\n)*?\}})$", outcome[1], re.MULTILINE)
    assert failed, outcome[1][-3000:]
    message = " ".join(json.loads(failed[0])["msg"].split()) if "msg" in failed[0] else failed[0]
    assert re.search(REFUSED[name][1], message), message
    assert not list((outcome[0] / name).iterdir())


def forms(secret: str) -> list[str]:
    """A password in all the ways in which something could show it."""
    data = secret.encode()
    digests = [getattr(hashlib, name)(data).hexdigest() for name in ("md5", "sha1", "sha256")]
    quoted = [repr(secret)[1:-1], json.dumps(secret)[1:-1]]
    return [secret, data.hex(), base64.b64encode(data).decode(), *digests, *quoted]


def test_no_password_is_shown(outcome: tuple[Path, str]) -> None:
    assert "agent.toml" in outcome[1] and "exchange_password" in outcome[1]
    assert not [form for form in forms(SECRET) if form in outcome[1]]
    # Nor in what was rendered.
    for path in outcome[0].glob("*/*"):
        assert not [form for form in forms(SECRET) if path.is_file() and form in path.read_text()], path


def test_what_cannot_be_evaluated_is_not_shown(tmp_path: Path) -> None:
    """The whole role, whose argument specification would be the first to evaluate it."""
    secret = "qV7zK1"
    wrong: dict[str, dict[str, Any]] = {
        "config-list": {"trading_agent_config": [secret]},
        "config-text": {"trading_agent_config": secret},
        "password-list": {"trading_agent_exchange_password": [secret]},
        "password-dict": {"trading_agent_exchange_password": {"value": secret}},
        "tag": {"trading_agent_exchange_password": f"a{{%{secret}"},
        "variable": {"trading_agent_exchange_password": f"{{{{{secret}}}}}"},
        "brace": {"trading_agent_exchange_password": f"{{{{ {{{secret}"},
        "comment": {"trading_agent_exchange_password": f"{{#{secret}"},
        "config-tag": {"trading_agent_config": {**CONFIG, "exchange": {**EXCHANGE, "username": f"{{%{secret}"}}},
        "config-variable": {"trading_agent_config": {"exchange": {"password": [f"{{{{{secret}}}}}"]}}},
    }
    tasks = [{"ansible.builtin.import_role": {"name": "trading_agent"}}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    said = play(tmp_path, {name: {**GOOD, **given} for name, given in wrong.items()}, "--check",
                playbook=tmp_path / "play.yml")  # fmt: skip
    for name in wrong:
        assert re.search(rf"^{name} .* ok=[0-4] .*failed=1 ", said, re.MULTILINE), said[-3000:]
    assert said.count('"msg": "trading_agent_exchange_password cannot be evaluated; its value is not shown') == 4
    assert said.count('"msg": "trading_agent_config cannot be evaluated; its value is not shown') == 2
    assert not [form for form in forms(secret) if form in said]


def test_a_removal_does_not_show_a_password_either(tmp_path: Path) -> None:
    """Of an inventory from before, whose configuration holds it."""
    given = {
        **GOOD,
        "trading_agent_state": "absent",
        "trading_agent_config": REFUSED["password"][0]["trading_agent_config"],
    }
    tasks = [{"ansible.builtin.import_role": {"name": "trading_agent"}}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    said = play(tmp_path, {"one": given}, "--check", playbook=tmp_path / "play.yml")
    assert "failed=0" in said and "Remove the agent" in said, said[-3000:]
    assert not [form for form in forms(SECRET) if form in said]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("options", [(), ("--check",)])
def test_writing_the_password_does_not_show_it(tmp_path: Path, fails: bool, options: tuple[str, ...]) -> None:
    """The role's own task, with another place and owner to write to; at its best, and where it cannot be done."""
    tasks = yaml.safe_load((PROJECT / "roles/trading_agent/tasks/present.yml").read_text())
    (task,) = (task for task in tasks if task["name"] == "Write the exchange's password")
    target = tmp_path / ("file/inside" if fails else "password")
    (tmp_path / "file").touch()
    copy = task["ansible.builtin.copy"]
    assert (copy["mode"], copy["owner"], copy["group"]) == ("0600", "root", "root")
    copy |= {"dest": str(target), "owner": os.geteuid(), "group": os.getegid()}
    playbook = [{"hosts": "all", "gather_facts": False, "tasks": [task]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(playbook))
    planned = {"__trading_agent_plan": {"has_password": True}}
    for secret in (SECRET, SECRET[::-1]):  # a new one, then one in place of another
        said = play(tmp_path, {"one": {**GOOD, **planned, "trading_agent_exchange_password": secret}}, *options,
                    playbook=tmp_path / "play.yml")  # fmt: skip
        assert f"failed={int(fails)}" in said, said
        assert not [form for each in (SECRET, SECRET[::-1]) for form in forms(each) if form in said]
        if not fails and not options:
            assert target.read_text() == secret and target.stat().st_mode & 0o777 == 0o600


def test_the_hosts_python_takes_no_module_from_where_it_begins(tmp_path: Path) -> None:
    """The first thing that runs on a host, as root, in the home of the user that ssh logs in as."""
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w')\nraise SystemExit(1)\n")
    (task,) = yaml.safe_load((PROJECT / "roles/hosttune/tasks/find.yml").read_text())[:1]
    task["ansible.builtin.raw"] = f"cd {tmp_path}; " + task["ansible.builtin.raw"].replace(
        "'probe.py'", repr(str(PROJECT / "roles/hosttune/files/probe.py"))
    )
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    host = {"hosttune_python": sys.executable, "__hosttune_root": str(tmp_path)}
    assert "failed=0" in play(tmp_path, {"one": host}, playbook=tmp_path / "play.yml")
    assert not (tmp_path / "taken").exists()
