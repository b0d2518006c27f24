"""Whatever GRUB's files hold, a role refuses by name, or the next boot's command line is what the check expects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ansible.plugins.action")

from hosttune import checker, profile
from hosttune.host import grub_default
from tests.examples import TIMES
from tests.unit.roles import rendering
from tests.unit.roles.plans import action
from tests.unit.roles.rendering import settle
from tests.unit.roles.simulated import Simulated
from tests.unit.roles.test_roles_and_drop_ins import GENERATE, TOPOLOGY

boot_line = action.load_utility("boot_line")

DEFAULT = "/etc/default/grub"
DROP_INS = f"{DEFAULT}.d"
FIRST, LAST = "GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"
ISOLATION: dict[str, dict[str, Any]] = {"cpu_isolation": {}}
WITH_TICKS: dict[str, dict[str, Any]] = {"cpu_isolation": {"cpu_isolation_nohz_full": ""}}
POOLS: dict[str, dict[str, Any]] = {"hugepages": {"hugepages_pages": {"1G": {"node0": 2}}}}
BBR: dict[str, dict[str, Any]] = {"tcp_bbr": {}}
#: Of the roles that write boot arguments, what the check says of these.
JUDGED = ("cpu_isolation.", "hugepages.")


def add(variable: str, words: str) -> str:
    return f'{variable}="${variable} {words}"\n'


def make_host(files: dict[str, str]) -> Simulated:
    """Returns a host whose GRUB has these files; in the first one both variables are empty at the start."""
    keys = ["net.core.somaxconn", "net.core.default_qdisc", "net.ipv4.tcp_congestion_control"]
    host = Simulated(keys, set(), set(), set(), set())
    host.files |= {**files, DEFAULT: f'{FIRST}=""\n{LAST}=""\n{files.get(DEFAULT, "")}'}
    return host


def apply(host: Simulated, roles: dict[str, dict[str, Any]]) -> None:
    """Plan roles with their variables, then apply them. Raises NotPlanned."""
    planned = []
    for role, variables in roles.items():
        defaults = rendering.load(rendering.ROLES / role / "defaults/main.yml")
        planned.append(settle(role, {**TOPOLOGY, **variables}, lambda names, of=defaults: host.ask(names, of)))
    for files, values in planned:
        host.apply(files, values)


def refuse_or_pass(files: dict[str, str], roles: dict[str, dict[str, Any]]) -> str:
    """Apply roles to a host with such files for GRUB, boot it, and judge. Returns why a role refused, "" for none."""
    host = make_host(files)
    if "nosmt" in str(files):
        host.files["/sys/devices/system/cpu/cpu3/topology/thread_siblings_list"] = "2-3\n"
    try:
        apply(host, roles)
    except rendering.NotPlanned as error:
        assert any(path in str(error) for path in (*files, "/proc/cmdline")), error
        return str(error)
    host.boot()
    apply(host, roles)  # a host whose files hold the role's own fragment plans as before
    assert judge(host) == [], files
    return ""


def judge(host: Simulated) -> list[tuple[Any, ...]]:
    """Returns the findings on boot arguments that are not what they shall be."""
    found = checker.run_checks(profile.load(None, host.host), host.host).findings
    judged = [one for one in found if one.id.startswith(JUDGED)]
    assert judged, [(one.id, one.found, one.why) for one in found]
    return [(one.id, one.status, one.hops) for one in judged if one.status not in ("pass", "na")]


# --- what is refused --------------------------------------------------------------------------------------

LATER, EARLIER = f"{DROP_INS}/90-x.cfg", f"{DROP_INS}/10-x.cfg"
PAGES = "hugepagesz=1G hugepages=4"
TAKEN_BACK: dict[str, tuple[dict[str, str], dict[str, dict[str, Any]], str, str]] = {
    "the first isolcpus": ({LATER: f'{FIRST}="isolcpus=5"'}, ISOLATION, LATER, "isolcpus=5"),
    "the last irqaffinity": ({LATER: add(LAST, "irqaffinity=5")}, ISOLATION, LATER, "irqaffinity=5"),
    "another nohz_full": ({LATER: add(FIRST, "nohz_full=5")}, ISOLATION, LATER, "nohz_full=5"),
    "the last rcu_nocbs": ({LATER: add(LAST, "rcu_nocbs=5")}, WITH_TICKS, LATER, "rcu_nocbs=5"),
    "a name with a hyphen": ({DEFAULT: add(FIRST, "rcu-nocbs=5 nohz-full=5")}, ISOLATION, DEFAULT, "nohz_full=5"),
    "the tick": ({DEFAULT: add(LAST, "nohz=off")}, ISOLATION, DEFAULT, "nohz=off"),
    "services": ({DEFAULT: add(FIRST, "systemd.cpu_affinity=2-3")}, ISOLATION, DEFAULT, "systemd.cpu_affinity=2-3"),
    "CPUs that are left off": ({EARLIER: add(FIRST, "maxcpus=2")}, ISOLATION, EARLIER, "maxcpus=2"),
    "threads that are left off": ({EARLIER: add(FIRST, "nosmt")}, ISOLATION, EARLIER, "nosmt"),
    "pages set aside": ({EARLIER: add(FIRST, "hugetlb_cma=2G")}, POOLS, EARLIER, "hugetlb_cma=2G"),
    "two words": ({EARLIER: add(LAST, "nr_cpus=2"), LATER: add(FIRST, "maxcpus=2")}, ISOLATION, EARLIER, "nr_cpus=2"),
    "all taken out": ({LATER: f'{LAST}="quiet"'}, ISOLATION, LATER, "takes \"isolcpus=managed_irq,domain,2-3"),
    "the end of the line": ({EARLIER: add(FIRST, "-- x")}, ISOLATION, EARLIER, "behind which the kernel does not read"),
    "arguments in the initrd": ({EARLIER: add(FIRST, "bootconfig")}, ISOLATION, EARLIER, "bootconfig"),
    "arguments in the initrd, for pages": ({EARLIER: add(FIRST, "bootconfig")}, POOLS, EARLIER, "bootconfig"),
    "the first number": ({LATER: f'{FIRST}="{PAGES}"'}, POOLS, LATER, PAGES),
    "a default size": ({DEFAULT: add(LAST, "default_hugepagesz=1G quiet hugepages=16")}, POOLS, DEFAULT,
                       "hugepages=16"),
    "a default size elsewhere": ({DEFAULT: add(FIRST, "default_hugepagesz=1G"), EARLIER: add(LAST, "hugepages=16")},
                                 POOLS, EARLIER, "hugepages=16"),
    "a default size in both": ({DEFAULT: add(FIRST, "default_hugepagesz=1G") + add(LAST, "hugepages=16")}, POOLS,
                               DEFAULT, "hugepages=16"),
    "pages taken out": ({LATER: f'{LAST}="quiet"'}, POOLS, LATER, "takes \"hugepagesz=1G hugepages=0:2"),
    "a module": ({DEFAULT: add(LAST, "module_blacklist=x,tcp_bbr")}, BBR, DEFAULT, "module_blacklist=x,tcp_bbr"),
    "a module by modprobe": ({LATER: add(LAST, "modprobe.blacklist=sch-fq")}, BBR, LATER, "modprobe.blacklist=sch-fq"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN_BACK)
def test_what_takes_it_back_is_refused_by_name(name: str) -> None:
    files, roles, path, word = TAKEN_BACK[name]
    said = refuse_or_pass(files, roles)
    assert any(line.startswith(f"{path} ") and word in line for line in said.replace("\\", "").splitlines()), said


@pytest.mark.parametrize("roles", [ISOLATION, POOLS])
def test_a_host_that_did_not_boot_by_grub_is_refused(roles: dict[str, dict[str, Any]]) -> None:
    host = make_host({})
    host.files["/proc/cmdline"] = "initrd=\\EFI\\proxmox\\6.8.12-1-pve\\initrd.img-6.8.12-1-pve root=ZFS=rpool\n"
    with pytest.raises(rendering.NotPlanned, match=r"/proc/cmdline has no BOOT_IMAGE=") as caught:
        apply(host, roles)
    assert len(str(caught.value).splitlines()) == 1
    del host.files["/proc/cmdline"]  # not read: nothing is known
    apply(host, roles)


def test_an_older_kernel_has_one_set_of_cpus() -> None:
    host = make_host({})
    host.files["/proc/sys/kernel/osrelease"] = "5.10.0-33-amd64\n"
    apply(host, {"cpu_isolation": {"cpu_isolation_nohz_full": ""}})
    with pytest.raises(rendering.NotPlanned, match=r"before Linux 5\.18 both have to name the same CPUs"):
        apply(host, {"cpu_isolation": {"cpu_isolation_nohz_full": "3"}})


def test_pages_that_are_not_reserved_at_boot_need_no_grub() -> None:
    host = make_host({})
    host.files["/proc/cmdline"] = "root=/dev/vda1\n"
    apply(host, {"hugepages": {"hugepages_pages": {"2M": {"node0": 2}}}})


def test_this_boots_blacklist_is_refused() -> None:
    host = make_host({})
    host.files["/proc/cmdline"] = "BOOT_IMAGE=/x module_blacklist=tcp_bbr\n"
    with pytest.raises(rendering.NotPlanned, match=r'^/proc/cmdline has "module_blacklist=tcp_bbr".*reboot'):
        apply(host, BBR)


def test_a_kernel_without_nohz_full_is_left_without_the_default() -> None:
    host = make_host({})
    host.lacks = {"nohz"}
    host.boot()
    said: list[str] = []
    ask = host.ask

    def listen(*given: Any) -> Any:
        found = ask(*given)
        found.left_out = said
        return found

    host.ask = listen  # type: ignore[method-assign]
    apply(host, {"cpu_isolation": {}})
    host.boot()
    assert "nohz_full" not in host.files["/proc/cmdline"]
    assert judge(host) == []
    lacks = "cpu_isolation_nohz_full: the host's kernel is built without CONFIG_NO_HZ_FULL"
    assert said == [f"{lacks}: the role's default is left out"]
    with pytest.raises(rendering.NotPlanned, match=f"{lacks}: it was asked for"):
        apply(host, {"cpu_isolation": {"cpu_isolation_nohz_full": "3"}})


# --- what is not ------------------------------------------------------------------------------------------

LEFT = {
    "the same": add(LAST, "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 irqaffinity=0-1,4,6-7"),
    "taken out by the role": add(FIRST, "isolcpus=5 hugepagesz=1G hugepages=4"),
    "what no role knows": add(LAST, 'console=tty1 crashkernel=2G-4G:320M,4G-:512M dyndbg=\\"file a.c +p\\"'),
    "a default size alone": add(FIRST, "default_hugepagesz=1G quiet"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_does_no_harm_is_not_refused(name: str) -> None:
    assert refuse_or_pass({EARLIER: LEFT[name]}, {**ISOLATION, **POOLS}) == ""


@pytest.mark.parametrize("text", ["GRUB_CMDLINE_LINUX=$(cat /x)", 'if true; then GRUB_CMDLINE_LINUX="isolcpus=5"; fi'])
def test_shell_that_is_not_understood_is_not_refused(text: str) -> None:
    host = make_host({LATER: text})
    for role in (ISOLATION, POOLS, BBR):
        ((name, variables),) = role.items()
        defaults = rendering.load(rendering.ROLES / name / "defaults/main.yml")
        settle(name, {**TOPOLOGY, **variables}, lambda names, of=defaults: host.ask(names, of))


# --- any files --------------------------------------------------------------------------------------------

WORDS = ["isolcpus=5", "isolcpus=2-3", "isolcpus=managed_irq,domain,2-3", "isolcpus=nohz,2-3", "isolcpus=domain,5",
         "nohz_full=2-3", "nohz_full=5", "rcu_nocbs=2-3", "rcu_nocbs=5", "irqaffinity=5", "irqaffinity=0-1,4,6-7",
         "nohz=off", "nohz=on", "systemd.cpu_affinity=2-3", "systemd.cpu_affinity=0-1,4,6-7", "maxcpus=2", "nr_cpus=8",
         "default_hugepagesz=1G", "default_hugepagesz=2M", "hugepagesz=1G", "hugepagesz=1024M", "hugepagesz=2M",
         "hugepages=4", "hugepages=0:2", "module_blacklist=x", "quiet", "quiet", "--", "bootconfig"]  # fmt: skip
FRAGMENTS = st.lists(
    st.builds(
        lambda variable, keep, words: f'{variable}="{f"${variable} " * keep}{" ".join(words)}"\n',
        st.sampled_from([FIRST, LAST]),
        st.sampled_from([True, True, True, False]),
        st.lists(st.sampled_from(WORDS), max_size=3),
    ),
    max_size=2,
).map("".join)
PATHS = [DEFAULT, EARLIER, f"{DROP_INS}/80-hosttune-a.cfg", f"{DROP_INS}/80-hosttune-z.cfg", LATER]


@settings(GENERATE, max_examples=30 * TIMES)
@given(st.dictionaries(st.sampled_from(PATHS), FRAGMENTS, min_size=1, max_size=2), st.sampled_from([ISOLATION, POOLS]))
def test_files_of_others(files: dict[str, str], roles: dict[str, dict[str, Any]]) -> None:
    refuse_or_pass(files, roles)


# --- the role's own file ----------------------------------------------------------------------------------


def test_what_is_judged_is_what_the_templates_write() -> None:
    """The plans evaluate a fragment of their own making in place of the role's file."""
    written: dict[str, str] = {}
    real = boot_line.Fragment.write
    try:
        boot_line.Fragment.write = lambda own: written.setdefault(own.path, real(own))
        host = make_host({})
        apply(host, {**ISOLATION, **POOLS})
    finally:
        boot_line.Fragment.write = real
    assert len(written) == 2
    for path, text in written.items():
        for line in ("isolcpus=5 quiet hugepagesz=1024M hugepages=4", "default_hugepagesz=1G hugepages=1 nohz_full=1"):
            before = {DEFAULT: f'{FIRST}="{line}"\n{LAST}="{line}"\n'}
            assert grub_default.evaluate({**before, path: text}) == grub_default.evaluate(
                {**before, path: host.files[path]}
            )
