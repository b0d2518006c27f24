import msgspec
import pytest

from hosttune.checks import hugepages
from hosttune.checks.hugepages import Section
from hosttune.host import sysctl, tmpfiles

NODE = "/sys/devices/system/node/node{}/hugepages/hugepages-{}kB/{}_hugepages"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
GRUB = "menuentry 'Debian' --id x {{\n linux /vmlinuz root=/dev/vda1 {}\n}}\n"
NOTHING = {f"{d}/README": "" for d in (*sysctl.DIRECTORIES, *tmpfiles.DIRECTORIES)}


def pool(node, kb, nr, surplus=0):
    values = {"nr": nr, "free": nr, "surplus": surplus}
    return {NODE.format(node, kb, name): f"{value}\n" for name, value in values.items()}


BASE = {
    **NOTHING,
    **pool(0, 2048, 512),
    **pool(1, 2048, 0),
    **pool(0, 1 << 20, 0),
    **pool(1, 1 << 20, 0),
    "/proc/meminfo": "HugePages_Total:     512\nHugepagesize:       2048 kB\n",
    "/proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/vda1",
    "/boot/grub/grub.cfg": GRUB.format(""),
    "/boot/grub/grubenv": "",
    "/proc/sys/kernel/osrelease": "6.1.0-56-cloud-amd64\n",
    THP: "always madvise [never]\n",
}
PATH = NODE.format(0, 2048, "nr")
TMPFILES = {"/etc/tmpfiles.d/x.conf": f"w {PATH} - - - - 512\nw {THP} - - - - never\n"}


def check(host, files=(), refused=None, **wanted):
    section = msgspec.convert(wanted or {"pages": {"2M": {"node0": 512}}, "transparent": "never"}, Section)
    root = host({**BASE, **dict(files)}, refused=refused)
    return {f.id: f for f in hugepages.check(section, hugepages.facts(root, section), None)}


def boots(now, later):
    return {"/proc/cmdline": f"BOOT_IMAGE=/vmlinuz {now}", "/boot/grub/grub.cfg": GRUB.format(later)}


def test_a_host_that_holds_it(host):
    found = check(host, TMPFILES)
    assert {id: (f.status, f.found) for id, f in found.items()} == {
        "hugepages.2M.node0": ("pass", 512),
        "hugepages.transparent": ("pass", "never"),
    }
    assert found["hugepages.2M.node0"].hops["persisted"].source == "/etc/tmpfiles.d/x.conf:1"
    assert "booted" not in found["hugepages.2M.node0"].hops


def test_right_now_and_lost_at_boot(host):
    found = check(host)
    assert {f.status for f in found.values()} == {"volatile"}
    assert found["hugepages.2M.node0"].fix == f"echo 'w {PATH} - - - - 512' >> /etc/tmpfiles.d/zz-desk.conf"


def test_the_kernel_gave_less_than_was_asked_for(host):
    found = check(host, {**TMPFILES, **pool(0, 2048, 300)})["hugepages.2M.node0"]
    assert (found.status, found.found) == ("fail", 300)
    assert "too little unfragmented memory" in found.why


def test_more_than_wanted_is_enough_but_none_means_none(host):
    wanted = {"pages": {"2M": {"node0": 100, "node1": 0}}}
    assert {f.status for f in check(host, TMPFILES, **wanted).values()} == {"pass"}
    found = check(host, {**TMPFILES, **pool(1, 2048, 3)}, **wanted)["hugepages.2M.node1"]
    assert (found.status, found.found) == ("fail", 3)


@pytest.mark.parametrize(
    ("now", "later", "status"),
    [
        ("hugepagesz=2M hugepages=0:512", "hugepagesz=2M hugepages=0:512", "pass"),
        ("hugepages=1024", "hugepages=1024", "pass"),
        ("hugepages=1024", "hugepages=512", "volatile"),
        ("hugepages=1024", "", "volatile"),
    ],
)
def test_reserved_by_the_boot_line(host, now, later, status):
    found = check(host, boots(now, later), pages={"2M": {"node0": 512}})["hugepages.2M.node0"]
    assert found.status == status
    assert found.hops["persisted"].source.startswith("/boot/grub/grub.cfg")


