"""`desk export` as a process: what it serves, and that neither a hostile segment nor a hostile client costs more than
its own."""

import contextlib
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import psutil
import pytest

from desk.cli.main import main
from desk.counters import Counters, Snapshot, State
from desk.errors import DeskError
from desk.export.desk import describe_processes
from desk.export.server import make_context
from desk.settings.export import Export

from ...agent.stage import Stage
from ..programs import find_program
from .exporter import Exporter


def test_all_engines_in_one_answer_that_promtool_takes(tmp_path: Path) -> None:
    with Exporter(tmp_path) as exporter:
        for number in range(4):
            exporter.put(f"e{number}")
        with Counters.open("in", "ingest", directory=exporter.directory) as counters:
            counters.publish({"records[ticks-0]": 12, "lag[ticks-0]": 3})
            text = exporter.get()
            found = exporter.samples()
        program = find_program("promtool")
        done = subprocess.run([program.path, "check", "metrics"], input=text, env=program.environment, text=True,
                              capture_output=True, timeout=60)  # fmt: skip
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        for number in range(4):
            assert found[f'agent_up{{agent="e{number}"}}'] == 1
            assert found[f'agent_lost_total{{agent="e{number}"}}'] == 3
            assert found[f'desk_export_engine_readable{{agent="e{number}"}}'] == 1
        assert text.count("# TYPE agent_lost_total counter") == 1
        assert found['desk_ingest_records_total{partition="ticks-0",process="in"}'] == 12
        assert found['desk_ingest_lag{partition="ticks-0",process="in"}'] == 3
        assert found['desk_state{kind="ingest",process="in",state="runs"}'] == 1
        assert found['desk_up{kind="export",process="export"}'] == 1
        # Ended in order, and said so.
        assert exporter.samples()['desk_state{kind="ingest",process="in",state="ended"}'] == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.truncate(path, 1000),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(b"\xff" * 5000),
        lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), subprocess.run(["mkfifo", "-m", "600", path], check=True)),
        lambda path: path.chmod(0o666),
    ],
    ids=["cut", "empty", "noise", "link", "directory", "fifo", "writable by all"],
)
def test_a_segment_that_is_none_costs_its_own_metrics(tmp_path: Path, spoil: object) -> None:
    with Exporter(tmp_path) as exporter:
        exporter.put("good")
        spoil(exporter.put("bad"))  # type: ignore[operator]
        found = exporter.samples()
        assert found['agent_up{agent="good"}'] == 1 and 'agent_up{agent="bad"}' not in found
        assert found['desk_export_engine_readable{agent="bad"}'] == 0
        assert found['desk_export_errors_total{source="engine"}'] == 1
        assert exporter.samples()['desk_export_errors_total{source="engine"}'] == 2
        exporter.child.terminate()
        said = exporter.child.communicate(timeout=10)[1]
        assert said.count("\n") == 1 and said.startswith("desk: export: engine: ") and "bad.segment" in said


def test_an_engine_that_is_gone_is_gone_and_more_than_allowed_are_counted(tmp_path: Path) -> None:
    with Exporter(tmp_path, engines=2) as exporter:
        assert exporter.samples()["desk_export_engines"] == 0
        paths = [exporter.put(name) for name in ("a", "b", "c")]
        found = exporter.samples()
        assert found["desk_export_engines"] == 2 and found['desk_export_errors_total{source="left_out"}'] == 1
        paths[0].unlink()
        found = exporter.samples()
        assert 'agent_up{agent="a"}' not in found and found['agent_up{agent="c"}'] == 1


def test_the_textfile_of_a_check_is_served_and_no_other_programs(tmp_path: Path) -> None:
    file = tmp_path / "hosttune.prom"
    with Exporter(tmp_path, textfile=str(file)) as exporter:
        assert exporter.samples()['desk_export_errors_total{source="textfile"}'] == 1
        file.write_text('# TYPE hosttune_check_verdict gauge\nhosttune_check_verdict{verdict="ready"} 1\n')
        assert exporter.samples()['hosttune_check_verdict{verdict="ready"}'] == 1
        for text in ("other_metric 1\n", 'hosttune_x{a="b" 1\n', "hosttune_x 1 5\n", "\x00\n"):
            before = exporter.samples()['desk_export_errors_total{source="textfile"}']
            file.write_text(text)
            after = exporter.samples()
            assert after['desk_export_errors_total{source="textfile"}'] > before
            assert not [name for name in after if name.startswith(("other_", "hosttune_"))]


