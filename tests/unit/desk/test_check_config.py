"""`desk check-config`: what would end a process at its start is told, all of it, by key; nobody is asked."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desk.cli.check_config_findings import find_problems
from desk.cli.main import main

KAFKA = '[kafka]\nservers = "127.0.0.1:1"\n'
TOPIC = "[[ingest.topics]]\nname = 't'\nring = '/r/t'\n"
WORKER = "[worker.geo]\nmodule = 'geo_cython'\ninput = '/r/a'\noutput = '/r/b'\n"
Check = Callable[[str], dict[str, Any]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the command on a text; the document that it prints."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    def run(text: str) -> dict[str, Any]:
        (tmp_path / "desk.toml").write_text(text)
        code = main(["check-config", str(tmp_path / "desk.toml"), "--format", "json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code == (0 if found["ok"] else 1) and found["ok"] == (not found["problems"])
        return found

    return run


def list_keys(found: dict[str, Any]) -> list[str]:
    return [one["key"] for one in found["problems"]]


def write_records(message: str, fields: list[str], table: str = "records") -> str:
    return f"{TOPIC}records = {{ message = '{message}', fields = {fields} }}\n"


WRONG = [
    (TOPIC, "kafka.servers", "missing, and required here: host:port of a broker (of ingest)"),
    (WORKER + "[worker.geo.topic]\nname = 't'\n", "kafka.servers", "(of worker.geo.topic)"),
    ("[run.a]\nkafka = [{ name = 'k', topics = ['t'] }]\n", "kafka.servers", "(of run.a.kafka)"),
    (KAFKA + write_records("desk.v1.Geo", ["id"]), "ingest.topics.0.records.message",
     "ingest.topics[0].records.message: found 'desk.v1.Geo', allowed: "),
    (KAFKA + write_records("desk.v1.GeoEvent", ["idd"]), "ingest.topics.0.records.fields",
     "ingest.topics[0].records.fields: found idd, allowed: "),
    (KAFKA + f"{TOPIC}records = {{ schema = '/none/s', message = 'a.B', fields = ['x'] }}\n",
     "ingest.topics.0.records.schema", "ingest.topics[0].records.schema: /none/s: No such file"),
    (KAFKA + f"{TOPIC}envelope = {{ message = 'desk.v1.None' }}\n", "ingest.topics.0.envelope.message",
     "found 'desk.v1.None', allowed: "),
    (KAFKA + f"{TOPIC}envelope = {{ field = 'pay' }}\n", "ingest.topics.0.envelope.field", "found 'pay', allowed: "),
    (WORKER.replace("geo_cython", "geo_cyton"), "worker.geo.module",
     "worker.geo.module: found 'geo_cyton', allowed: geo"),
    (WORKER + KAFKA + "[worker.geo.topic]\nname = 't'\nmessage = 'desk.v1.No'\nfields = ['seq']\n",
     "worker.geo.topic.message", "worker.geo.topic.message: found 'desk.v1.No', allowed: "),
    (WORKER + KAFKA + "[worker.geo.topic]\nname = 't'\nmessage = 'desk.v1.GeoDistance'\nfields = ['se']\n",
     "worker.geo.topic.fields", "worker.geo.topic.fields: found 'se', allowed: seq"),
    (WORKER + KAFKA + "[worker.geo.topic]\nname = 't'\nmessage = 'a.B'\nfields = ['s']\ndescriptor_set = '/none/s'\n",
     "worker.geo.topic.descriptor_set", "worker.geo.topic.descriptor_set: /none/s: No such file"),
    ('[export]\naddress = "999.1.1.1"\n', "export.address",
     "export.address: found '999.1.1.1', allowed: an address of IPv4 or IPv6"),
    ('[export]\naddress = "::g"\n', "export.address", "matching"),
    ('[export]\ncertificate = "/c"\n', "export.certificate", "found a part of TLS, allowed: certificate and key"),
    ('[export]\nkey = "/k"\n', "export.key", "found a part of TLS"),
    ('[export]\nclient_ca = "/k"\n', "export.client_ca", "found a part of TLS"),
    ('[export]\ncertificate = "/none/c"\nkey = "/none/k"\n', "export.key", "export.key: /none/k: No such file"),
    (f"{KAFKA}{TOPIC}[ingest.requests]\naddress = '999.1.1.1'\nport = 7\n", "ingest.requests.address",
     "found '999.1.1.1', allowed: an address of IPv4"),
    ('[redis]\npassword_file = "/none/p"\n', "redis.password_file", "redis.password_file: /none: No such file"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "words"), WRONG)
def test_what_ends_the_start_is_told(check: Check, text: str, key: str, words: str) -> None:
    (problem,) = check(text)["problems"]
    assert problem["key"] == key and words in problem["message"]
    assert problem["line"] or key == "kafka.servers"  # where there is no [kafka]


def test_all_of_it_at_once(check: Check) -> None:
    text = TOPIC + "records = { message = 'desk.v1.No', fields = ['id'] }\n" + WORKER.replace("geo_c", "go_c")
    found = check(text + '[kafka.librdkafka]\n"sasl.pasword" = "x"\n"linger.ms" = "y"\n"socket.timeout.ms" = -7\n'
                  '"ssl.ca.location" = "/none/ca"\n"security.protocol" = "ssl"\n')  # fmt: skip
    assert sorted(list_keys(found)) == [
        "ingest.topics.0.records.message", "kafka.librdkafka.linger.ms", "kafka.librdkafka.sasl.pasword",
        "kafka.librdkafka.socket.timeout.ms", "kafka.librdkafka.ssl.ca.location", "kafka.servers", "worker.geo.module",
    ]  # fmt: skip
    (one,) = (one["message"] for one in found["problems"] if one["key"].endswith("pasword"))
    assert one.endswith('kafka.librdkafka."sasl.pasword": No such configuration property: "sasl.pasword"')


@pytest.mark.parametrize("key", ["kafka.password_file", "kafka.key_password_file", "kafka.oauth_secret_file",
                                 "redis.password_file"])  # fmt: skip
def test_the_file_of_a_secret(check: Check, tmp_path: Path, key: str) -> None:
    path, (table, name) = tmp_path / "secret", key.split(".")
    text = f"[{table}]\n{name} = '{path}'\n"
    assert list_keys(check(text)) == [key]
    path.write_text("correct-horse\n")
    for mode, wrong in ((0o644, [key]), (0o640, [key]), (0o600, []), (0o400, [])):
        path.chmod(mode)
        found = check(text)
        assert list_keys(found) == wrong and "correct-horse" not in str(found)


def test_a_secret_of_another_user_is_not_judged(check: Check, tmp_path: Path) -> None:
    path = Path("/etc/shadow")  # which an ordinary user cannot read
    if os.geteuid() == 0:
        path = tmp_path / "secret"
        path.write_text("x")
        path.chmod(0o600)
        os.chown(path, 12345, 12345)
    found = check(f"[redis]\npassword_file = '{path}'\n")
    assert found["ok"] and [one["key"] for one in found["warnings"]] == ["redis.password_file"]


SASL = '"security.protocol" = "sasl_ssl"\n'


@pytest.mark.parametrize(("keys", "warned"), [
    (SASL + '"sasl.mechanism" = "PLAIN"\n"sasl.username" = "u"\n', ["kafka.password_file"]),
    (SASL + '"sasl.mechanism" = "SCRAM-SHA-512"\n"sasl.username" = "u"\n', ["kafka.password_file"]),
    ('"security.protocol" = "ssl"\n"ssl.key.location" = "/run/credentials/key.pem"\n', []),
    (SASL + '"sasl.mechanism" = "OAUTHBEARER"\n"sasl.oauthbearer.method" = "oidc"\n"sasl.oauthbearer.client.id" = "c"\n'
     '"sasl.oauthbearer.token.endpoint.url" = "http://127.0.0.1:{port}/"\n', ["kafka.oauth_secret_file"]),
    ('"client.id" = "x"\n', []),
])  # fmt: skip
@pytest.mark.parametrize("user", [TOPIC, WORKER + "[worker.geo.topic]\nname = 't'\n"])
def test_credentials_are_not_missed_and_nobody_is_asked(check: Check, user: str, keys: str, warned: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(0.2)
        servers = f'[kafka]\nservers = "127.0.0.1:{port}"\n[kafka.librdkafka]\n{keys.replace("{port}", str(port))}'
        found = check(servers + user)
        assert (found["problems"], [one["key"] for one in found["warnings"]]) == ([], warned)
        with pytest.raises(TimeoutError):
            listening.accept()


def test_sasl_without_a_user_is_a_fault(check: Check) -> None:
    found = check(f'{KAFKA}[kafka.librdkafka]\n{SASL}"sasl.mechanism" = "PLAIN"\n')
    (problem,) = found["problems"]
    assert problem["key"] == "kafka.librdkafka" and "sasl.username" in problem["message"]


def test_a_module_of_the_users_own_is_not_run(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('it was run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("own:WORKER", "/none/libown.so", "own.so"):
        assert check(WORKER.replace("geo_cython", module))["ok"]


def test_what_is_not_asked_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "desk.toml").write_text(KAFKA + TOPIC + WORKER)
    assert main(["check-config", str(tmp_path / "desk.toml")]) == 0
    assert "not asked: brokers, Redis, modules of your own" in capsys.readouterr().out


def test_without_confluent_kafka_the_rest_is_checked(
    check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    found = check(f'{KAFKA}[kafka.librdkafka]\n"sasl.pasword" = "x"\n{WORKER.replace("geo_c", "go_c")}')
    assert list_keys(found) == ["worker.geo.module"] and "confluent_kafka" in found["warnings"][0]["message"]
    assert find_problems(tmp_path / "desk.toml").warnings


STARTS = {"ingest": "ingest", "worker.geo": "worker", "export": "export"}
REFUSED = [
    *((text, STARTS[at]) for text, key, _ in WRONG for at in STARTS if key.startswith(at) and "topic." not in key),
    (TOPIC, "ingest"), (f'{KAFKA}[kafka.librdkafka]\n"sasl.pasword" = "x"\n{TOPIC}', "ingest"),
    (f"[kafka]\nservers = '127.0.0.1:1'\npassword_file = '/none/p'\n{TOPIC}", "ingest"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "command"), REFUSED)
def test_the_start_refuses_what_is_told(check: Check, directory: Path, tmp_path: Path, text: str, command: str) -> None:
    assert not check(text)["ok"] and directory.is_dir()
    started = subprocess.run(
        [sys.executable, "-P", "-m", "desk", command, str(tmp_path / "desk.toml")],
        stderr=subprocess.PIPE, text=True, timeout=30,
    )  # fmt: skip
    assert started.returncode == 2 and started.stderr.count("\n") == 1 and "Traceback" not in started.stderr
