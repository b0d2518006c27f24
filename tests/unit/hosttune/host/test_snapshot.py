import gzip
import json
import os
import time

import msgspec
import pytest

from hosttune import checker, profile
from hosttune.host import snapshot
from hosttune.host.root import NOT_CAPTURED, Tree
from hosttune.host.snapshot import Recorder, Snapshot, SnapshotError
from tests.cpu_time import is_within

LINK = {"/sys/class/net/eth0": "../../devices/x"}
TABLE = [{"interface": "eth0", "kind": "fq", "handle": 0, "parent": 0xFFFFFFFF}]


@pytest.fixture
def recorded(host, tmp_path):
    """Read some of everything through a recorder, write it, and return recorder and file."""

    def make(name="s.json"):
        files = {"/proc/cmdline": "nohz_full=2", "/etc/sysctl.d/a.conf": "1", "/etc/sysctl.d/b": "1"}
        recorder = Recorder(host(files, refused={"/etc/passwd": "EACCES"}, links=LINK, netlink={"qdisc": TABLE}))
        read_all(recorder)
        file = str(tmp_path / name)
        snapshot.write(recorder.data(), file)
        return recorder, file

    return make


def read_all(root):
    paths = ("/proc/cmdline", "/etc/passwd", "/etc/group")
    return [
        *(root.read(path) for path in paths),
        root.list("/etc/modules-load.d"),
        root.link("/sys/class/net/eth0"),
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
    path = "/proc/sys/net/core/rmem_max"
    recorder = Recorder(host({path: "1"}, later_files={path: "2"}))
    recorder.read(path)
    second, seconds = recorder.later(2.5)
    second.read(path)
    snapshot.write(recorder.data(), str(tmp_path / "s"))
    loaded = Snapshot(str(tmp_path / "s"))
    assert loaded.read(path).value == "1"
    assert loaded.seconds == seconds == 2.5
    after, passed = loaded.later(99)
    assert (after.read(path).value, passed, after.later(1)) == ("2", 2.5, None)


def test_of_a_path_that_is_read_twice_the_last_counts(host):
    path = "/proc/sys/net/core/rmem_max"
    live = host({path: "1"})
    recorder = Recorder(live)
    recorder.read(path)
    live.files[path] = "2"
    recorder.read(path)
    assert recorder.data().moments[0].read[path].value == "2"


def test_a_tree_through_a_snapshot_is_still_a_capture(tree, tmp_path):
    recorder = Recorder(Tree(tree({"/proc/cmdline": "quiet"})))
    recorder.read("/proc/meminfo")
    snapshot.write(recorder.data(), str(tmp_path / "s"))
    assert Snapshot(str(tmp_path / "s")).read("/proc/meminfo").reason == NOT_CAPTURED


GOOD = {"format": snapshot.FORMAT, "version": snapshot.VERSION, "tool": "0", "source": "live", "moments": [{}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a snapshot"),
        (b"\x7fELF\xff", "not a snapshot"),
        (b"[]", "not a snapshot"),
        (b'{"verdict": "ready"}', "its format is ''"),
        ({**GOOD, "format": "other"}, "its format is 'other'"),
        ({**GOOD, "version": 1}, "snapshot format 1; hosttune .* reads format 2; an older .* take it again"),
        ({**GOOD, "version": 3}, "snapshot format 3; hosttune .* reads format 2$"),
        ({**GOOD, "version": "1"}, "not a snapshot"),
        ({**GOOD, "moments": []}, "0 moments"),
        ({**GOOD, "moments": [{}, {}]}, "no seconds"),
        ({**GOOD, "moments": [{"read": []}]}, "damaged"),
        ({**GOOD, "moments": [{"read": {"/a": {"maybe": 1}}}]}, "damaged"),
        ({**GOOD, "surprise": 1}, "damaged"),
        (gzip.compress(json.dumps(GOOD).encode(), mtime=0)[:-9], "damaged"),
        (b"\x1f\x8bnonsense", "damaged|cannot be read"),
        (gzip.compress(b"x" * 99, mtime=0)[:12] + b"\xff\xff\xff\xff", "damaged"),  # zlib's own error
        ({**GOOD, "moments": [{}, {}, {}], "seconds": 1}, "3 moments"),
        ({**GOOD, "moments": [{}] * 5000, "seconds": 1}, "5000 moments"),
        ({**GOOD, "moments": [{}, {}], "seconds": -1}, "damaged"),
        ({**GOOD, "moments": [{}, {}], "seconds": 1e300}, "damaged"),
        ({**GOOD, "taken": "\x1b[2J"}, "damaged"),
        ({**GOOD, "moments": [{"read": {"/a": {"value": [1]}}}]}, "damaged"),
        ({**GOOD, "moments": [{"read": {"/a": {}}}]}, "damaged"),
        ({**GOOD, "moments": [{"read": {"/a": {"value": "x", "absent": "y"}}}]}, "damaged"),
        ({**GOOD, "moments": [{"list": {"/a": {"value": "x"}}}]}, "damaged"),
        ({**GOOD, "moments": [{"netlink": {"qdisc": {"value": [{"interface": 1}]}}}]}, "damaged"),
        (b'{"unknown": ' + b"[" * 100_000, "nested too deep"),
        (b'{"format": "hosttune-snapshot", "version": ' + b"9" * 5000 + b"}", "not a snapshot"),
        (b'{"format": "hosttune-snapshot", "version": 2, "seconds": ' + b"9" * 5000 + b"}", "damaged"),
        (b'{"format": "hosttune-snapshot", "version": 2, "moments": [' + b"{}," * 300_000, "more entries"),
        (gzip.compress(bytes(snapshot.MAX_BYTES + 1), mtime=0), "decompresses to more than"),
        (b" " * (snapshot.MAX_BYTES + 1), "more than"),
    ],
)
def test_what_is_no_snapshot_is_refused_with_its_name(tmp_path, content, words):
    file = tmp_path / "s.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(SnapshotError, match=rf"^{file}: .*({words})"):
        Snapshot(str(file))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SnapshotError, match="cannot be read: No such file"):
        Snapshot(str(tmp_path / "no"))


