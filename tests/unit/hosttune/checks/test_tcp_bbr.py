import msgspec
import pytest

from hosttune.checks import tcp_bbr
from hosttune.checks.tcp_bbr import Section
from hosttune.host import modules, qdisc, sysctl

WANTED = Section(congestion_control="bbr", qdisc="fq")
NOTHING = {f"{d}/README": "" for d in (*sysctl.DIRECTORIES, *modules.DIRECTORIES)}
GOOD = {
    **NOTHING,
    "/proc/cmdline": "quiet",
    "/proc/sys/kernel/osrelease": "6.1\n",
    "/lib/modules/6.1/modules.builtin": "kernel/net/ipv4/tcp_cubic.ko",
    "/proc/modules": "tcp_bbr 1 1 - Live 0x0",
    "/proc/sys/net/ipv4/tcp_congestion_control": "bbr\n",
    "/proc/sys/net/ipv4/tcp_available_congestion_control": "reno cubic bbr\n",
    "/proc/sys/net/ipv4/tcp_allowed_congestion_control": "reno cubic bbr\n",
    "/proc/sys/net/core/default_qdisc": "fq\n",
    "/etc/sysctl.d/99-x.conf": "net.core.default_qdisc = fq\nnet.ipv4.tcp_congestion_control = bbr\n",
    "/etc/modules-load.d/x.conf": "tcp_bbr\n",
}
LINKS = {"/sys/class/net/eth0/device": "../../../0000:00:03.0"}


def row(kind, parent=qdisc.ROOT, interface="eth0"):
    return {"interface": interface, "kind": kind, "handle": 0, "parent": parent}


FQ = [row("noqueue", interface="lo"), row("fq")]


def check(host, files=(), table=FQ, wanted=WANTED, links=LINKS, refused=None):
    netlink = {} if table is None else {"qdisc": table}
    root = host({**GOOD, **dict(files)}, links=links, netlink=netlink, refused=refused)
    return {f.id: f for f in tcp_bbr.check(wanted, tcp_bbr.facts(root, wanted), None)}


def test_a_host_that_holds_it(host):
    found = check(host)
    assert {id: f.status for id, f in found.items()} == dict.fromkeys(
        [
            "tcp_bbr.congestion_control",
            "tcp_bbr.allowed",
            "tcp_bbr.module",
            "tcp_bbr.qdisc",
            "tcp_bbr.qdisc.eth0",
        ],
        "pass",
    )


def test_only_what_is_asked_for_is_read(host):
    class NoNetlink:
        def __getattr__(self, name):
            raise AssertionError(f"{name} was asked for")

    root = host(GOOD)
    root.netlink = NoNetlink()
    wanted = Section(congestion_control="bbr")
    findings = tcp_bbr.check(wanted, tcp_bbr.facts(root, wanted), None)
    assert [f.id for f in findings] == ["tcp_bbr.congestion_control", "tcp_bbr.allowed", "tcp_bbr.module"]
    assert [*check(host, wanted=Section(qdisc="fq"))] == ["tcp_bbr.qdisc", "tcp_bbr.qdisc.eth0"]


def test_another_congestion_control_runs(host):
    found = check(host, {"/proc/sys/net/ipv4/tcp_congestion_control": "cubic\n"})["tcp_bbr.congestion_control"]
    assert (found.status, found.found) == ("fail", "cubic")
    assert found.fix == "sysctl -w net.ipv4.tcp_congestion_control=bbr"


@pytest.mark.parametrize("list_", ["available", "allowed"])
def test_not_for_every_process(host, list_):
    found = check(host, {f"/proc/sys/net/ipv4/tcp_{list_}_congestion_control": "reno cubic\n"})["tcp_bbr.allowed"]
    assert (found.status, found.found) == ("fail", "reno cubic")
    assert list_ in found.hops["runtime"].source


def test_a_module_that_only_the_sysctl_loads_warns(host):
    found = check(host, {"/etc/modules-load.d/x.conf": "# tcp_bbr\n"})["tcp_bbr.module"]
    assert (found.status, found.found) == ("warn", "tcp_bbr is not declared")
    assert found.fix == "echo tcp_bbr >> /etc/modules-load.d/desk.conf"


@pytest.mark.parametrize(
    "files",
    [
        {"/lib/modules/6.1/modules.builtin": "kernel/net/ipv4/tcp_bbr.ko"},
        {"/proc/modules": "sch_fq 1 1 - Live 0x0"},
    ],
)
def test_a_module_that_is_built_in_needs_no_declaration(host, files):
    found = check(host, {"/etc/modules-load.d/x.conf": "", **files})["tcp_bbr.module"]
    assert (found.status, found.hops["persisted"].value) == ("pass", "built in")


def test_a_kernel_without_the_module(host):
    files = {
        "/etc/modules-load.d/x.conf": "",
        "/proc/modules": "",
        "/proc/sys/net/ipv4/tcp_available_congestion_control": "reno cubic\n",
    }
    found = check(host, files)["tcp_bbr.module"]
    assert found.status == "fail"
    assert found.fix.splitlines()[-1] == "modprobe tcp_bbr"


def test_a_directory_that_cannot_be_read_decides_nothing(host):
    found = check(host, refused={"/etc/modules-load.d": "EACCES", "/proc/modules": "EACCES"})["tcp_bbr.module"]
    assert found.status == "unknown"


