import gzip
import json
import os

import pytest

from hosttune.host import snapshot
from hosttune.host.root import NOT_CAPTURED, Fact, Tree
from hosttune.host.snapshot import Recorder, Snapshot, SnapshotError

TABLE = [{"interface": "eth0", "kind": "fq", "handle": 0, "parent": 0xFFFFFFFF}]


@pytest.fixture
def recorded(host, tmp_path):
    """Read some of everything through a recorder, write it, and return recorder and file."""

    def make(name="s.json"):
        files = {"/proc/cmdline": "quiet\n", "/etc/d/a": "1"}
        recorder = Recorder(host(files, refused={"/etc/no": "EACCES"}, links={"/l": "t"}, netlink={"qdisc": TABLE}))
        read_all(recorder)
        file = str(tmp_path / name)
        snapshot.write(recorder.data(), file)
        return recorder, file

    return make


def read_all(root):
    paths = ("/proc/cmdline", "/etc/no", "/absent")
    return [
        *(root.read(path) for path in paths),
        root.list("/etc/d"),
        root.list("/absent"),
        root.link("/l"),
        root.link("/proc/cmdline"),
        root.netlink("qdisc"),
    ]


@pytest.mark.parametrize("name", ["s.json", "s.json.gz"])
def test_a_snapshot_gives_back_each_fact(recorded, name):
    recorder, file = recorded(name)
    loaded = Snapshot(file)
    plain = [(fact.state, fact.value, fact.reason) for fact in read_all(recorder.root)]
    assert [(fact.state, fact.value, fact.reason) for fact in read_all(loaded)] == plain
    assert loaded.taken == recorder.root.taken
    assert loaded.later(1.0) is None and loaded.seconds is None
    with open(file, "rb") as raw:
        assert raw.read(2) == (b"\x1f\x8b" if name.endswith("gz") else b'{"')


def test_what_was_not_recorded_is_unreadable(recorded):
    loaded = Snapshot(recorded()[1])
    for fact in (loaded.read("/x"), loaded.list("/x"), loaded.link("/x"), loaded.netlink("x")):
        assert (fact.state, fact.reason) == ("unreadable", "not in the snapshot")


def test_only_the_owner_may_read_it(recorded):
    assert os.stat(recorded()[1]).st_mode & 0o777 == 0o600


def test_two_moments(host, tmp_path):
    recorder = Recorder(host({"/proc/c": "1"}, later_files={"/proc/c": "2"}))
    recorder.read("/proc/c")
    second, seconds = recorder.later(2.5)
    second.read("/proc/c")
    snapshot.write(recorder.data(), str(tmp_path / "s"))
    loaded = Snapshot(str(tmp_path / "s"))
    assert loaded.read("/proc/c").value == "1"
    assert loaded.seconds == seconds == 2.5
    after, passed = loaded.later(99)
    assert (after.read("/proc/c").value, passed, after.later(1)) == ("2", 2.5, None)


def test_of_a_path_that_is_read_twice_the_last_counts(host):
    live = host({"/proc/c": "1"})
    recorder = Recorder(live)
    recorder.read("/proc/c")
    live.files["/proc/c"] = "2"
    recorder.read("/proc/c")
    assert recorder.data().moments[0].read["/proc/c"].value == "2"


def test_secrets_stay_out(host):
    environment = "PATH=/bin\0PASSWORD=x\0IRQBALANCE_BANNED_CPULIST=2-3\0"
    keys = ("/proc/sys/net/ipv4/tcp_fastopen_key", "/proc/sys/net/ipv6/conf/eth0/stable_secret", "/etc/shadow")
    recorder = Recorder(host({"/proc/7/environ": environment, **dict.fromkeys(keys, "SECRET")}))
    assert recorder.read("/proc/7/environ").value == "IRQBALANCE_BANNED_CPULIST=2-3\0"
    for key in keys:
        assert recorder.read(key) == Fact("unreadable", None, key, snapshot.REDACTED)
    text = str(recorder.data())
    assert "SECRET" not in text and "PASSWORD" not in text


@pytest.mark.parametrize(
    ("path", "text", "kept"),
    [
        (
            "/proc/cmdline",
            "quiet rd.iscsi.password=x iommu.passthrough=1",
            "quiet rd.iscsi.password=... iommu.passthrough=1",
        ),
        (
            "/boot/grub/grub.cfg",
            "set a=b\npassword_pbkdf2 root grub.pbkdf2\nlinux x token=y\n",
            "set a=b\nlinux x token=...\n",
        ),
        (
            "/etc/systemd/system/a.service",
            "[Service]\nEnvironment=PASSWORD=x\nEnvironment=IRQBALANCE_BANNED_CPULIST=2\nExecStart=/x\n",
            "[Service]\nEnvironment=\nEnvironment=IRQBALANCE_BANNED_CPULIST=2\nExecStart=/x\n",
        ),
        ("/usr/local/bin/backup", "PASSWORD=x", ""),
        ("/usr/local/lib/place_irqs", "echo 1 > smp_affinity", "echo 1 > smp_affinity"),
        ("/etc/sysctl.d/a.conf", "a.b = 1", "a.b = 1"),
    ],
)
def test_what_is_left_out(path, text, kept):
    assert snapshot.redact(path, text) == kept


def test_a_tree_through_a_snapshot_is_still_a_capture(tree, tmp_path):
    recorder = Recorder(Tree(tree({"/proc/cmdline": "quiet"})))
    recorder.read("/proc/version")
    snapshot.write(recorder.data(), str(tmp_path / "s"))
    assert Snapshot(str(tmp_path / "s")).read("/proc/version").reason == NOT_CAPTURED


GOOD = {"format": snapshot.FORMAT, "version": 1, "tool": "0", "source": "live", "moments": [{}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a snapshot"),
        (b"\x7fELF\xff", "not a snapshot"),
        (b"[]", "not a snapshot"),
        (b'{"verdict": "ready"}', "its format is ''"),
        ({**GOOD, "format": "other"}, "its format is 'other'"),
        ({**GOOD, "version": 2}, "snapshot format 2; hosttune .* reads format 1"),
        ({**GOOD, "version": "1"}, "not a snapshot"),
        ({**GOOD, "moments": []}, "0 moments"),
        ({**GOOD, "moments": [{}, {}]}, "no seconds"),
        ({**GOOD, "moments": [{"read": []}]}, "damaged"),
        ({**GOOD, "moments": [{"read": {"/a": {"maybe": 1}}}]}, "damaged"),
        ({**GOOD, "surprise": 1}, "damaged"),
        (gzip.compress(json.dumps(GOOD).encode(), mtime=0)[:-9], "damaged"),
        (b"\x1f\x8bnonsense", "damaged|cannot be read"),
    ],
)
def test_what_is_no_snapshot_is_refused_with_its_name(tmp_path, content, words):
    file = tmp_path / "s.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(SnapshotError, match=rf"^{file}: .*({words})"):
        Snapshot(str(file))


def test_a_value_of_the_wrong_kind_is_unreadable(tmp_path):
    moment = {"read": {"/a": {"value": [1]}, "/b": {}}, "list": {"/a": {"value": "x"}}}
    file = tmp_path / "s.json"
    file.write_text(json.dumps({**GOOD, "moments": [moment]}))
    loaded = Snapshot(str(file))
    assert "damaged" in loaded.read("/a").reason
    assert "damaged" in loaded.list("/a").reason
    assert loaded.read("/b").state == "unreadable"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SnapshotError, match="cannot be read: No such file"):
        Snapshot(str(tmp_path / "no"))