def test_a_fifo_at_its_name_makes_nobody_wait(tmp_path):
    os.mkfifo(tmp_path / "s")
    with pytest.raises(SnapshotError, match="a FIFO"):
        Snapshot(str(tmp_path / "s"))
    with pytest.raises(SnapshotError, match="a character device"):
        Snapshot("/dev/zero")


def test_it_is_written_new_whatever_is_at_its_name(host, tmp_path):
    """Neither an old file that all may read or somebody holds open, nor the target of a link is written to."""
    data = Recorder(host({})).data()
    old, link, target = (tmp_path / name for name in ("old", "link", "target"))
    for place in (old, target):
        place.write_text("before")
        place.chmod(0o666)
    link.symlink_to(target)
    with open(old) as held:
        snapshot.write(data, str(old))
        assert held.read() == "before"
    snapshot.write(data, str(link))
    assert target.read_text() == "before"
    for place in (old, link):
        assert not place.is_symlink() and place.stat().st_mode & 0o777 == 0o600
        assert Snapshot(str(place))
    assert sorted(os.listdir(tmp_path)) == ["link", "old", "target"]


@pytest.mark.parametrize("kind", ["directory", "fifo", "link to a device"])
def test_what_is_no_file_is_not_replaced(host, tmp_path, kind):
    place = tmp_path / "x"
    {"directory": os.mkdir, "fifo": os.mkfifo, "link to a device": lambda at: os.symlink("/dev/full", at)}[kind](place)
    with pytest.raises(OSError, match="allowed: a regular file"):
        snapshot.write(Recorder(host({})).data(), str(place))
    assert os.listdir(tmp_path) == ["x"]
    with pytest.raises(OSError, match="a place of the kernel's"):
        snapshot.write(Recorder(host({})).data(), "/dev/full")


def test_what_could_not_be_read_back_is_not_written(host, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "MAX_BYTES", 10)
    with pytest.raises(OSError, match=r"a snapshot has at most"):
        snapshot.write(Recorder(host({})).data(), str(tmp_path / "s"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("state", ["value", "unreadable", "absent"])
@pytest.mark.parametrize("text", ["1 " * 4_900_000, "\x01" * 1_600_000, "1" * 9_800_000])
def test_a_large_text_from_elsewhere_is_refused_at_once_and_not_shown(tmp_path, text, state):
    key = "/proc/sys/net/core/rmem_max"
    entry = snapshot.Entry(**{state: text})
    data = snapshot.Data("hosttune-snapshot", 2, "0", [snapshot.Moment(read={key: entry})], "live")
    (tmp_path / "s.json").write_bytes(snapshot.encode(data))
    wanted = profile.load_text("net_buffers: {sysctl: {net.core.rmem_max: 5}}", "p.yml")
    start = time.process_time()
    report = checker.run_checks(wanted, Snapshot(str(tmp_path / "s.json")))
    shown = msgspec.json.encode(report)
    assert is_within(time.process_time() - start, 1)
    assert len(shown) < 1 << 16
    assert report.findings[0].status in ("unknown", "fail")


@pytest.mark.parametrize("name", ["\u00b2", "9" * 5000, "0" * 256, "x" * 1_000_000])
def test_a_name_that_is_no_process_is_none(tmp_path, name):
    listed = {"/proc": snapshot.Entry(value=["1", name])}
    data = snapshot.Data("hosttune-snapshot", 2, "0", [snapshot.Moment(list=listed)], "live")
    (tmp_path / "s.json").write_bytes(snapshot.encode(data))
    found = checker.run_checks(
        profile.load_text('irq_affinity: {housekeeping: "0-1", irqbalance: stopped}', "p.yml"),
        Snapshot(str(tmp_path / "s.json")),
    ).findings
    assert not [each.found for each in found if "the check failed" in str(each.found)]
    assert name not in str(found)


def test_what_is_written_can_be_read():
    gone = snapshot.Entry(absent="ENOENT")
    read = {f"/proc/{number}/stat": gone for number in range(snapshot.MAX_OBJECTS)}
    with pytest.raises(OSError, match="more than 262,144 entries"):
        snapshot.encode(snapshot.Data("hosttune-snapshot", 2, "0", [snapshot.Moment(read=read)], "live"))
    fewer = dict(list(read.items())[:-4])
    text = snapshot.encode(
        snapshot.Data("hosttune-snapshot", 2, "0", [snapshot.Moment(read=fewer)], "tree /" + "x" * 4095)
    )
    assert len(snapshot.decode(text, "f").moments[0].read) == len(fewer)
