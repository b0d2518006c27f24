import errno
import os

import pytest

from hosttune.host import root
from hosttune.host.root import NOT_CAPTURED, Fact, Live, Once, Tree


def test_live_tells_absent_from_unreadable(tmp_path):
    (tmp_path / "file").write_bytes(b"a\xffb\n")
    (tmp_path / "link").symlink_to("file")
    live = Live()
    file = str(tmp_path / "file")
    assert live.read(file) == Fact("value", "a\ufffdb\n", file)
    assert (live.read(f"{file}.no").state, live.read(f"{file}.no").reason) == ("absent", "ENOENT")
    assert live.read(f"{file}/below").state == "absent"
    assert live.read(str(tmp_path)).reason == "EISDIR"
    assert live.list(str(tmp_path)).value == ["file", "link"]
    assert live.list(file).state == "absent"
    assert live.link(str(tmp_path / "link")).value == "file"
    assert live.link(file) == Fact("absent", None, file, "not a symbolic link")


def test_a_process_that_has_ended_is_absent():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert Live().read(f"/proc/{child}/status").state == "absent"


def test_a_fifo_or_a_device_does_not_stop_the_check_and_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("fifo", "zero"):
        fact = Live().read(str(tmp_path / name))
        assert (fact.state, fact.reason) == ("unreadable", "not a regular file")
    assert Live().read(str(tmp_path / "null")).value == ""  # how a drop-in is masked
    assert Tree(str(tmp_path)).read("/fifo").reason == "not a regular file"


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/x", root.MAX_BYTES),
        ("/etc/passwd", root.MAX_BYTES),
        ("/etc/sysctl.d/a.conf", root.MAX_CONFIGURATION_BYTES),
        ("/proc/interrupts", root.MAX_TABLE_BYTES),
        ("/etc/interrupts", root.MAX_CONFIGURATION_BYTES),
    ],
)
def test_a_file_that_is_too_large_is_not_read_to_the_end(tmp_path, path, limit):
    """What is beyond the limit is a hole: it takes no memory, unless it is read."""
    tree = Tree(str(tmp_path))
    place = tmp_path / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("x" * limit)
    assert len(tree.read(path).value) == limit
    os.truncate(place, limit + 1)
    assert (tree.read(path).state, tree.read(path).reason) == ("unreadable", f"larger than {limit >> 20} MiB")
    os.truncate(place, 1 << 40)
    assert tree.read(path).state == "unreadable"


