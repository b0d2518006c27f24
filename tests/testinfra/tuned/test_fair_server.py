"""From Linux 6.12 on the kernel's fair server takes from a real-time thread what an ordinary task waits for."""

import json

import pytest

CPU = 2  # isolated, and not the agent's
RUNTIME = f"/sys/kernel/debug/sched/fair_server/cpu{CPU}/runtime"
ON = 50_000_000  # nanoseconds of each second: the kernel's default (kernel/sched/deadline.c, fair_server_init)
LAUNCH = f"hosttune launch --cpus {CPU} --policy fifo --priority 10 -- true"


@pytest.fixture(scope="module")
def set_server(host):
    """A function that sets the server's share of a CPU for which an ordinary task waits; all is put back afterwards."""
    release = host.check_output("uname -r")
    if tuple(map(int, release.split(".")[:2])) < (6, 12):
        pytest.skip(f"Linux {release} has no fair server")
    before = host.check_output(f"cat {RUNTIME}")

    def set_runtime(value):
        assert host.run(f"sh -c 'echo {value} >{RUNTIME}'").rc == 0

    rival = f"systemd-run --quiet --collect --unit=rival -p CPUAffinity={CPU} sh -c 'while :; do :; done'"
    assert host.run(rival).rc == 0
    yield set_runtime
    assert host.run("systemctl stop rival.service").rc == 0
    set_runtime(before)


def list_causes(host):
    """Returns the causes of the gaps that a real-time thread sees on the CPU within some seconds."""
    command = f"hosttune gaps --cpu {CPU} --policy fifo --priority 10 --seconds 5 --threshold 5000 --format json"
    return {gap["cause"] for gap in json.loads(host.check_output(command))["gaps"]}


def test_the_kernel_has_it_and_the_check_says_what_it_does(report, set_server):
    set_server(ON)
    found = report()["by_id"]["rt_limits.fair_server"]
    assert found["status"] in ("warn", "fail")
    assert found["hops"]["runtime"]["value"][f"cpu{CPU}"].startswith(str(ON))


def test_launch_refuses_a_real_time_thread_beside_an_ordinary_one(host, set_server):
    set_server(ON)
    done = host.run(LAUNCH)
    assert done.rc == 1
    assert "launch.fair_server: fail" in done.stderr and "(sh)" in done.stderr


def test_launch_starts_it_where_the_server_is_off(host, set_server):
    set_server(0)
    done = host.run(LAUNCH)
    assert done.rc == 0, done.stderr


def test_a_real_time_thread_is_switched_out_for_it(host, set_server):
    set_server(ON)
    assert "other task" in list_causes(host)


def test_no_other_task_gets_the_cpu_where_it_is_off(host, set_server):
    set_server(0)
    assert "other task" not in list_causes(host)