def test_clients_that_hang_drip_and_flood(tmp_path: Path) -> None:
    with Exporter(tmp_path, connections=4, seconds=1, reuse_ms=200) as exporter:
        exporter.put("e")
        held = [exporter.connect() for _ in range(4)]
        # All connections are taken, and a scrape is answered: the oldest one makes room.
        begin = time.monotonic()
        assert exporter.samples()['agent_up{agent="e"}'] == 1
        assert time.monotonic() - begin < 1
        drip = exporter.connect()
        with pytest.raises(OSError):
            for _ in range(100):  # a byte now and then does not make it a scrape
                drip.sendall(b"G")
                time.sleep(0.1)
        for one in held:
            one.settimeout(5)
            assert one.recv(10) == b""
        flood = [exporter.connect() for _ in range(100)]
        # A scrape in the middle of the flood may be refused for its threads; soon after it one is answered.
        limit = time.monotonic() + 5
        found: dict[str, float] = {}
        while not found:
            with contextlib.suppress(OSError):
                found = exporter.samples()
            assert time.monotonic() < limit
        assert found['agent_lost_total{agent="e"}'] == 3
        ended = {name: value for name, value in found.items() if name.startswith("desk_export_connections_ended")}
        assert ended['desk_export_connections_ended_total{reason="evicted"}'] >= 1
        assert ended['desk_export_connections_ended_total{reason="expired"}'] >= 1
        threads = Path(f"/proc/{exporter.child.pid}/task")
        assert len(list(threads.iterdir())) <= 2 * 4 + 2
        for one in (*held, *flood, drip):
            one.close()
        time.sleep(1.5)
        assert len(list(threads.iterdir())) <= 2


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.0\r\n\r\n", b"POST /metrics HTTP/1.0\r\nContent-Length: 9\r\n\r\n",
                                      b"\xff\xfe\r\n\r\n", b"GET /metrics HTTP/9\r\n\r\n",
                                      b"GET " + b"a" * 70000])  # fmt: skip
def test_what_is_no_scrape_is_refused(tmp_path: Path, request_: bytes) -> None:
    with Exporter(tmp_path) as exporter:
        with exporter.connect() as client:
            client.sendall(request_)
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(1000)
        assert b" 200 " not in answer.partition(b"\n")[0]
        assert "desk_export_engines" in exporter.get()
        assert exporter.samples()["desk_export_faults_total"] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_soon_whatever_clients_do(tmp_path: Path, number: int, code: int) -> None:
    with Exporter(tmp_path) as exporter, exporter.connect():
        begin = time.monotonic()
        exporter.child.send_signal(number)
        assert exporter.child.wait(timeout=10) == code
        assert time.monotonic() - begin < 3
        assert exporter.child.communicate()[1] == ""


def test_kill_9_of_the_exporter_disturbs_no_engine(tmp_path: Path) -> None:
    """While an engine runs, 50 times: the engine's process, loop and counters go on."""
    (tmp_path / "stage").mkdir()
    with Stage(tmp_path / "stage") as stage:
        exporter = Exporter(tmp_path, seconds=1)
        own = stage.segment
        stage.segment = exporter.directory / "main.segment"
        stage.write(stage.config.read_text().replace(f'"{own}"', f'"{stage.segment}"'))
        stage.agent()
        before = stage.stats()["counters"]
        for _ in range(50):
            child = subprocess.Popen([sys.executable, "-P", "-m", "desk", "export", str(exporter.config)],
                                     stdout=subprocess.PIPE, env=exporter.environment, text=True)  # fmt: skip
            assert child.stdout
            url = child.stdout.readline().split()[1]
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.read(100)
            child.kill()
            child.communicate(timeout=10)
        after = stage.stats()
        assert after["up"] and after["state"] == "connecting"
        for name in ("lost", "gaps", "kernel_drops", "major_faults"):
            assert after["counters"][name] == before[name]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Returns the paths of a new key and its certificate."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-days", "2"], check=True, capture_output=True,
                   timeout=60)  # fmt: skip
    key.chmod(0o600)
    return key, certificate