def test_a_directory_that_becomes_a_link_while_the_tree_is_read_leads_nowhere(tree, tmp_path_factory):
    """The tree's owner exchanges a directory between the look at it and the opening."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "a.conf").write_text("secret")
    top = tree({"/etc/d/a.conf": "harmless"})
    root = Tree(top)
    assert root.read("/etc/d/a.conf").value == "harmless"
    os.rename(f"{top}/etc/d", f"{top}/etc/e")
    os.symlink(outside, f"{top}/etc/d")
    assert root.read("/etc/d/a.conf").state == "unreadable"
    assert root.list("/etc/d").state == "unreadable"


def test_what_a_capture_does_not_hold_is_never_absent(tree):
    root = Tree(tree({"/proc/cmdline": "quiet\n"}))
    assert root.read("/proc/cmdline").value == "quiet\n"
    for fact in (root.read("/proc/nothing"), root.list("/sys"), root.link("/etc/x"), root.netlink("qdisc")):
        assert (fact.state, fact.reason) == ("unreadable", NOT_CAPTURED)
    assert root.later(1.0) is None
    assert root.read("/proc").reason == "EISDIR"


def test_links_stay_inside_the_capture(tree, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("secret")
    root = Tree(
        tree(
            {
                "/usr/lib/modules/6.1/modules.builtin": "kernel/net/ipv4/tcp_bbr.ko",
                "/lib": "-> usr/lib",
                "/etc/sysctl.d/99-sysctl.conf": "-> ../sysctl.conf",
                "/etc/sysctl.conf": "a.b = 1",
                "/etc/absolute": "-> /etc/sysctl.conf",
                "/etc/up": "-> ../../../../../../../../etc/sysctl.conf",
                "/etc/out": f"-> {outside}",
                "/etc/loop": "-> loop2",
                "/etc/loop2": "-> loop",
                "/etc/dir": "-> /usr",
            }
        )
    )
    assert root.read("/lib/modules/6.1/modules.builtin").value.endswith("tcp_bbr.ko")
    for path in ("/etc/sysctl.d/99-sysctl.conf", "/etc/absolute", "/etc/up", "/etc/sysctl.d/../absolute"):
        assert root.read(path).value == "a.b = 1", path
    assert root.read("/etc/out").reason == NOT_CAPTURED
    assert root.read(str(outside)).reason == NOT_CAPTURED
    assert root.read("/../" * 20 + str(outside)).reason == NOT_CAPTURED
    assert root.read("/etc/loop").reason == "ELOOP"
    assert root.list("/etc/dir").value == ["lib"]
    assert root.link("/etc/absolute").value == "/etc/sysctl.conf"
    assert root.link("/lib").value == "usr/lib"


def test_a_tree_is_a_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        Tree(str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError):
        Tree(str(tmp_path / "no"))


def test_a_fact_that_is_not_understood_is_unreadable():
    assert Fact("value", "7", "/f").map(int) == Fact("value", 7, "/f")
    assert Fact("value", "x", "/f").map(int).state == "unreadable"
    assert "not understood" in Fact("value", "x", "/f").map(int).reason
    absent = Fact("absent", None, "/f", "ENOENT")
    assert absent.map(int) is absent


def test_each_path_is_read_once(host):
    live = host({"/a": "1"}, later_files={"/a": "3"})
    once = Once(live)
    assert once.read("/a").value == "1"
    live.files["/a"] = "2"
    assert once.read("/a").value == "1"
    assert live.read("/a").value == "2"
    later, _ = once.later(1.0)
    assert later.read("/a").value == "3"
    assert (once.source, once.taken) == (live.source, live.taken)


@pytest.mark.parametrize(
    ("path", "state"),
    [
        # Configuration is copied by whole directories.
        ("/etc/sysctl.d/b.conf", "absent"),
        ("/etc/none/at/all", "absent"),
        ("/usr/local/lib/systemd/system.conf.d", "absent"),
        ("/usr/lib/sysctl.d", "absent"),
        ("/lib/sysctl.d", "absent"),
        ("/boot/loader/entries", "absent"),
        ("/etc/dangling", "absent"),
        ("/etc/sysctl.d/a.conf/below", "absent"),
        # What every host has was not copied.
        ("/etc/security/limits.conf", "unreadable"),
        ("/etc/dangling-out", "unreadable"),
        # Nor was a whole directory of the top.
        ("/var/lib/hosttune", "unreadable"),
        ("/opt/x", "unreadable"),
        # The next boot begins with an empty /run.
        ("/run/sysctl.d", "absent"),
        # Of the kernel's files people copy one and not the other.
        ("/proc/modules", "unreadable"),
        ("/sys/devices/system/cpu/nohz_full", "unreadable"),
        ("/sys/devices/system/cpu/online/x", "unreadable"),
    ],
)
def test_what_a_tree_lacks_is_absent_only_where_a_whole_directory_was_copied(tree, path, state):
    top = tree(
        {
            "/etc/sysctl.d/a.conf": "",
            "/etc/dangling": "-> sysctl.d/none",
            "/etc/dangling-out": "-> /etc/security/x",
            "/usr/lib/systemd/a": "",
            "/usr/local/lib/x": "",
            "/boot/grub/grub.cfg": "",
            "/proc/cmdline": "",
            "/sys/devices/system/cpu/online": "0",
        }
    )
    root = Tree(top)
    assert (root.read(path).state, root.list(path).state) == (state, state)
    assert root.link(f"{path}/link").state == state
    assert Tree(top + "/").read(path).state == state


def test_a_tree_without_a_merged_lib_has_that_of_usr(tree):
    root = Tree(tree({"/usr/lib/modules/6.1/modules.builtin": "x", "/usr/lib/systemd/a": ""}))
    assert root.read("/lib/modules/6.1/modules.builtin").value == "x"
    assert root.list("/lib").value == root.list("/usr/lib").value == ["modules", "systemd"]
    assert root.read("/sbin/init").state == "absent"


def test_a_tree_with_a_lib_of_its_own_keeps_it(tree):
    root = Tree(tree({"/usr/lib/a": "", "/lib/b": ""}))
    assert root.list("/lib").value == ["b"]


def test_configuration_that_holds_nul_bytes_is_not_text(tree):
    """What a program makes of them is its own affair: some end the line there, some the file."""
    files = {"/etc/b": "#!/x\nPK\3\4\0", "/etc/c": "\x7fELF\0", "/proc/8/environ": "A=1\0"}
    top = tree({"/etc/sysctl.d/a.conf": "net.core.rmem_max = 1\n\0", **files})
    root = Tree(top)
    assert root.read("/etc/sysctl.d/a.conf").reason == "not text: it holds NUL bytes"
    assert root.read("/etc/b").state == root.read("/proc/8/environ").state == "value"
    assert root.read("/etc/c").reason == "a program"
    assert Live().read(f"{top}/etc/sysctl.d/a.conf").state == "value"  # no configuration there


@pytest.mark.parametrize("kind", ["directory", "loop", "fifo", "refused", "too large", "broken disk"])
def test_what_cannot_be_read_is_never_absent_nor_a_value(kind, tree, tmp_path, monkeypatch):
    place = "/etc/sysctl.d/a.conf"
    top = tree({"/etc/sysctl.d/b.conf": "", **({place: f"-> {place}"} if kind == "loop" else {})})
    path = f"{top}{place}"
    if kind == "directory":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "too large":
        with open(path, "w") as file:
            file.truncate(20 << 20)
    elif kind in ("refused", "broken disk"):
        with open(path, "w"):
            pass
        number = errno.EACCES if kind == "refused" else errno.EIO

        def fail(*_, **__):
            raise OSError(number, "x", path)

        monkeypatch.setattr(os, "read" if kind == "broken disk" else "open", fail)
    assert Tree(top).read(place).state == "unreadable"
    if kind != "loop":  # a link that leads out of the tree, for a host
        assert Live().read(path).state == "unreadable"


@pytest.mark.parametrize(
    ("path", "lines", "state"),
    [
        ("/etc/sysctl.d/a.conf", root.MAX_LINES, "value"),
        ("/etc/sysctl.d/a.conf", root.MAX_LINES + 1, "unreadable"),
        ("/etc/group", root.MAX_LINES + 1, "value"),
        ("/etc/group", root.MAX_ACCOUNTS + 1, "unreadable"),
        ("/proc/x", root.MAX_LINES + 1, "value"),
    ],
)
def test_configuration_of_more_lines_than_anybody_writes_is_not_read(path, lines, state, tree):
    assert Tree(tree({path: "\n" * lines})).read(path).state == state
