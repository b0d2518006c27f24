import msgspec
import pytest

from hosttune import capture, checker, profile
from hosttune.host import snapshot
from hosttune.host.root import Fact, Tree


def test_a_snapshot_holds_what_other_profiles_ask_for(tree):
    root = Tree(
        tree(
            {
                "/proc/sys/net/ipv4/tcp_sack": "1\n",
                "/proc/sys/net/core/netdev_rss_key": "SECRET\n",
                "/etc/hosttune/profile.d/README": "SECRET\n",
                "/sys/devices/system/node/node3/hugepages/hugepages-2048kB/nr_hugepages": "5\n",
                "/etc/hosttune/profile.d/x.yml": "tcp_bbr: {qdisc: fq}\n",
            }
        )
    )
    data = capture.take_snapshot(root, profile.load_text("tcp_bbr: {qdisc: fq}", "p.yml"))
    read = data.moments[0].read
    assert read["/proc/sys/net/ipv4/tcp_sack"].value == "1\n"
    assert read["/sys/devices/system/node/node3/hugepages/hugepages-2048kB/nr_hugepages"].value == "5\n"
    assert read["/etc/hosttune/profile.d/x.yml"].value.startswith('{"tcp_bbr": ')
    assert "SECRET" not in str(data)


def test_a_check_that_raises_does_not_stop_the_snapshot(host, monkeypatch):
    from hosttune.checks import tcp_bbr

    def boom(*_):
        raise RuntimeError

    monkeypatch.setattr(tcp_bbr, "facts", boom)
    data = capture.take_snapshot(host({"/proc/cmdline": "quiet nohz_full=2"}), profile.load_built_in())
    assert data.moments[0].read["/proc/cmdline"].value == "nohz_full=2"


def test_a_second_moment_for_all_that_watch(host):
    files = {"/proc/interrupts": "           CPU0\nLOC:  1  Local timer interrupts\n"}
    later = {"/proc/interrupts": "           CPU0\nLOC:  9  Local timer interrupts\n"}
    root = host(files, later_files=later)
    data = capture.take_snapshot(root, profile.load_text("tcp_bbr: {qdisc: fq}", "p.yml"), observe=3.0)
    first, second = data.moments
    assert data.seconds == 3.0
    assert first.read["/proc/interrupts"].value != second.read["/proc/interrupts"].value


def test_a_desks_own_section_says_what_a_snapshot_keeps_of_its_files(host, monkeypatch):
    """What it does not say is left out, and so unknown where the snapshot is checked: never another value."""
    import types

    wanted = profile.Section("own", "p.yml:1", types.SimpleNamespace(), None)
    wanted.module.facts = lambda root, _: [root.read(path) for path in ("/opt/a", "/opt/b")]
    own = profile.Profile("p.yml", [wanted])
    live = host({"/opt/a": "port=1 password=SECRET", "/opt/b": "SECRET"})
    read = capture.take_snapshot(live, own).moments[0].read
    assert {path: read[path].unreadable for path in ("/opt/a", "/opt/b")} == dict.fromkeys(
        ("/opt/a", "/opt/b"), "left out: no check of hosttune's own reads it"
    )
    wanted.module.kept = lambda _: {"/opt/a": lambda text: text.split()[0]}
    data = capture.take_snapshot(live, own)
    assert data.moments[0].read["/opt/a"].value == "port=1"
    assert "SECRET" not in str(data)


class Restless(Tree):
    """A host on which one more process is there at each listing of /proc, as any user can have it."""

    last = 100

    def list(self, path):
        fact = super().list(path)
        if path != "/proc":
            return fact
        self.last += 1
        return msgspec.structs.replace(fact, value=[*fact.value, str(self.last)])

    def read(self, path):
        fact = super().read(path)
        return Fact("absent", None, path, "ENOENT") if path.startswith("/proc/1") and fact.value is None else fact


@pytest.mark.parametrize("observe", [None, 1.0])
def test_processes_that_come_and_go_leave_the_verdict(tree, tmp_path_factory, observe):
    """Where the kept list of processes is a later one than that by which they were read, some have no name in it."""
    status = "Name:\tinit\nState:\tS\nPPid:\t0\nUid:\t0\t0\t0\t0\nThreads:\t1\nCpus_allowed_list:\t0-1\n"
    top = tree({"/proc/1/comm": "init\n", "/proc/1/status": status, "/etc/systemd/system/x": ""})
    wanted = profile.load_text('irq_affinity: {housekeeping: "0-1", irqbalance: stopped}', "p.yml")
    file = str(tmp_path_factory.mktemp("out") / "s.json")
    snapshot.write(capture.take_snapshot(Restless(top), profile.load_built_in(), observe), file)

    def judge(root):
        findings = checker.run_checks(wanted, root).findings
        hops = {each.id: {name: (hop.state, hop.value) for name, hop in each.hops.items()} for each in findings}
        return hops["irq_affinity.irqbalance"]

    assert judge(Restless(top))["runtime"] == ("ok", "not running")
    assert judge(snapshot.Snapshot(file)) == judge(Restless(top))