def test_tls_is_asked_for_and_a_client_that_says_nothing_holds_nobody_up(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    with Exporter(tmp_path, certificate=str(certificate), key=str(key), seconds=2) as exporter:
        silent = [exporter.connect() for _ in range(3)]
        context = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(exporter.url, timeout=10, context=context) as answer:
            assert b"desk_export_engines" in answer.read()
        with pytest.raises((OSError, urllib.error.URLError)):
            urllib.request.urlopen(exporter.url.replace("https", "http"), timeout=10)
        for one in silent:
            one.close()
    key.chmod(0o644)
    (tmp_path / "desk.toml").write_text(f'[export]\ncertificate = "{certificate}"\nkey = "{key}"\n')
    assert main(["export", str(tmp_path / "desk.toml")]) == 2


@pytest.mark.parametrize(("text", "wanted"), [
    ('address = "localhost"', "export.address"), ('address = "999.1.1.1"', "export.address: found '999.1.1.1'"),
    ('address = "203.0.113.1"', "Cannot assign requested address"), ('key = "/k"', "found a part of TLS"),
    ('certificate = "/none/c"\nkey = "/none/k"', "export.key: "), ("connections = 0", "connections"),
    ('textfile = "relative"', "textfile"), ("colour = 1", "unknown key export.colour"),
])  # fmt: skip
def test_a_wrong_configuration_is_named(
    tmp_path: Path, text: str, wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "desk.toml").write_text(f"[export]\n{text}\n")
    assert main(["export", str(tmp_path / "desk.toml")]) == 2
    assert wanted in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Exporter(tmp_path) as exporter:
        (tmp_path / "desk.toml").write_text(f"[export]\nport = {exporter.port}\n")
        assert main(["export", str(tmp_path / "desk.toml")]) == 2
        assert f"127.0.0.1 port {exporter.port}: Address already in use" in capsys.readouterr().err


def test_headers_that_a_client_makes_up_cost_no_collections(tmp_path: Path) -> None:
    with Exporter(tmp_path, reuse_ms=10_000) as exporter:
        first = exporter.get()
        for number in range(20):
            headers = {"Accept": f"text/plain;q=0.{number},a/b{number}", "Accept-Encoding": f"x{number}"}
            request = urllib.request.Request(exporter.url, headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.read().decode() == first
        for number in range(20):
            with exporter.connect() as client:
                client.sendall(b"VERB%d /metrics HTTP/1.0\r\n\r\n" % number)
                client.recv(1000)
        assert exporter.get() == first


def test_without_descriptors_it_waits_and_does_not_spin(tmp_path: Path) -> None:
    with Exporter(tmp_path, connections=64, seconds=2) as exporter:
        pid = exporter.child.pid
        exporter.get()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, before[1]))
        clients = [exporter.connect() for _ in range(5)]
        spent = psutil.Process(pid).cpu_times()
        time.sleep(1.5)
        now = psutil.Process(pid).cpu_times()
        assert now.user + now.system - spent.user - spent.system < 0.5
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for client in clients:
            client.close()
        assert exporter.wait('desk_export_connections_ended_total{reason="refused"}', 1)
        assert exporter.child.poll() is None


@pytest.mark.parametrize("name", ["certificate", "client_ca"])
def test_a_file_of_tls_that_is_a_fifo_makes_nothing_wait(tmp_path: Path, name: str) -> None:
    make_certificate(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    files = {"certificate": "cert.pem", "key": "key.pem", "client_ca": "cert.pem", name: "fifo"}
    with pytest.raises(DeskError, match=rf"export\.{name}: .*fifo: found a FIFO"):
        make_context(msgspec.convert({key: f"{tmp_path}/{file}" for key, file in files.items()}, Export))


@pytest.mark.parametrize(("state", "shown"), [("runs", True), ("hung", True), ("ended", False), ("died", False)])
def test_a_gauge_of_a_process_that_is_gone_says_nothing(state: State, shown: bool) -> None:
    process = Snapshot(
        name="ingest", kind="ingest", path=Path("/x"), state=state, pid=7, start_time=8, age=1.0, uptime=2.0,
        interval=0.5, sequence=3, numbers={"stands[ticks-0]": 1, "commits": 5}, texts={},
    )  # fmt: skip
    found = {family.name: family.samples for family in describe_processes([process])}
    assert ("desk_ingest_stands" in found) == shown
    assert found["desk_ingest_commits"][0].value == 5 and found["desk_up"][0].value == float(state == "runs")