def test_a_boot_line_that_waits_for_a_reboot(host):
    wanted = {"pages": {"1G": {"node1": 2}}}
    found = check(host, boots("", "hugepagesz=1G hugepages=1:2"), **wanted)["hugepages.1G.node1"]
    assert (found.status, found.found, found.reboot) == ("pending", 0, True)
    assert [*found.hops] == ["persisted", "booted", "runtime"]


def test_large_pages_are_for_the_boot_line(host):
    found = check(host, pages={"1G": {"node0": 1}})["hugepages.1G.node0"]
    assert (found.status, found.reboot) == ("fail", True)
    assert found.fix == (
        "echo 'GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT hugepagesz=1G hugepages=0:1\"' "
        ">> /etc/default/grub.d/zz-desk.cfg\nupdate-grub"
    )


def test_no_fix_has_counts_for_nodes_where_the_kernel_takes_none(host):
    old = {"/proc/sys/kernel/osrelease": "5.15.0-91-generic\n"}
    found = check(host, old, pages={"1G": {"node0": 1}})["hugepages.1G.node0"]
    assert found.status == "fail"
    assert found.fix.startswith("echo 'w /sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages ")
    # Those of another one are asked for by the menu, and this boot's kernel does not read them.
    asked = boots("hugepagesz=1G hugepages=0:2", "hugepagesz=1G hugepages=0:2")
    assert check(host, {**asked, **old}, pages={"1G": {"node0": 2}})["hugepages.1G.node0"].status == "fail"


def test_an_area_for_gigantic_pages_is_taken_away(host):
    line = "hugepagesz=1G hugepages=0:2 hugetlb_cma=4G"
    files = {**boots(line, line), "/etc/default/grub": f'GRUB_CMDLINE_LINUX="{line}"\n'}
    found = check(host, files, pages={"1G": {"node0": 2}})["hugepages.1G.node0"]
    assert found.hops["persisted"].state == "bad"
    assert "hugetlb_cma=" in found.fix.splitlines()[0] and found.fix.startswith("sed -i -E ")
    assert "hugetlb_cma=4G: the kernel reserves none" in found.why


def test_a_total_by_sysctl_is_spread_over_the_nodes(host):
    files = {"/etc/sysctl.d/x.conf": "vm.nr_hugepages = 1024"}
    assert check(host, files, pages={"2M": {"node0": 512}})["hugepages.2M.node0"].status == "pass"
    files = {"/etc/sysctl.d/x.conf": "vm.nr_hugepages = 1000"}
    found = check(host, files, pages={"2M": {"node0": 512}})["hugepages.2M.node0"]
    assert (found.status, found.hops["persisted"].value) == ("volatile", 500)
    # It means the default size, so it says nothing about another.
    found = check(host, files, pages={"1G": {"node0": 1}})["hugepages.1G.node0"]
    assert found.hops["persisted"].state == "absent"


def test_two_mechanisms_have_to_agree(host):
    files = {**TMPFILES, "/etc/sysctl.d/x.conf": "vm.nr_hugepages = 8"}
    found = check(host, files)["hugepages.2M.node0"]
    assert (found.status, found.hops["persisted"].value) == ("volatile", 4)
    assert "sysctl.d" in found.hops["persisted"].source


def test_a_node_and_a_size_that_the_host_has_not(host):
    found = check(host, pages={"2M": {"node7": 1}, "64K": {"node0": 1}})
    assert found["hugepages.2M.node7"].found == "this host has no node7"
    assert found["hugepages.2M.node7"].fix == "take node7 out of the profile: this host has node0, node1"
    assert found["hugepages.64K.node0"].found == "this host has no pages of 64K"
    assert {f.status for f in found.values()} == {"fail"}


def test_surplus_pages_are_no_reserve(host):
    found = check(host, {**TMPFILES, **pool(0, 2048, 512, surplus=12)})["hugepages.2M.node0"]
    assert (found.status, found.found) == ("warn", "512, of them 12 surplus")


