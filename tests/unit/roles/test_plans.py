"""plugins/plugin_utils: what roles are asked for is refused with the reason, or planned as the check would judge it."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.checks import cpu_isolation, hugepages, irq_affinity
from hosttune.host import boot_pages, cmdline, cpulist, hugetlb
from tests.unit.roles.hosts import make_host
from tests.unit.roles.plans import action, cpu_isolation_plan, cpu_lists, hugepages_plan, irq_affinity_plan

LAST = 15
SPANS = st.lists(st.tuples(st.integers(0, LAST), st.integers(0, 3)), min_size=1, max_size=4)
LISTS = SPANS.map(lambda spans: ",".join(str(a) if not more else f"{a}-{a + more}" for a, more in spans))


# --- lists of CPUs ----------------------------------------------------------------------------------------


def slowly(text: str) -> list[int] | None:
    """The CPUs of a list as it stands in the README, None if it is none."""
    cpus = []
    for part in text.split(","):
        if part.isascii() and part.isdigit():
            cpus.append(int(part))
        elif match := re.fullmatch(r"([0-9]+)-([0-9]+)", part):
            first, last = int(match[1]), int(match[2])
            if last < first:
                return None
            cpus += range(first, last + 1)
        else:
            return None
    return cpus if max(cpus) <= cpulist.MAX_CPU else None


@given(LISTS | st.text("0123456789,-: N\n", max_size=12))
def test_a_list_is_read_as_the_check_reads_it_or_refused(text: str) -> None:
    expected = slowly(text)
    if expected is None:
        with pytest.raises(ValueError, match=r"cpus is .*expected a quoted list of CPUs such as \"2-3,6\""):
            cpu_lists.read("cpus", text)
    else:
        assert list(cpu_lists.read("cpus", text)) == expected
        assert cpulist.parse(text, LAST) == set(expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("3-2", r'x is "3-2": cpulist \'3-2\' runs backwards; expected a quoted list'),
        ("0-99999", r'x is "0-99999": cpulist \'0-99999\': no machine has a CPU 99999; expected'),
        ("2-31:2/8", 'x is "2-31:2/8": expected a quoted list of CPUs such as "2-3,6"$'),
        (3, "x is 3: expected a quoted list"),
        (None, "x is null: expected a quoted list"),
        ("", 'x is "": expected a quoted list'),
    ],
)
def test_a_refusal_names_the_variable_what_was_found_and_what_is_allowed(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cpu_lists.read("x", value)


# --- cpu_isolation ----------------------------------------------------------------------------------------


def isolate(present: str | None = "0-15", **lists: Any) -> dict[str, Any]:
    given = {"isolated": "2-3", "housekeeping": "0-1", "nohz_full": "2-3", "rcu_nocbs": "2-3", "irqaffinity": "0-1"}
    variables = {
        f"cpu_isolation_{name}": value
        for name, value in {**given, "managed_irq": True, "systemd": False, **lists}.items()
    }
    planned: dict[str, Any] = cpu_isolation_plan.plan(variables, make_host(present))
    return planned


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"isolated": "0-3"}, 'cpu_isolation_isolated is "0-3": CPU 0 boots the machine'),
        ({"housekeeping": "0-2"}, 'isolated is "2-3" and cpu_isolation_housekeeping is "0-2": .* CPU 2 is in both'),
        ({"irqaffinity": "3"}, "isolated CPUs cannot be irqaffinity CPUs, and CPU 3 is in both"),
        ({"nohz_full": "2-4"}, "nohz_full has to be within isolated, and CPU 4 is not"),
        ({"nohz_full": "2-3", "rcu_nocbs": "3"}, "nohz_full has to be within rcu_nocbs, and CPU 2 is not"),
        ({"housekeeping": "0-1,16"}, "the host has no CPU 16, it has only the CPUs 0-15"),
        ({"isolated": ""}, 'cpu_isolation_isolated is "": expected .*hosttune_isolated_cpus'),
        ({"isolated": "3-2"}, "runs backwards"),
    ],
)
def test_lists_that_do_not_fit_together(lists: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        isolate(**lists)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValueError) as refusal:
        isolate(isolated="0,2-3", housekeeping="0-1,99", nohz_full="5")
    assert len(str(refusal.value).splitlines()) == 6


def test_an_image_is_for_another_host() -> None:
    assert isolate(None, isolated="64-127", nohz_full="", rcu_nocbs="")["arguments"] == [
        "isolcpus=managed_irq,domain,64-127",
        "irqaffinity=0-1",
    ]


@given(st.data())
def test_the_check_reads_the_boot_arguments_as_they_were_meant(data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(1, LAST + 1)))
    cut = data.draw(st.integers(1, LAST))
    isolated, others = frozenset(order[:cut]), frozenset({0, *order[cut:]})
    full = frozenset(data.draw(st.lists(st.sampled_from(sorted(isolated)), unique=True)))
    offloaded = full | frozenset(data.draw(st.lists(st.sampled_from(sorted(isolated)), unique=True)))
    starts = frozenset(data.draw(st.lists(st.sampled_from(sorted(others)), unique=True, min_size=1)))
    managed = data.draw(st.booleans())
    text = {
        "isolated": cpulist.show(isolated),
        "housekeeping": cpulist.show(others),
        "nohz_full": cpulist.show(full),
        "rcu_nocbs": cpulist.show(offloaded),
        "irqaffinity": cpulist.show(starts),
    }
    words = isolate(managed_irq=managed, **text)["arguments"]
    line = cmdline.split_arguments(" ".join(["quiet", *words, "splash"]))
    isolation = cmdline.resolve_isolation(line, LAST)
    assert (isolation.domain, isolation.nohz, isolation.remarks) == (isolated, full, ())
    assert isolation.managed_irq == (isolated if managed else frozenset())
    assert cmdline.resolve_rcu_nocbs(line, LAST) == offloaded
    assert cmdline.resolve_irqaffinity(line, LAST) == starts | {cmdline.BOOT_CPU}
    section = {name: list for name, list in text.items() if list and name != "housekeeping"}
    msgspec.convert({**section, "managed_irq": managed, "systemd": True}, cpu_isolation.Section)


# --- irq_affinity -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("housekeeping", "queues", "message"),
    [
        ("0-1", {"eth0": 1}, "irq_affinity_queues.eth0 is 1: expected a quoted list"),
        ("0-1", {"eth0": "9"}, 'queues.eth0 is "9": the host has no CPU 9, it has only the CPUs 0-3'),
        ("0-4", {}, 'irq_affinity_housekeeping is "0-4": the host has no CPU 4'),
        ("1-0", {}, "runs backwards"),
        ("0-1", {"a b": "1"}, "irq_affinity_queues: 'a b' is not the name of a network interface"),
        ("0-1", ["eth0"], r"irq_affinity_queues is \[\"eth0\"\]: expected interfaces"),
    ],
)
def test_interrupts_that_cannot_be_placed(housekeeping: Any, queues: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        irq_affinity_plan.plan(housekeeping, queues, "banned", make_host("0-3", "0-7"))


@given(LISTS, st.dictionaries(st.sampled_from(["eth0", "eth1"]), LISTS), st.integers(LAST + 3, 40))
def test_irqbalance_is_banned_from_all_cpus_that_the_check_names(
    housekeeping: str, queues: dict[str, str], last: int
) -> None:
    """Also from those that are not there yet: the check asks for all that are possible."""
    host = make_host(f"0-{LAST + 3}", f"0-{last}")
    banned = irq_affinity_plan.plan(housekeeping, queues, "banned", host)["banned"]
    told = cpulist.parse_irqbalance(banned) if banned else (frozenset(), "")
    assert told == (frozenset(range(last + 1)) - cpulist.parse(housekeeping), "")
    msgspec.convert({"housekeeping": housekeeping, "queues": queues}, irq_affinity.Section)


FOUND = {
    "/sys/devices/system/cpu/online": "0-1,3",
    "/etc/default/irqbalance": "# nothing",
    "/etc/sysconfig/irqbalance": None,
    "/sys/devices/virtual/net/eth0": None,
    "/sys/devices/virtual/net/bond0": "",
    "/sys/devices/virtual/net/eth9": None,
    "/sys/class/net/bond0": "",
    "/sys/class/net/eth0": "",
    "/sys/class/net/eth9": None,
}


@pytest.mark.parametrize(
    ("housekeeping", "queues", "found", "message"),
    [
        ("0-1", {"bond0": "1"}, {}, "irq_affinity_queues: bond0: a virtual interface has no interrupts: name the card"),
        ("0-1", {"eth9": "1"}, {}, "irq_affinity_queues: eth9: the host has no such network interface"),
        ("0-1", {"eth0": "2"}, {}, 'irq_affinity_queues.eth0 is "2": CPU 2 is offline: bring it online, or name'),
        ("2", {}, {}, 'irq_affinity_housekeeping is "2": CPU 2 is offline'),
        (
            "0-1",
            {"eth0": "1"},
            {"/etc/default/irqbalance": "IRQBALANCE_ARGS='--banirq=9'\n"},
            '/etc/default/irqbalance sets IRQBALANCE_ARGS to "--banirq=9", and irq_affinity_queues needs it',
        ),
        ("0-1", {"eth0": "1"}, {"/etc/sysconfig/irqbalance": "# \\\nIRQBALANCE_ARGS=x\n"}, "depends on the version"),
    ],
)
def test_interrupts_that_this_host_cannot_place(housekeeping: Any, queues: Any, found: Any, message: str) -> None:
    host = make_host("0-3", "0-7", **{**FOUND, **found})
    assert set(irq_affinity_plan.list_reads({"queues": queues}, image=False)) <= set(host.found)
    with pytest.raises(ValueError, match=message):
        irq_affinity_plan.plan(housekeeping, queues, "banned", host)


def test_what_this_host_can_place() -> None:
    told = "IRQBALANCE_ARGS=-j\nIRQBALANCE_BANNED_CPULIST=5\n"
    host = make_host("0-3", "0-7", **{**FOUND, "/etc/default/irqbalance": told})
    assert irq_affinity_plan.plan("0-2", {}, "banned", host) == {"banned": "3-7"}
    assert irq_affinity_plan.plan("0-2", {"eth0": "3"}, "stopped", host) == {"banned": "3-7"}
    assert irq_affinity_plan.list_reads({"queues": {"a b": "1", "eth0": "1"}}, image=False)[-1].endswith("/net/eth0")
    assert irq_affinity_plan.list_reads({"queues": {"eth0": "1"}}, image=True)[0].endswith("/possible")


def test_a_cpu_that_does_not_run_is_not_isolated() -> None:
    """It would be found not ready after the reboot."""
    lists = dict.fromkeys(("nohz_full", "rcu_nocbs"), "") | {"housekeeping": "0,2", "irqaffinity": "0"}
    given = {f"cpu_isolation_{name}": text for name, text in {"isolated": "1,3", **lists}.items()}
    host = make_host("0-3", "0-7", **{"/sys/devices/system/cpu/online": "0-1,3"})
    asked = {**given, "cpu_isolation_managed_irq": True, "cpu_isolation_systemd": True}
    assert set(host.found) - {"/sys/devices/system/cpu/possible"} <= set(cpu_isolation_plan.list_reads({}, image=False))
    assert cpu_isolation_plan.plan(asked, host)["arguments"][0] == "isolcpus=managed_irq,domain,1,3"
    asked |= {"cpu_isolation_isolated": "2-3", "cpu_isolation_housekeeping": "0-1"}
    with pytest.raises(ValueError, match=r'^cpu_isolation_isolated is "2-3": CPU 2 is offline: bring it online'):
        cpu_isolation_plan.plan(asked, host)


@pytest.mark.parametrize(
    ("cpus", "message"),
    [
        ("1", None),
        (1, None),
        ("2", "CPU 2 is offline: bring"),
        ("3,5-6", "the host has no CPU 5-6, it has only"),
        ("3-1", ""),
    ],
)
def test_an_agent_is_not_deployed_on_a_cpu_that_does_not_run(cpus: Any, message: str | None) -> None:
    agent = action.load("trading_agent")
    names = ("force", "launch_arguments", "preflight_arguments")
    given: dict[str, Any] = {"release": "", "keep_releases": 3, "policy": "fifo", "priority": 80, "start_timeout": 9}
    given |= {"user": "trader", "group": "trader", "cpus": cpus, **{name: [] for name in names}}
    asked = {"variables": {f"trading_agent_{name}": value for name, value in given.items()}, "config": {}}
    host = make_host("0-3", "0-7", **{"/sys/devices/system/cpu/online": "0-1,3"})
    assert set(agent.list_reads({"refuse": True}, image=False)) <= set(host.found)
    assert agent.plan(**asked, refuse=False, host=host)["config"] == ""
    if message is None:
        assert agent.plan(**asked, host=host)["has_password"] is False
        return
    with pytest.raises(ValueError, match=f"^trading_agent_cpus is .*{message}"):
        agent.plan(**asked, host=host)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ([], []),
        (["--setenv", "PYTHONPATH=/srv/a:/srv/b"], ["PYTHONPATH=/srv/a:/srv/b"]),
        (["--setenv=A=1", "--allow-memory", "B=2", "--setenv", "A=x=y"], ["A=1", "A=x=y"]),
        (["--setenv", "NOTIFY_SOCKET", "--setenv", "A="], ["A="]),
        (["--setenv", "A=1", "--setenv=PYTHONPATH"], None),  # the unit's own, which a drop-in may set
        (["--setenv"], None),
    ],
)
def test_what_the_launch_arguments_set(arguments: list[str], environment: list[str] | None) -> None:
    agent = action.load("trading_agent")
    given: dict[str, Any] = {"release": "", "keep_releases": 3, "policy": "fifo", "priority": 80, "start_timeout": 9}
    given |= {"user": "trader", "group": "trader", "cpus": "1", "force": [], "preflight_arguments": []}
    variables = {f"trading_agent_{name}": value for name, value in {**given, "launch_arguments": arguments}.items()}
    assert agent.plan(variables, {}, host=make_host("0-3", "0-7"))["environment"] == environment


# --- hugepages --------------------------------------------------------------------------------------------

SIZES = st.sampled_from(["64K", "2M", "32M", "1G", "16G"])
PAGES = st.dictionaries(
    SIZES, st.dictionaries(st.integers(0, 3).map("node{}".format), st.integers(0, 4096) | st.just("7")), max_size=4
)


def reserve(pages: Any, boot: Any = ("1G",), transparent: Any = "never", mount: Any = None) -> dict[str, Any]:
    planned: dict[str, Any] = hugepages_plan.plan(pages, boot, transparent, mount or {})
    return planned


@given(PAGES, st.lists(SIZES, unique=True), st.sampled_from(["always", "madvise", "never", None]))
def test_the_check_finds_each_pool_where_it_was_planned(
    pages: dict[str, dict[str, Any]], boot: list[str], transparent: str | None
) -> None:
    planned = reserve(pages, boot, transparent)
    section = msgspec.convert(planned["section"], hugepages.Section)
    wanted = {(size, int(node[4:])): int(n) for size, counts in pages.items() for node, n in counts.items()}
    assert {(size, node): count for size, _, node, count in section.list_pools()} == wanted
    asked = boot_pages.parse(cmdline.split_arguments(" ".join(planned["arguments"]))).pages
    for size, kb, node, count in section.list_pools():
        written = planned["values"].get(hugetlb.build_path(kb, node))
        if size in boot:
            assert written is None and asked[kb].find_bounds(node, range(4)) == (count, count)
        else:
            assert written == count and kb not in asked
    assert section.transparent == planned["values"].get(hugetlb.TRANSPARENT) == transparent
    assert len(planned["values"]) == sum(size not in boot for size, _ in wanted) + (transparent is not None)


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ({"2MB": {"node0": 1}}, r'hugepages_pages: 2MB: {"node0": 1}: page size .* expected a size such as 2M or 1G'),
        ({"2M": {"cpu0": 1}}, "'cpu0' is not a NUMA node; allowed: node0"),
        ({"2M": {"node0": True}}, "true is not a number of pages"),
        ({"2M": {"node0": "1.5"}}, '"1.5" is not a number of pages'),
        ({"2M": {"node99999999": 1}}, "'node99999999' is not a NUMA node; allowed: node0, node1, ... node1023"),
        ({"2M": {"node1024": 1}}, "'node1024' is not a NUMA node"),
        ({"2M": {"node0": 10**30}}, "is not a number of pages .at most 2147483648"),
        ({"1G": {"node0": 4194305}}, "is not a number of pages .at most 4194304"),
        ({"2M": 512}, "no nodes; expected a size"),
        ({"2M": {"node0": 1}, "2048K": {"node1": 1}}, "2048K: .*the same size as 2M; expected each size once"),
        ({"2M": {"node0": 1, "node00": 1}}, "a node is named twice"),
        ([], r"hugepages_pages is \[\]: expected sizes"),
    ],
)
def test_pools_that_cannot_be_meant(pages: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reserve(pages)


def test_pools_that_the_memory_of_a_node_does_not_hold() -> None:
    """The kernel would give fewer pages, or not boot; what is reserved at boot counts too."""
    meminfo = "/sys/devices/system/node/node0/meminfo"
    found = {meminfo: "Node 0 MemTotal:        4194304 kB\nNode 0 MemFree:  5 kB\n"}
    for pages, fits in (
        ({"2M": {"node0": 1023}, "1G": {"node0": 2, "node1": 9}}, True),
        (
            {"2M": {"node0": 1024}, "1G": {"node0": 2}},
            False,
        ),
    ):
        assert meminfo in hugepages_plan.list_reads({"refuse": True, "pages": pages}, image=False)
        host = make_host(**found)
        if fits:
            assert hugepages_plan.plan(pages, ["1G"], None, {}, host=host)["arguments"]
            continue
        with pytest.raises(ValueError, match="hugepages_pages: node0: 4,194,304 kB in all: the node has 4,194,304 kB"):
            hugepages_plan.plan(pages, ["1G"], None, {}, host=host)


@pytest.mark.parametrize(
    ("pages", "transparent", "mount"),
    [
        ({"2M": {"node0": 5}}, None, {"path": "/dev/huge", "group": "trader", "size": "1G"}),
        ({"2M": {"node0": "many"}, "1G": {"node0": 2}}, "sometimes", {}),
        (None, False, {"path": "relative"}),
    ],
)
def test_a_revert_is_not_refused(pages: Any, transparent: Any, mount: Any) -> None:
    """An inventory that was edited until it is refused must not stop the roles that are reverted behind this one."""
    with pytest.raises(ValueError):
        hugepages_plan.plan(pages, ["1G"], transparent, mount)
    planned = hugepages_plan.plan(pages, ["1G"], transparent, mount, refuse=False)
    assert planned["unit"] == "" and hugetlb.TRANSPARENT not in planned["values"]


def test_a_boot_size_is_the_same_however_it_is_written() -> None:
    assert reserve({"1G": {"node0": 2}}, ["1024M"])["arguments"] == ["hugepagesz=1G", "hugepages=0:2"]
    with pytest.raises(ValueError, match="hugepages_boot_sizes: page size 'huge'"):
        reserve({}, ["huge"])


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (1, r"hugepages_mount is 1 .allowed"),
        ({"path": "/dev/x"}, r"hugepages_mount is .*allowed: \{\}, or path, group and size together"),
        ({"path": "/dev/../x", "group": "g", "size": "2M"}, "the path absolute"),
        ({"path": "/dev/x\n", "group": "g", "size": "2M"}, "the path absolute"),
        ({"path": "/dev/x", "group": "g", "size": "1G"}, "the size one of hugepages_pages: 2M"),
    ],
)
def test_mounts_that_cannot_be(mount: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reserve({"2M": {"node0": 1}}, mount=mount)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/dev/huge-pages_2M", r"dev-huge\x2dpages_2M.mount"),
        ("/mnt/a.b:c", "mnt-a.b:c.mount"),
        ("/x@y", r"x\x40y.mount"),
    ],
)
def test_the_unit_of_a_mount_has_systemds_name(path: str, unit: str) -> None:
    assert hugepages_plan.mount_unit(path) == unit


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="systemd-escape is not installed")
def test_systemd_names_units_alike() -> None:
    paths = ["/dev/huge-pages_2M", "/a", "/-/--x", "/x@y/z", "/mnt/a.b:c/d_e"]
    command = ["systemd-escape", "-p", "--suffix=mount", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [hugepages_plan.mount_unit(path) for path in paths] == done.stdout.split()
