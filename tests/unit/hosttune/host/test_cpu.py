"""CPU sets, and what an `N` stands for where the kernel's own list was not captured."""

import pytest

from hosttune.host import cpu, fair_server, identity

D = cpu.DIRECTORY


def test_sets_and_siblings(fake_host):
    host = fake_host(
        {
            f"{D}/online": "0-3\n",
            f"{D}/possible": "0-7\n",
            f"{D}/isolated": "2-3\n",
            f"{D}/nohz_full": " (null)\n",
            f"{D}/cpu2/topology/thread_siblings_list": "2,6\n",
            "/sys/fs/cgroup/cpuset.cpus.isolated": "\n",
        }
    )
    cpus = cpu.read(host, siblings_of=frozenset({2, 3}))
    assert (cpus.online.value, cpus.isolated.value) == ({0, 1, 2, 3}, {2, 3})
    assert (cpus.nohz_full.value, cpus.partitioned.value) == (frozenset(), frozenset())
    assert {number: (fact.state, fact.value) for number, fact in cpus.siblings.items()} == {
        2: ("value", {2, 6}),
        3: ("absent", None),
    }
    assert cpu.find_last(cpus.possible) == 7


def test_without_the_list_of_possible_cpus_their_directories_count(fake_host):
    host = fake_host({f"{D}/cpu0/x": "", f"{D}/cpu31/x": "", f"{D}/cpufreq/x": ""})
    assert cpu.find_last(cpu.read_possible(host)) == 31
    assert cpu.find_last(cpu.read_possible(fake_host())) is None


def test_fair_server(fake_host):
    files = {"/proc/sys/kernel/osrelease": "6.12.9-amd64\n", f"{D}/isolated": "3\n"}
    host = fake_host({**files, f"{fair_server.DIRECTORY}/cpu3/runtime": "50000000\n"})
    found = fair_server.read(host)
    assert (found.kernel.value, found.runtimes[3].value) == ((6, 12), 50000000)
    locked = fake_host({**files, "/sys/kernel/security/lockdown": "none [integrity] confidentiality\n"})
    found = fair_server.read(locked.deny(f"{fair_server.DIRECTORY}/cpu3/runtime"))
    assert (found.runtimes[3].reason, found.lockdown.value) == ("EACCES", "integrity")
    old = fair_server.read(fake_host({"/proc/sys/kernel/osrelease": "6.1.0-28-amd64\n"}))
    assert (old.kernel.value, old.runtimes) == ((6, 1), {})


@pytest.mark.parametrize("text", ["", "unknown"])
def test_a_release_that_is_none(text):
    with pytest.raises(ValueError, match="release"):
        identity.parse_release(text)