def test_the_policy_by_boot_line(host):
    wanted = {"transparent": "never"}
    line = "transparent_hugepage=never"
    assert check(host, boots(line, line), **wanted)["hugepages.transparent"].status == "pass"
    files = {**boots("", line), THP: "[always] madvise never"}
    assert check(host, files, **wanted)["hugepages.transparent"].status == "pending"
    # tmpfiles.d comes after the boot line.
    files = {**boots(line, line), "/etc/tmpfiles.d/x.conf": f"w {THP} - - - - always"}
    found = check(host, files, **wanted)["hugepages.transparent"]
    assert (found.status, found.fix) == (
        "volatile",
        f"sed -i -e '1c w {THP} - - - - never' /etc/tmpfiles.d/x.conf",
    )


def test_a_kernel_without_transparent_huge_pages(host):
    section = Section(transparent="never")
    files = {path: text for path, text in BASE.items() if path != THP}
    (found,) = hugepages.check(section, hugepages.facts(host(files), section), None)
    assert (found.status, found.found) == ("pass", "the kernel has no transparent huge pages")
    section = Section(transparent="madvise")
    (found,) = hugepages.check(section, hugepages.facts(host(files), section), None)
    assert found.status == "fail"


@pytest.mark.parametrize("refused", [PATH, "/etc/tmpfiles.d", "/usr/lib/sysctl.d"])
def test_what_could_not_be_read_does_not_pass(host, refused):
    found = check(host, TMPFILES, refused={refused: "EACCES"})["hugepages.2M.node0"]
    assert found.status == "unknown"
    assert found.fix


def test_without_a_boot_loader_tmpfiles_still_decides(host):
    files = {path: text for path, text in {**BASE, **TMPFILES}.items() if not path.startswith("/boot")}
    section = Section(pages={"2M": {"node0": 512}})
    (found,) = hugepages.check(section, hugepages.facts(host(files), section), None)
    assert found.status == "pass"
    del files["/etc/tmpfiles.d/x.conf"]
    (found,) = hugepages.check(section, hugepages.facts(host(files), section), None)
    assert found.status == "unknown"
    assert found.fix.startswith("echo 'w ")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"pages": {"2MB": {"node0": 1}}}, "such as 2M"),
        ({"pages": {"2M": {"0": 1}}}, "allowed: node0"),
        ({"pages": {"2M": {"node0": -1}}}, ">= 0"),
        ({"transparent": "off"}, "Invalid enum value"),
    ],
)
def test_values_that_are_refused(wanted, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(wanted, Section)


# --- what decides at boot ---------------------------------------------------------------------------------


def test_a_pair_that_the_kernel_ignores_is_told(host):
    line = "hugepagesz=1G hugepages=1 hugepagesz=1G hugepages=0:2,1:0"
    files = {**boots(line, line), **pool(0, 1 << 20, 2)}
    found = check(host, files, pages={"1G": {"node0": 2}})["hugepages.1G.node0"]
    assert (found.status, found.hops["persisted"].state) == ("volatile", "bad")
    assert "hugepagesz=1G: specified twice, so the kernel ignores it" in found.why


def test_pages_that_do_not_come_out_even_may_be_on_either_node(host):
    files = {**boots("hugepages=5", "hugepages=5"), **pool(0, 2048, 3)}
    for count, state in ((2, "ok"), (3, "unknown"), (4, "bad")):
        found = check(host, files, pages={"2M": {"node0": count}})["hugepages.2M.node0"]
        assert found.hops["persisted"].state == state


def test_from_linux_6_9_on_a_total_is_spread_by_threads(host):
    release = {"/proc/sys/kernel/osrelease": "6.12.117+deb13-amd64\n"}
    same, other = boots("hugepages=1024", "hugepages=1024"), boots("hugepages=1000", "hugepages=1024")
    for files, state in ((same, "ok"), (other, "unknown")):
        found = check(host, {**files, **release}, pages={"2M": {"node0": 512}})["hugepages.2M.node0"]
        assert found.hops["persisted"].state == state


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (f"w {PATH.replace('node0', 'node*')} - - - - 512", "ok"),
        (f'w {PATH} - - - - "512"', "bad"),
        (f"w {PATH} - - - - 0x200", "bad"),
        (f"w {PATH} - - - - %U", "unknown"),
        (f"w! {PATH.replace('node0', 'node{0,1}')} 0644 root root - 512", "ok"),
        ("w /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages - - - - 1024", "ok"),
        ("w /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages - - - - 512", "bad"),
    ],
)
def test_a_line_of_tmpfiles_is_what_systemd_makes_of_it(host, line, state):
    found = check(host, {"/etc/tmpfiles.d/x.conf": line}, pages={"2M": {"node0": 512}})["hugepages.2M.node0"]
    assert found.hops["persisted"].state == state