def test_the_default_does_not_change_what_is_attached(host):
    found = check(host, table=[row("pfifo_fast")])["tcp_bbr.qdisc.eth0"]
    assert (found.status, found.found) == ("warn", "pfifo_fast")
    assert found.fix == "tc qdisc replace dev eth0 root fq"
    strict = Section(congestion_control="bbr", qdisc="fq", require_fq=True)
    assert check(host, table=[row("pfifo_fast")], wanted=strict)["tcp_bbr.qdisc.eth0"].status == "fail"


def test_of_a_multi_queue_device_the_leaves_count(host):
    good = [row("mq"), row("fq", 1), row("fq", 2), row("clsact", qdisc.INGRESS)]
    found = check(host, table=good)["tcp_bbr.qdisc.eth0"]
    assert (found.status, found.found) == ("pass", "mq with fq")
    mixed = [row("mq"), row("fq", 1), row("pfifo_fast", 2)]
    found = check(host, table=mixed)["tcp_bbr.qdisc.eth0"]
    assert (found.status, found.found) == ("warn", "mq with fq pfifo_fast")
    assert found.fix.splitlines()[1] == "tc qdisc replace dev eth0 root pfifo && tc qdisc delete dev eth0 root"


def test_leaves_are_what_is_right_below_the_root(host):
    root = {**row("mqprio"), "handle": 0x80010000}
    below = [row("fq", 0x80010001), row("fq", 0x80010002), row("pfifo", 0x80020001)]
    assert check(host, table=[root, *below])["tcp_bbr.qdisc.eth0"].status == "pass"
    assert check(host, table=[root, row("pfifo", 0x80010001)])["tcp_bbr.qdisc.eth0"].status == "warn"


def test_interfaces_that_are_no_device_do_not_count(host):
    table = [*FQ, row("pfifo_fast", interface="tun0")]
    assert "tcp_bbr.qdisc.tun0" not in check(host, table=table)


def test_a_device_without_a_queue(host):
    for kind, words in (("noqueue", "no queue: the driver sends at once"), ("noop", "the interface is down")):
        found = check(host, table=[row(kind)])["tcp_bbr.qdisc.eth0"]
        assert (found.status, found.found) == ("na", words)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("net.ipv4.tcp_allowed_congestion_control = reno cubic", "volatile"),
        ("net.ipv4.tcp_allowed_congestion_control = reno bbr", "pass"),
        ("net.ipv4.tcp_allowed_congestion_control = reno\nnet.ipv4.tcp_congestion_control = bbr", "volatile"),
        ("net.ipv4.tcp_congestion_control = x\nnet.ipv4.tcp_allowed_congestion_control = reno\n"
         "net.ipv4.tcp_congestion_control = bbr", "pass"),
    ],
)  # fmt: skip
def test_a_line_that_takes_it_off_the_allowed_ones_at_boot(host, lines, status):
    found = check(host, {"/etc/sysctl.d/99-y.conf": lines})["tcp_bbr.allowed"]
    assert found.status == status
    if status == "volatile":
        assert found.fix.startswith("echo 'net.ipv4.tcp_allowed_congestion_control = reno ")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("install tcp_bbr /bin/false", "volatile"),
        ("blacklist tcp-bbr", "warn"),
        ("blacklist sch_fq", "pass"),
        ("# install tcp_bbr /bin/false", "pass"),
    ],
)
def test_modprobe_d_may_keep_the_module_from_being_loaded(host, line, status):
    found = check(host, {"/etc/modprobe.d/x.conf": f"\n{line}\n"})["tcp_bbr.module"]
    assert found.status == status
    if status != "pass":
        assert found.fix == "sed -i '2s/.*//' /etc/modprobe.d/x.conf"
        assert "/etc/modprobe.d/x.conf:2 keeps it from being loaded" in found.found


@pytest.mark.parametrize(
    ("line", "files", "state"),
    [
        ("install sch_fq /bin/false", {}, "bad"),
        ("install sch-fq :", {}, "bad"),
        ("alias sch_fq off", {}, "bad"),
        ("install sch_fq /sbin/modprobe --ignore-install sch_fq", {}, "ok"),
        ("blacklist sch_fq", {}, "ok"),  # Linux 6.1 asks for the module by its own name
        ("blacklist sch_fq", {"/proc/sys/kernel/osrelease": "6.12.9-rt"}, "bad"),  # Linux 6.9 and later: by an alias
        ("install tcp_fq /bin/false", {}, "ok"),
        ("install sch_fq /bin/false", {"/lib/modules/6.1/modules.builtin": "kernel/net/sched/sch_fq.ko"}, "ok"),
    ],
)
def test_modprobe_d_may_keep_the_qdisc_from_being_loaded(host, line, files, state):
    wanted = Section(qdisc="fq")
    found = check(host, {"/etc/modprobe.d/x.conf": line, **files}, wanted=wanted)["tcp_bbr.qdisc"]
    assert found.hops["persisted"].state == state
    assert ("sed -i '1s/.*//' /etc/modprobe.d/x.conf" in (found.fix or "")) == (state == "bad")
    assert found.status == {"ok": "pass", "bad": "volatile", "unknown": "unknown"}[state]


def test_without_netlink_nothing_is_known(host):
    found = check(host, table=None)["tcp_bbr.qdisc.interfaces"]
    assert (found.status, found.found) == ("unknown", "EPERM")


@pytest.mark.parametrize("wanted", [{"qdisc": "FQ!"}, {"congestion_control": "../bbr"}, {"require_fq": True}])
def test_values_that_are_refused(wanted):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wanted, Section)
