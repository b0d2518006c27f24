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
    assert found["hugepages.2M.node0"].fix == f"echo 'w {PATH} - - - - 512' >> {hugepages.FILE}"


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
    assert found.fix == "add hugepagesz=1G hugepages=0:1 to the kernel command line"


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
    assert (found.status, found.fix) == ("volatile", "ask for never at /etc/tmpfiles.d/x.conf:1")


def test_a_kernel_without_transparent_huge_pages(host):
    section = Section(transparent="never")
    files = {path: text for path, text in BASE.items() if path != THP}
    (found,) = hugepages.check(section, hugepages.facts(host(files), section), None)
    assert (found.status, found.found) == ("na", "the kernel has no transparent huge pages")
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