SERVICE = "/etc/systemd/system/thp.service"


def enable(command, **more):
    return {SERVICE: f"[Service]\nType=oneshot\nExecStart={command}\n",
            "/etc/systemd/system/multi-user.target.wants/thp.service": "", **more}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (f"/bin/sh -c 'echo never > {THP}'", "pass"),
        (f"/bin/sh -c 'test -f {THP} && echo never | tee {THP}'", "pass"),
        (f"/bin/sh -c 'echo always > {THP}'", "volatile"),
        (f"/usr/bin/dd of={THP}", "unknown"),
        (f"/bin/cat {THP}", "volatile"),
        ("/usr/local/sbin/thp", "pass"),
    ],
)
def test_a_service_that_writes_the_policy_at_boot(host, command, status):
    files = enable(command, **{"/usr/local/sbin/thp": f"#!/bin/sh\necho never > {THP}\n"})
    found = check(host, files, transparent="never")["hugepages.transparent"]
    assert found.status == status
    if status == "volatile" and "echo" in command:
        assert found.fix.startswith("systemctl disable thp.service\n")


def test_a_service_that_is_not_enabled_writes_nothing(host):
    files = {SERVICE: f"[Service]\nExecStart=/bin/sh -c 'echo never > {THP}'\n"}
    assert check(host, files, transparent="never")["hugepages.transparent"].status == "volatile"


def test_a_service_comes_after_tmpfiles(host):
    files = {**TMPFILES, **enable(f"/bin/sh -c 'echo 7 > {PATH}'")}
    found = check(host, files)["hugepages.2M.node0"]
    assert (found.status, found.hops["persisted"].source) == ("volatile", SERVICE)


SIZED = "/sys/kernel/mm/transparent_hugepage/hugepages-{}kB/enabled"


def sizes(small, large):
    words = ("always", "inherit", "madvise", "never")
    return {
        SIZED.format(kb): " ".join(f"[{word}]" if word == chosen else word for word in words) + "\n"
        for kb, chosen in ((64, small), (2048, large))
    }


@pytest.mark.parametrize(
    ("policy", "small", "large", "status"),
    [
        ("never", "never", "inherit", "pass"),
        ("never", "inherit", "never", "pass"),
        ("never", "always", "inherit", "fail"),
        ("never", "madvise", "inherit", "fail"),
        ("never", "never", "always", "fail"),
        ("madvise", "madvise", "inherit", "pass"),
        ("madvise", "never", "never", "fail"),
        ("madvise", "always", "inherit", "fail"),
        ("always", "never", "inherit", "pass"),
        ("always", "never", "madvise", "fail"),
    ],
)
def test_the_policy_of_each_size_counts(host, policy, small, large, status):
    top = "always madvise never".replace(policy, f"[{policy}]")
    tmpfiles = {"/etc/tmpfiles.d/x.conf": f"w {THP} - - - - {policy}"}
    found = check(host, {**tmpfiles, THP: top, **sizes(small, large)}, transparent=policy)["hugepages.transparent"]
    assert found.status == status
    if status == "fail":
        assert "kB" in found.found and "/hugepages-" in found.fix


def test_a_size_that_the_next_boot_makes_eager(host):
    for files in (
        boots("transparent_hugepage=never", "transparent_hugepage=never thp_anon=64K:always;2M:inherit"),
        {"/etc/tmpfiles.d/x.conf": f"w {THP} - - - - never\nw {SIZED.format(64)} - - - - always"},
    ):
        found = check(host, {**files, **sizes("never", "inherit")}, transparent="never")["hugepages.transparent"]
        assert found.status == "volatile"
        assert f"w {SIZED.format(64)} - - - - never" in found.fix


def test_a_size_that_cannot_be_read_is_unknown(host):
    files = {**TMPFILES, **sizes("never", "inherit")}
    found = check(host, files, refused={SIZED.format(64): "EACCES"})["hugepages.transparent"]
    assert found.status == "unknown"
