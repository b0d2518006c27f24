"""Helpers run on housekeeping CPUs, whatever CPUs there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.host.cpu import DIRECTORY, PARTITIONED, Cpus
from hosttune.host.housekeeping import choose_helper_cpus, find_housekeeping, read_helper_cpus
from hosttune.host.root import Fact

CPUS = st.frozensets(st.integers(0, 15))


def make_cpus(online, isolated=frozenset(), nohz_full=frozenset(), partitioned=frozenset()):
    return Cpus(
        *(Fact("value", cpus, "f") for cpus in (online, online, isolated, nohz_full, partitioned)),
    )


@given(online=CPUS.filter(bool), isolated=CPUS, nohz_full=CPUS, partitioned=CPUS, engine=CPUS)
def test_any_layout_of_cpus(online, isolated, nohz_full, partitioned, engine):
    cpus, wrong = choose_helper_cpus(make_cpus(online, isolated, nohz_full, partitioned), engine)
    free = online - isolated - nohz_full - partitioned
    assert cpus <= online
    if free:
        assert (cpus <= free, bool(cpus), wrong) == (True, True, "")
        assert free <= engine or cpus.isdisjoint(engine)
    else:
        assert cpus == online - engine
        assert "no CPU that is online is a housekeeping CPU" in wrong


def test_two_engines_on_isolated_cpus(fake_host):
    files = {f"{DIRECTORY}/online": "0-6", f"{DIRECTORY}/isolated": "2-5\n", f"{DIRECTORY}/nohz_full": " (null)\n"}
    host = fake_host(files)  # CPU 7 is offline
    for engine in (4, 5):
        assert read_helper_cpus(host, frozenset({engine})) == (frozenset({0, 1, 6}), "")
    host.files[PARTITIONED] = "6\n"
    assert read_helper_cpus(host, frozenset({5})) == (frozenset({0, 1}), "")
    assert read_helper_cpus(host, frozenset({0, 1})) == (frozenset({0, 1}), "")


@pytest.mark.parametrize("name", ["online", "isolated", "nohz_full"])
def test_lists_that_cannot_be_read(fake_host, name):
    host = fake_host({f"{DIRECTORY}/{each}": "0-3" if each == "online" else "2" for each in ("online", "isolated")})
    cpus, wrong = read_helper_cpus(host.deny(f"{DIRECTORY}/{name}"), frozenset({2}))
    assert cpus == (frozenset() if name == "online" else frozenset({0, 1, 3}))
    assert wrong == f"housekeeping CPUs are not known ({DIRECTORY}/{name}: EACCES)"


def test_an_older_kernel_has_no_such_lists():
    absent = Fact("absent", None, "f", "ENOENT")
    online = Fact("value", frozenset({0, 1}), "f")
    assert find_housekeeping(Cpus(online, online, absent, absent, absent)).value == {0, 1}
    assert find_housekeeping(Cpus(absent, online, absent, absent, absent)).state == "unreadable"
