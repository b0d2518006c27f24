"""The agent runs as it was asked to: real-time, on its isolated CPU, unprivileged, all memory locked."""

import pytest


@pytest.fixture
def pid(host):
    pid = int(host.check_output("systemctl show -P MainPID trading_agent.service"))
    assert pid > 0
    return pid


def test_every_thread_is_where_it_belongs(python, pid):
    threads = python(
        "import json, os\n"
        f"print(json.dumps([[os.sched_getscheduler(int(t)), os.sched_getparam(int(t)).sched_priority,\n"
        f"    sorted(os.sched_getaffinity(int(t)))] for t in os.listdir('/proc/{pid}/task')]))\n"
    )
    assert threads
    assert {tuple(map(str, thread)) for thread in threads} == {("1", "80", "[3]")}  # SCHED_FIFO


def test_its_memory_is_locked(text, pid):
    status = dict(line.split(":\t", 1) for line in text(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    locked, resident = (int(status[key].split()[0]) for key in ("VmLck", "VmRSS"))
    # Nobody can lock the vDSO's code and, from Linux 6.11 on, its random state: 4 pages at most.
    assert locked >= resident - 16 > 0


def test_it_has_no_privilege_left(text, pid):
    status = dict(line.split(":\t", 1) for line in text(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert "0" not in status["Uid"].split()
    assert int(status["CapEff"], 16) == 0


def test_attest_agrees(host, pid):
    done = host.run(f"hosttune attest {pid}")
    assert done.rc == 0, done.stdout + done.stderr


def test_the_check_timer_is_armed(host):
    assert host.service("hosttune-check.timer").is_enabled
    assert host.service("hosttune-check.timer").is_running
