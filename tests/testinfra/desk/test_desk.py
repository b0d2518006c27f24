"""The desk beside the agent: closed units on the housekeeping CPUs, which wait for Redis and Kafka, and work once these
are there."""

import json
import os
import time

import pytest

from testhost import Cache, Host, desk_services

UNITS = ["desk-ingest.service", "desk-sync.service", "desk-export.service"]
DESK = "runuser -u trader -- /opt/desk/current/bin/desk"
# Of inventory/demo; written so that a search does not find itself in the journal.
PASSWORD, SEARCHED = "pw-of-demo-redis", "pw-of-demo-[r]edis"


@pytest.fixture(scope="module")
def services():
    """Redis and Kafka in the guest, which the desk had to do without until now."""
    guest = Host(Cache(), f"molecule-{os.environ['MOLECULE_SCENARIO_NAME']}")
    desk_services.start(guest, PASSWORD)
    yield guest
    desk_services.stop(guest)


def _status(host):
    done = host.run(f"timeout 60 {DESK} status /etc/desk/desk.toml --format json")
    assert done.rc in (0, 1, 3), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_runs_beside_the_agent(host, text, unit):
    pid = host.check_output("systemctl show -P MainPID %s", unit)
    status = dict(line.split(":\t", 1) for line in text(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert status["Cpus_allowed_list"] == "0-1"
    assert status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == 0
    assert "0" not in status["Uid"].split()
    # Of field 41 of proc_pid_stat(5): SCHED_OTHER.
    assert text(f"/proc/{pid}/stat").rpartition(")")[2].split()[38] == "0"
    assert host.check_output("systemctl show -P NRestarts %s", unit) == "0"


def test_the_units_are_closed(host):
    for unit in UNITS:
        shown = host.check_output(f"systemd-analyze security --no-pager {unit}").splitlines()[-1]
        assert float(shown.partition(f"{unit}: ")[2].split()[0]) <= 2.0, shown


def test_the_password_is_roots_alone_and_nowhere_shown(host):
    assert host.check_output("stat -c '%a %U' /etc/desk/redis_password") == "600 root"
    assert host.check_output("stat -c '%a %U %G' /etc/desk/desk.toml") == "640 root trader"
    for place in ("/etc/desk/desk.toml", "/etc/systemd/system/desk-sync.service"):
        assert host.run(f"grep -q '{SEARCHED}' {place}").rc == 1
    assert host.run(f"journalctl --no-pager | grep -q '{SEARCHED}'").rc == 1


def test_a_limit_that_is_changed_in_redis_is_in_the_engine(host, services):
    changed = desk_services.ask(services, "limit", "main", "max_size", "7", PASSWORD)
    assert changed["before"] == 10 and changed["after"] == 7
    desk_services.ask(services, "limit", "main", "max_size", "10", PASSWORD)
    found = json.loads(host.check_output("runuser -u trader -- /opt/trading_agent/current/bin/agent journal "
                                         "/var/lib/trading_agent/main.journal --format json"))  # fmt: skip
    assert [(one["old"], one["new"]) for one in found["records"] if one.get("name") == "max_size"] == [(10, 7), (7, 10)]


def _count_bytes(host):
    """Returns how many bytes wait in the ring of the topic; 0 while it has none."""
    return sum(ring["used"] for ring in _status(host)["rings"] if ring["path"].endswith("/ticks.ring"))


def _send_records(host, services, count):
    """Send records to Kafka and wait until the ring has them."""
    before = _count_bytes(host)
    assert desk_services.ask(services, "records", "ticks", str(count))["records"] == count
    limit = time.monotonic() + 240
    while (found := _count_bytes(host)) < before + count * 60:
        assert time.monotonic() < limit, (before, found)
        time.sleep(2)


def test_records_of_kafka_are_in_the_ring(host, services):
    _send_records(host, services, 2000)


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_a_clock_that_is_set_stops_nothing(host, services, seconds):
    # CLOCK_REALTIME by a day, forth and then back: of the guest, as no namespace has one of its own.
    now = int(host.check_output("date +%s"))
    host.check_output("date --set @%s", str(now + seconds))
    _send_records(host, services, 500)
    for size in (7, 10):
        assert desk_services.ask(services, "limit", "main", "max_size", str(size), PASSWORD)["after"] == size
    for unit in UNITS:
        assert host.check_output("systemctl is-active %s", unit) == "active"
        assert host.check_output("systemctl show -P NRestarts %s", unit) == "0"


def test_the_exporter_has_engine_and_desk(python):
    page = python(
        "import json, urllib.request\n"
        "print(json.dumps(urllib.request.urlopen('http://127.0.0.1:9750/metrics', timeout=20).read().decode()))\n"
    )
    assert '\nagent_up{agent="main"} 1.0\n' in page
    assert "desk_sync_" in page and "desk_ingest_" in page
