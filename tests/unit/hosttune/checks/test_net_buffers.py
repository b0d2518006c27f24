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
    assert finding.fix == "echo 'net.core.rmem_max = 67108864' >> /etc/sysctl.d/99-zz-hosttune-net_buffers.conf"


def test_a_file_that_comes_later_overrules_the_right_one(host):
    files = {"/usr/lib/sysctl.d/99-zz.conf": f"\n{RMEM} = 212992"}
    finding = check(host({**NOTHING, **RUNNING, **PERSISTED, **files}))[f"net_buffers.{RMEM}"]
    assert finding.status == "volatile"
    assert finding.hops["persisted"].source == "/usr/lib/sysctl.d/99-zz.conf:2"
    assert finding.hops["persisted"].value == f"212992 (overrules {FILE}:1)"
    assert "at /usr/lib/sysctl.d/99-zz.conf:2" in finding.fix


def test_sysctl_conf_would_undo_it(host):
    files = {"/etc/sysctl.conf": f"{RMEM} = 1"}
    finding = check(host({**NOTHING, **RUNNING, **PERSISTED, **files}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.hops["persisted"].source) == ("volatile", "/etc/sysctl.conf:1")


def test_sysctl_conf_alone_is_not_what_the_boot_reads(host):
    files = {"/etc/sysctl.conf": f"{RMEM} = 67108864"}
    finding = check(host({**NOTHING, **RUNNING, **files}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.hops["persisted"].state) == ("volatile", "absent")


def test_a_running_value_that_is_wrong(host):
    wrong = {"/proc/sys/net/core/rmem_max": "212992\n"}
    finding = check(host({**NOTHING, **RUNNING, **PERSISTED, **wrong}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.found, finding.fix) == ("fail", "212992", f"sysctl -w {RMEM}=67108864")
    assert "SO_RCVBUF" in finding.why


def test_a_key_that_the_kernel_has_not_fails(host):
    finding = check(host({**NOTHING, **PERSISTED}))[f"net_buffers.{RMEM}"]
    assert (finding.status, finding.found) == ("fail", "the kernel has no such key")
    assert "take net.core.rmem_max out of the profile" in finding.fix


@pytest.mark.parametrize("refused", ["/proc/sys/net/core/rmem_max", "/run/sysctl.d", FILE])
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
    files = {"/proc/sys/net/ipv4/conf/eth0.100/rp_filter": "2\n", FILE: "net/ipv4/conf/eth0.100/rp_filter = 2"}
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
