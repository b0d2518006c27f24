import pytest

from hosttune.host import irq_plan, irqbalance
from hosttune.host.cpulist import Banned

LIST, MASK = "IRQBALANCE_BANNED_CPULIST", "IRQBALANCE_BANNED_CPUS"
PROCESS = {
    "/proc/5/comm": "irqbalance\n",
    "/proc/5/status": "Name:\tirqbalance\nUid:\t0\t0\t0\t0\n",
    "/proc/5/cgroup": "0::/system.slice/irqbalance.service\n",
}
UNIT = "[Service]\nEnvironmentFile=-/etc/default/irqbalance\nExecStart=/usr/sbin/irqbalance --foreground\n"
BALANCE = {"/proc/1/comm": "systemd\n", "/lib/systemd/system/irqbalance.service": UNIT}


@pytest.mark.parametrize(
    ("environment", "cpus"),
    [
        ({}, None),
        ({LIST: "2-3"}, {2, 3}),
        ({LIST: "2-N"}, set()),
        ({MASK: "c"}, {2, 3}),
        # The mask is read first, also one that bans nothing.
        ({MASK: "1", LIST: "2-3"}, {0}),
        ({MASK: "0", LIST: "2-3"}, set()),
        ({MASK: "x", LIST: "2-3"}, set()),
        ({MASK: "", LIST: "2-3"}, {2, 3}),
        ({MASK: ""}, None),
    ],
)
def test_what_an_environment_bans(environment, cpus):
    found = irq_plan.read_banned(environment)
    assert (None if found is None else found.cpus) == cpus


def test_an_empty_list_is_read_in_two_ways():
    with pytest.raises(ValueError, match="set and empty"):
        irq_plan.read_banned({LIST: ""})


def test_of_two_variables_of_one_name_the_first_counts():
    assert irq_plan.parse_environ(f"A\0{LIST}=2\0{LIST}=3\0B=\0") == {LIST: "2", "B": ""}


def test_irqbalance_running_and_at_the_next_boot(fake_host):
    host = fake_host(
        {
            **BALANCE,
            **PROCESS,
            "/proc/5/environ": "A=1\0IRQBALANCE_BANNED_CPULIST=2,3\0",
            "/etc/default/irqbalance": '# x\nIRQBALANCE_BANNED_CPULIST="2"\n',
            "/etc/systemd/system/irqbalance.service.d/a.conf": '[Service]\nEnvironment="IRQBALANCE_BANNED_CPULIST=3"\n',
        }
    )
    found = irqbalance.read(host)
    assert (found.running.value, [each.value for each in found.banned]) == (True, [Banned(frozenset({2, 3}))])
    assert (found.banned_next.value, found.banned_next.source) == (Banned(frozenset({2})), "/etc/default/irqbalance")
    assert [each.reason for each in irqbalance.read(host.deny("/proc/5/environ")).banned] == ["EACCES"]
    assert irqbalance.read(host.deny("/etc/default/irqbalance")).banned_next.state == "unreadable"


@pytest.mark.parametrize("path", ["etc/default/irqbalance", "-relative", "/etc/default/*"])
def test_a_path_that_is_not_understood(fake_host, path):
    drop_in = {"/etc/systemd/system/irqbalance.service.d/a.conf": f"[Service]\nEnvironmentFile={path}\n"}
    assert irqbalance.read(fake_host({**BALANCE, **drop_in})).banned_next.state == "unreadable"


def test_irqbalance_that_nobody_told_anything(fake_host):
    found = irqbalance.read(fake_host({**BALANCE, **PROCESS, "/proc/5/environ": ""}))
    assert ([each.state for each in found.banned], found.banned_next.state) == (["absent"], "absent")
    assert irqbalance.read(fake_host(BALANCE)).running.value is False


@pytest.mark.parametrize(
    "value", ["2-3", "2-N", "2,3 # these", " 2", "2\t-3", "2,x,3", "", "\u00e9", "2-3...", "f,0x1", "0000000c"]
)
def test_what_is_kept_is_read_as_the_whole(value):
    """Also of a value that irqbalance reads in part, and what is behind that part is not kept."""
    for name in (LIST, MASK):
        given = {name: value, "SECRET": "s3cret"}
        kept = [
            irq_plan.parse_environ(irqbalance.reduce_environment("".join(f"{n}={v}\0" for n, v in given.items()))),
            dict(
                irqbalance.environment.parse_file(
                    irqbalance.reduce_file("".join(f"{n}='{v}'\n" for n, v in given.items()))
                )
            ),
            dict(
                irqbalance.environment.parse_words(
                    irqbalance.reduce_words(" ".join(f"'{n}={v}'" for n, v in given.items()))
                )
            ),
        ]
        for environment in kept:
            assert environment.keys() == {name}
            if name == LIST and not value:
                assert environment[name] == ""
                continue
            whole, part = irq_plan.read_banned(given), irq_plan.read_banned(environment)
            assert (part and part.cpus) == (whole and whole.cpus)
            assert bool(part and part.fault) == bool(whole and whole.fault)
