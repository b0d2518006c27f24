"""Limits reach the agent's user on both paths: a PAM login, and a systemd unit."""

WANTED = {
    "Max locked memory": "unlimited",
    "Max realtime priority": "95",
    "Max nice priority": "40",  # getrlimit(2): 20 - nice, so nice -20
    "Max open files": "65536",
}


def limits(text):
    return {line[:26].strip(): line[26:].split()[0] for line in text.splitlines()[1:]}


def test_a_login(host):
    shown = limits(host.check_output("su - trader -s /bin/sh -c 'cat /proc/self/limits'"))
    assert {name: shown[name] for name in WANTED} == WANTED


def test_a_unit(host):
    shown = limits(host.check_output("systemd-run --quiet --pipe --wait --uid=trader cat /proc/self/limits"))
    assert {name: shown[name] for name in WANTED} == WANTED


def test_real_time_tasks_are_not_throttled(text):
    assert text("/proc/sys/kernel/sched_rt_runtime_us") == "-1"


def test_the_fair_server_is_off_where_it_was_asked_for(host, text):
    """Where the kernel has one (Linux 6.12 and later); on an older kernel the service does nothing."""
    unit = "hosttune-fair_server.service"
    assert host.check_output(f"systemctl is-enabled {unit}") == "enabled"
    has = host.file("/sys/kernel/debug/sched/fair_server").exists
    assert host.check_output(f"systemctl show -P ConditionResult {unit}") == ("yes" if has else "no")
    if not has:
        release = text("/proc/sys/kernel/osrelease").split(".")
        assert (int(release[0]), int(release[1])) < (6, 12)
        return
    found = [text(f"/sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime") for cpu in range(4)]
    assert [cpu for cpu, value in enumerate(found) if value == "0"] == [2]
