import msgspec
import pytest

from hosttune.checks import net_buffers
from hosttune.checks.net_buffers import Section
from hosttune.host import sysctl
from hosttune.host.root import Tree

RMEM, TCP = "net.core.rmem_max", "net.ipv4.tcp_rmem"
WANTED = Section(sysctl={RMEM: 67108864, TCP: [4096, 87380, 67108864]})
RUNNING = {"/proc/sys/net/core/rmem_max": "67108864\n", "/proc/sys/net/ipv4/tcp_rmem": "4096\t87380\t67108864\n"}
NOTHING = {f"{directory}/README": "" for directory in sysctl.DIRECTORIES}
FILE = "/etc/sysctl.d/99-x.conf"
PERSISTED = {FILE: f"{RMEM} = 67108864\n{TCP}=4096 87380 67108864\n"}


def check(root, wanted=WANTED):
    return {f.id: f for f in net_buffers.check(wanted, net_buffers.facts(root, wanted), None)}


def test_a_host_that_holds_it(host):
    found = check(host({**NOTHING, **RUNNING, **PERSISTED}))
    assert {f.status for f in found.values()} == {"pass"}
    triple = found["net_buffers.net.ipv4.tcp_rmem"]
    assert triple.found == "4096 87380 67108864"
    assert triple.hops["persisted"].source == f"{FILE}:2"


def test_numbers_are_compared_as_numbers(host):
    files = {FILE: f"{RMEM} = 0x4000000\n{TCP} = 4096   87380\t67108864"}
    assert {f.status for f in check(host({**NOTHING, **RUNNING, **files})).values()} == {"pass"}


def test_right_now_and_lost_at_boot(host):
    finding = check(host({**NOTHING, **RUNNING}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.hops["persisted"].state) == ("volatile", "absent")
    assert finding.fix == "echo 'net.core.rmem_max = 67108864' >> /etc/sysctl.d/99-zz-desk.conf"


def test_a_file_that_comes_later_overrules_the_right_one(host):
    files = {"/usr/lib/sysctl.d/99-zz.conf": f"\n{RMEM} = 212992"}
    finding = check(host({**NOTHING, **RUNNING, **PERSISTED, **files}))[f"net_buffers.{RMEM}"]
    assert finding.status == "volatile"
    assert finding.hops["persisted"].source == "/usr/lib/sysctl.d/99-zz.conf:2"
    assert finding.hops["persisted"].value == f"212992 (overrules {FILE}:1)"
    assert finding.fix == "sed -i '2cnet.core.rmem_max = 67108864' /usr/lib/sysctl.d/99-zz.conf"


def test_a_line_of_a_file_that_sorts_after_all_is_changed_where_it_stands(host):
    files = {"/etc/sysctl.d/99-zzz.conf": f"\n-{RMEM} = 212992"}
    finding = check(host({**NOTHING, **RUNNING, **PERSISTED, **files}))[f"net_buffers.{RMEM}"]
    assert finding.fix == "sed -i '2cnet.core.rmem_max = 67108864' /etc/sysctl.d/99-zzz.conf"


@pytest.mark.parametrize(("value", "status"), [("1", "volatile"), ("67108864", "pass")])
@pytest.mark.parametrize("name", ["99-sysctl.conf", "99-zzz.conf"])
def test_sysctl_conf_decides_where_a_link_has_the_boot_read_it(host, value, status, name):
    files = {"/etc/sysctl.conf": f"{RMEM} = {value}"}
    root = host({**NOTHING, **RUNNING, **PERSISTED, FILE: PERSISTED[FILE].replace(f"{RMEM} = 67108864", "")})
    root.files.update(files)
    root.links[f"/etc/sysctl.d/{name}"] = "../sysctl.conf"
    finding = check(root)[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.hops["persisted"].source) == (status, f"/etc/sysctl.d/{name}:1")


@pytest.mark.parametrize(("value", "persisted", "status"), [("1", True, "pass"), ("67108864", False, "volatile")])
def test_sysctl_conf_that_systemd_does_not_read_neither_sets_nor_overrules(host, value, persisted, status):
    files = {"/etc/sysctl.conf": f"{RMEM} = {value}", **(PERSISTED if persisted else {})}
    assert check(host({**NOTHING, **RUNNING, **files}))[f"net_buffers.{RMEM}"].status == status


@pytest.mark.parametrize(("links", "status"), [({}, "volatile"), ({"/sbin/init": "/lib/systemd/systemd"}, "pass")])
def test_sysctl_conf_is_last_where_the_init_script_of_procps_starts(host, links, status):
    files = {"/etc/sysctl.conf": f"{RMEM} = 1", "/etc/init.d/procps": "#!/bin/sh"}
    finding = check(host({**NOTHING, **RUNNING, **PERSISTED, **files}, links=links))[f"net_buffers.{RMEM}"]
    assert finding.status == status


@pytest.mark.parametrize(
    "value",
    [
        "67_108_864",
        "+67108864",
        "0b100",
        "0o400000000",
        "067108864",
        "６７１０８８６４",
        "64M",
        "67108864,",
        "-1_0",
        "0x",
    ],
)
def test_a_value_that_the_kernel_refuses_sets_nothing(host, value):
    finding = check(host({**NOTHING, **RUNNING, FILE: f"{RMEM} = {value}"}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.hops["persisted"].state) == ("volatile", "bad")
    assert finding.hops["persisted"].value == f"{value}: the kernel refuses this"


@pytest.mark.parametrize("value", ["0x4000000", "0X4000000", "0400000000", "67108864 # 64 MiB", "67108864 0 0"])
def test_a_value_that_the_kernel_reads_so(host, value):
    files = {FILE: PERSISTED[FILE].replace("67108864\n", f"{value}\n", 1)}
    assert check(host({**NOTHING, **RUNNING, **files}))[f"net_buffers.{RMEM}"].status == "pass"


@pytest.mark.parametrize("value", ["4096 87380", "4096,87380,67108864", "4096 87380 # 67108864", "4096 87380 64M"])
def test_a_triple_of_which_the_kernel_takes_less(host, value):
    finding = check(host({**NOTHING, **RUNNING, FILE: f"{TCP} = {value}"}))[f"net_buffers.{TCP}"]
    assert (finding.status, finding.hops["persisted"].state) == ("volatile", "bad")


@pytest.mark.parametrize("repeated", [f"{RMEM} = 64M", "net.core.rmem_* = 64M"])
def test_of_a_refused_line_and_an_earlier_one_systemd_writes_the_refused_one_of_its_key(host, repeated):
    finding = check(host({**NOTHING, **RUNNING, FILE: f"net.core.*_max = 67108864\n{repeated}\n"}))
    assert finding[f"net_buffers.{RMEM}"].status == ("volatile" if repeated.startswith(RMEM) else "pass")


def test_a_file_in_run_is_gone_at_the_next_boot(host):
    finding = check(host({**NOTHING, **RUNNING, "/run/sysctl.d/a.conf": f"{RMEM} = 67108864"}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.hops["persisted"].state) == ("volatile", "absent")
    assert finding.hops["persisted"].value == "only /run/sysctl.d/a.conf:1, which the next boot does not find"


def test_what_a_file_in_run_masks_comes_back_at_the_next_boot(host):
    files = {"/usr/lib/sysctl.d/99-zz.conf": f"{RMEM} = 1", "/run/sysctl.d/99-zz.conf": ""}
    assert check(host({**NOTHING, **RUNNING, **PERSISTED, **files}))[f"net_buffers.{RMEM}"].status == "volatile"
    files = {"/run/sysctl.d/99-zz.conf": f"{RMEM} = 1"}
    assert check(host({**NOTHING, **RUNNING, **PERSISTED, **files}))[f"net_buffers.{RMEM}"].status == "pass"


@pytest.mark.parametrize("emptied", [True, False])
def test_nothing_is_set_where_the_service_is_masked(host, emptied):
    unit = "/etc/systemd/system/systemd-sysctl.service"
    files, links = ({unit: ""}, {}) if emptied else ({}, {unit: "/dev/null"})
    finding = check(host({**NOTHING, **RUNNING, **PERSISTED, **files}, links=links))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.fix) == ("volatile", "systemctl unmask systemd-sysctl.service")


def test_a_running_value_that_is_wrong(host):
    wrong = {"/proc/sys/net/core/rmem_max": "212992\n"}
    finding = check(host({**NOTHING, **RUNNING, **PERSISTED, **wrong}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.found, finding.fix) == ("fail", "212992", f"sysctl -w {RMEM}=67108864")
    assert "SO_RCVBUF" in finding.why


def test_a_key_that_the_kernel_has_not_fails(host):
    finding = check(host({**NOTHING, **PERSISTED}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.found) == ("fail", "the kernel has no such key")
    assert "take net.core.rmem_max out of the profile" in finding.fix


@pytest.mark.parametrize("refused", ["/proc/sys/net/core/rmem_max", "/etc/sysctl.d", "/etc/systemd/system", FILE])
def test_what_could_not_be_read_does_not_pass(host, refused):
    root = host({**NOTHING, **RUNNING, **PERSISTED}, refused={refused: "EACCES"})
    finding = check(root)[f"net_buffers.{RMEM}"]
    assert finding.status == "unknown"
    assert finding.fix


def test_a_capture_without_etc_proves_nothing(tree):
    finding = check(Tree(tree(RUNNING)))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.hops["persisted"].value) == ("unknown", "not in the capture")


def test_a_key_without_effect_warns(host):
    wanted = Section(sysctl={"net.ipv4.tcp_low_latency": 1})
    files = {"/proc/sys/net/ipv4/tcp_low_latency": "1\n", FILE: "net.ipv4.tcp_low_latency = 1"}
    (finding,) = check(host({**NOTHING, **files}), wanted).values()
    assert (finding.status, finding.why) == ("warn", "the kernel ignores this key since 4.14")


def test_an_interface_with_a_dot_in_its_name(host):
    wanted = Section(sysctl={"net.ipv4.conf.eth0/100.rp_filter": 2})
    running = {f"/proc/sys/net/ipv4/conf/{name}/rp_filter": "2\n" for name in ("eth0.100", "all")}
    files = {**running, FILE: "net/ipv4/conf/eth0.100/rp_filter = 2"}
    (finding,) = check(host({**NOTHING, **files}), wanted).values()
    assert finding.status == "pass"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"vm.swappiness": 1}, "allowed are net"),
        ({"net.core.*": 1}, "without wildcards"),
        ({"net/../vm/swappiness": 1}, "allowed are net"),
        ({"net": 1}, "allowed are net"),
        ({"net.core.a": 1, "net/core/a": 1}, "are the same"),
        ({"net.core.a": ""}, "empty value"),
        ({"net.core.a": []}, "empty value"),
    ],
)
def test_keys_that_are_refused(keys, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert({"sysctl": keys}, Section)


MAX = "net.netfilter.nf_conntrack_max"
TRACKED = {
    **NOTHING,
    "/proc/cmdline": "quiet",
    "/proc/sys/kernel/osrelease": "6.1\n",
    "/lib/modules/6.1/modules.builtin": "kernel/net/ipv4/tcp_cubic.ko\n",
    "/lib/modules/6.1/modules.dep": "k/nf_nat.ko.xz: k/nf_conntrack.ko.xz k/x.ko.xz\nk/nf_conntrack.ko.xz:\n",
    "/proc/modules": "nf_conntrack 1 1 - Live 0x0\n",
    "/proc/sys/net/netfilter/nf_conntrack_max": "1048576\n",
    FILE: f"{MAX} = 1048576",
}
LOADED = {"/etc/modules-load.d/x.conf": "nf_conntrack\n"}
LOADING = "BOOT_IMAGE=/v modules_load=nf_conntrack"
MENU = "menuentry 'A' {\n linux /v LINE\n}\n"


def check_tracked(host, files, refused=None):
    wanted = Section(sysctl={MAX: 1048576})
    return check(host({**TRACKED, **files}, refused=refused), wanted)[f"net_buffers.{MAX}"]


def test_a_key_of_a_module_that_comes_late_is_lost_at_the_next_boot(host):
    finding = check_tracked(host, {})
    assert (finding.status, finding.hops["persisted"].state) == ("volatile", "bad")
    assert "before the module nf_conntrack is there" in finding.hops["persisted"].value
    assert finding.fix == "echo nf_conntrack >> /etc/modules-load.d/desk.conf"


@pytest.mark.parametrize(
    "files",
    [
        LOADED,
        {"/etc/modules-load.d/x.conf": "# c\n nf-conntrack \n"},
        {"/etc/modules-load.d/x.conf": "nf_nat\n"},
        {"/proc/cmdline": "BOOT_IMAGE=/v ro", "/boot/grub/grub.cfg": MENU.replace("LINE", LOADING)},
        {"/lib/modules/6.1/modules.builtin": "kernel/net/netfilter/nf_conntrack.ko\n"},
        {"/proc/modules": "tcp_bbr 1 1 - Live 0x0\n"},
        {**LOADED, "/etc/modprobe.d/x.conf": "#blacklist nf_conntrack\noptions nf_conntrack hashsize=5\n"},
        {**LOADED, "/etc/modprobe.d/x.conf": "install nf_conntrack /sbin/modprobe -i nf_conntrack; sysctl -p\n"},
        {**LOADED, "/run/modprobe.d/x.conf": "blacklist nf_conntrack\n"},
        {**LOADED, "/etc/modprobe.d/x.conf": "", "/usr/lib/modprobe.d/x.conf": "blacklist nf_conntrack\n"},
    ],
)
def test_a_key_of_a_module_that_is_there_in_time(host, files):
    assert check_tracked(host, files).status == "pass"


def test_a_module_that_this_boots_line_loads_and_perhaps_the_next_ones(host):
    assert check_tracked(host, {"/proc/cmdline": LOADING}).status == "unknown"
    files = {"/proc/cmdline": LOADING, "/boot/grub/grub.cfg": MENU.replace("LINE", "quiet")}
    assert check_tracked(host, files).status == "volatile"


@pytest.mark.parametrize(
    "files",
    [
        {"/run/modules-load.d/x.conf": "nf_conntrack\n"},
        {"/etc/modules-load.d/x.conf": "nf_conntrack nf_nat\n"},
        {"/etc/modules-load.d/x.conf": "# nf_conntrack\n"},
        {"/etc/modules-load.d/x.txt": "nf_conntrack\n"},
        {"/etc/modules-load.d/x.conf": "", "/usr/lib/modules-load.d/x.conf": "nf_conntrack\n"},
        {"/etc/modules-load.d/x.conf": "tcp_bbr\n"},
        {**LOADED, "/etc/modprobe.d/x.conf": "blacklist nf-conntrack\n"},
        {**LOADED, "/etc/modprobe.d/x.conf": "blacklist \\\n nf_conntrack\n"},
        {**LOADED, "/etc/modprobe.d/x.conf": "install nf_conntrack /bin/false\n"},
        {**LOADED, "/proc/cmdline": "module_blacklist=foo,nf_conntrack"},
        {**LOADED, "/proc/cmdline": "modprobe.blacklist=nf_conntrack"},
    ],
)
def test_a_module_that_the_next_boot_does_not_load(host, files):
    assert check_tracked(host, files).status == "volatile"


@pytest.mark.parametrize("path", ["/etc/modules-load.d", "/etc/modprobe.d", "/lib/modules/6.1/modules.builtin"])
def test_whether_a_module_is_loaded_cannot_be_told(host, path):
    assert check_tracked(host, {}, {path: "EACCES"}).status == "unknown"


def conf(name, own, of_all, lines, more=None):
    path = "/proc/sys/net/ipv4/conf"
    return {
        **NOTHING,
        f"{path}/eth0/{name}": f"{own}\n",
        f"{path}/all/{name}": f"{of_all}\n",
        f"{path}/eth0/forwarding": "0\n",
        FILE: lines.replace("@", "net.ipv4.conf"),
        **(more or {}),
    }


@pytest.mark.parametrize(
    ("name", "wanted", "own", "of_all", "lines", "status", "fix"),
    [
        ("rp_filter", 0, 0, 1, "@.eth0.rp_filter = 0", "fail", "sysctl -w net.ipv4.conf.all.rp_filter=0"),
        ("rp_filter", 0, 0, 0, "@.eth0.rp_filter = 0", "pass", ""),
        ("rp_filter", 2, 2, 1, "@.eth0.rp_filter = 2", "pass", ""),
        ("rp_filter", 1, 0, 1, "@.eth0.rp_filter = 0\n@.all.rp_filter = 1", "pass", ""),
        (
            "rp_filter",
            0,
            0,
            0,
            "@.eth0.rp_filter = 0\n@.all.rp_filter = 1",
            "volatile",
            "echo 'net.ipv4.conf.all.rp_filter = 0' >>",
        ),
        (
            "rp_filter",
            0,
            0,
            0,
            "@.*.rp_filter = 1\n@.eth0.rp_filter = 0",
            "volatile",
            "echo 'net.ipv4.conf.all.rp_filter = 0' >>",
        ),
        ("rp_filter", 0, 0, 0, "@.*.rp_filter = 1\n-@.all.rp_filter\n@.eth0.rp_filter = 0", "pass", ""),
        ("rp_filter", 0, 0, 0, "@.all.rp_filter = 0", "volatile", "echo 'net.ipv4.conf.eth0.rp_filter = 0' >>"),
        (
            "send_redirects",
            0,
            0,
            0,
            "@.eth0.send_redirects = 0",
            "volatile",
            "echo 'net.ipv4.conf.all.send_redirects = 0'",
        ),
        ("send_redirects", 0, 0, 0, "@.*.send_redirects = 0", "pass", ""),
        ("accept_source_route", 1, 1, 0, "@.eth0.accept_source_route = 1", "fail", "conf.all.accept_source_route=1"),
        ("accept_source_route", 0, 1, 0, "@.eth0.accept_source_route = 0", "pass", ""),
        ("accept_redirects", 0, 0, 1, "@.eth0.accept_redirects = 0", "fail", "conf.all.accept_redirects=0"),
        ("tag", 0, 0, 1, "@.eth0.tag = 0", "pass", ""),
    ],
)
def test_the_kernel_goes_by_the_key_of_all_as_well(host, name, wanted, own, of_all, lines, status, fix):
    section = Section(sysctl={f"net.ipv4.conf.eth0.{name}": wanted})
    (finding,) = check(host(conf(name, own, of_all, lines)), section).values()
    assert finding.status == status, finding
    assert fix in finding.fix and bool(fix) == bool(finding.fix)


def test_of_redirects_forwarding_decides(host):
    section = Section(sysctl={"net.ipv4.conf.eth0.accept_redirects": 0})
    files = conf(
        "accept_redirects", 0, 1, "@.eth0.accept_redirects = 0", {"/proc/sys/net/ipv4/conf/eth0/forwarding": "1\n"}
    )
    assert [one.status for one in check(host(files), section).values()] == ["pass"]


def test_without_the_key_of_all_nothing_is_known(host):
    section = Section(sysctl={"net.ipv4.conf.eth0.rp_filter": 0})
    path = "/proc/sys/net/ipv4/conf/all/rp_filter"
    root = host(conf("rp_filter", 0, 0, "@.eth0.rp_filter = 0"), refused={path: "EACCES"})
    assert [one.status for one in check(root, section).values()] == ["unknown"]
