"""hosttune_settings as root where lesser users own things, and with a record that is not one."""

from __future__ import annotations

import base64
import gc
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.cpu_time import is_soon
from tests.unit.roles.machine import (
    BACKLOG,
    FILES,
    RECORD,
    THEIRS,
    Machine,
    files,
    records,
    run,
    settings,
)

STRANGER = 12345
WANTED = {**FILES, THEIRS: "ours\n"}
NOBODY = 2**32 - 1
root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o777), (0, 0o1777), (0, 0o775), (STRANGER, 0o755)])
@pytest.mark.parametrize("directory", ["/etc/default", "/etc", "/var/lib/hosttune", "/proc/sys/net"])
def test_nothing_is_changed_below_a_directory_of_others(
    machine: Machine, directory: str, owner: int, mode: int
) -> None:
    if owner and os.geteuid():
        pytest.skip("gives files to other users")
    machine.at("/etc/default").mkdir()
    machine.at(directory).mkdir(exist_ok=True)
    os.chown(machine.at(directory), owner or -1, -1)
    machine.at(directory).chmod(mode)
    before = machine.tree()
    with pytest.raises(
        settings.Refused, match=rf"^{directory}: found a directory of user \d+, mode .*allowed: of user"
    ):
        run(machine, files=WANTED)
    assert machine.tree() == before


def test_a_link_in_the_place_of_a_directory_is_followed_only_where_root_made_it(machine: Machine) -> None:
    machine.at("/srv").mkdir()
    machine.at("/etc/default").symlink_to("/srv")
    run(machine, files=WANTED)
    assert machine.text("/srv/demo") == "ours\n"
    machine.at("/srv").chmod(0o777)
    with pytest.raises(settings.Refused, match=r"^/srv: found a directory"):
        run(machine, state="absent", files=WANTED)


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_fifo_at_a_name_makes_nobody_wait(machine: Machine, state: str) -> None:
    machine.at("/etc/default").mkdir()
    os.mkfifo(machine.at(THEIRS))
    started = time.monotonic()
    if state == "present":
        with pytest.raises(settings.Refused, match="demo: found a FIFO, allowed: a regular file"):
            run(machine, files=WANTED)
    else:
        run(machine, state=state, files=WANTED)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "path",
    [
        "/proc/../etc/shadow",
        "/proc/sys/../../etc/shadow",
        "/proc/./sys/net/core/netdev_max_backlog",
        "/proc//sys/net/core/netdev_max_backlog",
        "/process/x",
        "/sys",
        "/proc/sys/net\n/x",
    ],
)
def test_a_value_is_below_proc_or_sys(machine: Machine, path: str) -> None:
    before = machine.tree()
    with pytest.raises(settings.Refused, match=r"^values: "):
        run(machine, values={path: 1})
    assert machine.tree() == before


def test_no_link_is_followed_to_a_value(machine: Machine) -> None:
    machine.write("/etc/victim/file", "1000\n")
    machine.at("/sys/link").symlink_to(machine.at("/etc/victim"))
    machine.at("/proc/sys/net/core/other").symlink_to(machine.at("/etc/victim/file"))
    for path in ("/sys/link/file", "/proc/sys/net/core/other"):
        with pytest.raises(settings.Refused):
            run(machine, values={path: 1})
    assert machine.text("/etc/victim/file") == "1000\n"


def test_a_value_of_this_machine_is_of_the_kernels_file_systems(tmp_path: Path) -> None:
    host = settings.Host("/")
    assert host.value("/proc/sys/kernel/ostype") == "Linux"
    with pytest.raises(settings.Refused):
        host.value("/proc/self/root/etc/hostname")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"/etc/a/../b": ""}, "has an empty part"),
        ({"/etc/a\nb": ""}, "control character"),
        ({"/etc/a\0b": ""}, "control character"),
        ({"/etc//a": ""}, "has an empty part"),
        ({"/etc/a/": ""}, "has an empty part"),
        ({"/etc/a": "", "/etc/a/b": ""}, "and files below it"),
        ({"/etc/a": {"content": "", "mode": "4755"}}, "mode: found '4755'"),
        ({"/etc/a": {"content": "", "mode": "0644\n"}}, "mode: found"),
        ({"/etc/a": {"content": "", "mode": "0٦44"}}, "mode: found"),
        ({"/etc/a": {"content": "", "mode": 420}}, "mode: found 420"),
        ({"/etc/a": "", "/etc/b": {"link": None}}, "b: link: found NoneType, allowed: text"),
        ({"/etc/a": "", "/etc/b": {"link": ["/x"]}}, "link: found list"),
        ({"/etc/a": "", "/etc/b": {"link": ""}}, "link: found '', allowed: a path"),
        ({"/etc/a": "", "/etc/b": {"link": "/x\0y"}}, "link: found '/x.x00y', allowed: a path"),
        ({"/etc/a": "", "/etc/b": {"link": "x" * 5000}}, "link: found 5,000 bytes"),
        ({"/etc/a": "", "/etc/b": {"content": 7}}, "content: found int, allowed: text"),
        ({"/etc/a": "", "/etc/b": {"content": {"x": 1}}}, "content: found dict"),
        ({"/etc/a": "", "/etc/b": {"content": "\ud800"}}, "content: found half a character"),
        ({"/etc/a": "", "/etc/b": "x" * (2 << 20)}, "content: found 2,097,152 bytes, allowed: 1,048,576"),
        ({"/etc/a": "", "/etc/b": None}, "b: found NoneType, allowed: text"),
        ({"/etc/a": "", "/etc/b": ["content"]}, "b: found list, allowed: text"),
        ({"/etc/a": "", "/etc/b": {7: 1, "x": 2}}, "expected content and mode, or link; found"),
    ],
)
def test_bad_files(machine: Machine, files: dict[str, Any], message: str) -> None:
    before = machine.tree()
    with pytest.raises(settings.Refused, match=message):
        run(machine, files=files)
    assert machine.tree() == before


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("value", [None, {}, {"a": 1}, 1.5, float("inf"), [1, None], [[1]], [True], [], "", "1" * 5000])
def test_bad_values(machine: Machine, value: Any, offline: bool) -> None:
    before = machine.tree()
    with pytest.raises(settings.Refused, match=rf"^values: {BACKLOG}: found .*, allowed: "):
        run(machine, values={BACKLOG: value}, offline=offline)
    assert machine.tree() == before


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "demo\n", "-x", "lock!"])
def test_bad_names(machine: Machine, name: str) -> None:
    before = machine.tree()
    with pytest.raises(settings.Refused, match=r"^name: found"):
        run(machine, name=name)
    assert machine.tree() == before


def pack_access_list(entries: list[tuple[int, int, int]]) -> bytes:
    """Returns an access list as its attribute has it: version 2, then tag, rights and id of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@root
def test_owner_mode_and_attributes_come_back(machine: Machine) -> None:
    machine.write(THEIRS, b"theirs \xff\xed\xa0\x80\0\r\n\r")
    os.chown(machine.at(THEIRS), 1001, 1002)
    machine.at(THEIRS).chmod(0o4750)
    entries = [(1, 7, NOBODY), (2, 4, STRANGER), (4, 5, NOBODY), (16, 5, NOBODY), (32, 0, NOBODY)]
    access = pack_access_list(entries)
    os.setxattr(machine.at(THEIRS), "system.posix_acl_access", access)
    link = "/etc/default/link"
    machine.at(link).symlink_to("nowhere")
    os.lchown(machine.at(link), 1001, 1002)
    machine.at(THEIRS).chmod(0o4750)
    before = machine.tree()
    wanted = {**WANTED, link: {"link": "/dev/null"}}
    run(machine, files=wanted)
    assert os.listxattr(machine.at(THEIRS)) == []
    assert (machine.at(THEIRS).stat().st_uid, machine.at(link).lstat().st_uid) == (0, 0)
    run(machine, state="absent", files=wanted)
    assert machine.tree() == before
    assert os.getxattr(machine.at(THEIRS), "system.posix_acl_access") == access


@root
def test_a_directory_gives_no_rights_to_what_is_written_in_it(machine: Machine) -> None:
    machine.write(THEIRS, "theirs\n")
    machine.at(THEIRS).chmod(0o660)
    entries = [(1, 7, NOBODY), (2, 7, STRANGER), (4, 5, NOBODY), (16, 7, NOBODY), (32, 5, NOBODY)]
    os.setxattr(machine.at(THEIRS).parent, "system.posix_acl_default", pack_access_list(entries))
    before = machine.tree()
    run(machine, files={THEIRS: {"content": "ours\n", "mode": "0660"}})
    assert os.listxattr(machine.at(THEIRS)) == []
    run(machine, files={THEIRS: "ours\n"}, state="absent")
    assert machine.tree() == before
    assert os.listxattr(machine.at(THEIRS)) == []


@root
def test_an_attribute_that_cannot_be_set_is_said_and_nothing_is_replaced(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write(THEIRS, "theirs\n")
    os.setxattr(machine.at(THEIRS), "trusted.demo", b"kept")
    run(machine, files=WANTED)
    with monkeypatch.context() as patch:
        patch.setattr(os, "setxattr", lambda *_: (_ for _ in ()).throw(OSError(95, "Operation not supported")))
        with pytest.raises(settings.Refused, match=r"demo: its attribute trusted.demo cannot be set: Operation not"):
            run(machine, state="absent", files=WANTED)
    assert machine.text(THEIRS) == "ours\n"
    run(machine, state="absent", files=WANTED)
    assert os.getxattr(machine.at(THEIRS), "trusted.demo") == b"kept"


def test_a_label_is_kept_and_is_nobodys_edit() -> None:
    entry = {"content": "a", "mode": "0644", "uid": 0, "gid": 0}
    labelled = {**entry, "xattrs": {"security.selinux": base64.b64encode(b"etc_t").decode()}}
    assert records.same(entry, labelled) and records.same(labelled, entry)
    assert not records.same(entry, {**entry, "xattrs": {"user.a": "YQ=="}})


def test_what_a_mode_hides_is_in_no_diff(machine: Machine) -> None:
    machine.write(THEIRS, "password=tulip\n")
    machine.at(THEIRS).chmod(0o640)
    shown = json.dumps(run(machine, files=WANTED)) + json.dumps(run(machine, files=WANTED, state="absent"))
    assert "tulip" not in shown and "15 bytes that others may not read" in shown


def test_a_diff_of_bytes_that_are_no_text_can_be_sent(machine: Machine) -> None:
    machine.write(THEIRS, b"\xff\xfe")
    assert json.dumps(run(machine, files=WANTED)["diff"], ensure_ascii=False).encode()


def test_the_lock_and_the_record_are_roots_alone(machine: Machine) -> None:
    old = os.umask(0)
    try:
        run(machine)
    finally:
        os.umask(old)
    assert machine.at(RECORD).stat().st_mode & 0o777 == 0o600
    assert machine.at(RECORD).parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("kind", ["link", "fifo", "mode", "owner"])
def test_a_lock_that_somebody_else_made_is_refused(machine: Machine, kind: str) -> None:
    if kind == "owner" and os.geteuid():
        pytest.skip("gives files to other users")
    victim = machine.at("/etc/victim")
    victim.write_text("kept\n")
    place = machine.at("/var/lib/hosttune/lock")
    place.parent.mkdir()
    if kind == "link":
        place.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.write_text("")
        place.chmod(0o666 if kind == "mode" else 0o600)
        os.chown(place, STRANGER if kind == "owner" else -1, -1)
    started = time.monotonic()
    with pytest.raises(settings.Refused, match=r"^/var/lib/hosttune/lock: "):
        run(machine)
    assert time.monotonic() - started < 1
    assert victim.read_text() == "kept\n"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "mode", "owner"])
def test_a_record_that_others_could_have_written_is_not_believed(machine: Machine, kind: str) -> None:
    if kind == "owner" and os.geteuid():
        pytest.skip("gives files to other users")
    run(machine)
    place = machine.at(RECORD)
    if kind == "mode":
        place.chmod(0o666)
    elif kind == "owner":
        os.chown(place, STRANGER, -1)
    else:
        place.rename(machine.at("/etc/copy"))
        {
            "link": lambda: place.symlink_to(machine.at("/etc/copy")),
            "fifo": lambda: os.mkfifo(place),
            "directory": place.mkdir,
        }[kind]()
    before = machine.tree()
    with pytest.raises(settings.Refused, match=r"original.json: found .*allowed: "):
        run(machine, state="absent")
    assert machine.tree() == before


GARBAGE = {
    "empty": b"",
    "nulls": b"\0" * 4096,
    "list": b"[]",
    "number": b"7",
    "text": b'"files"',
    "unknown": b'{"fils": {}}',
    "files": b'{"files": []}',
    "path": b'{"files": {"etc/x": null}}',
    "escape": b'{"files": {"/etc/../x": null}}',
    "entry": b'{"files": {"/etc/x": 7}}',
    "keys": b'{"files": {"/etc/x": {"content": "a", "link": "b", "mode": "0644"}}}',
    "content": b'{"files": {"/etc/x": {"content": 7, "mode": "0644"}}}',
    "surrogate": b'{"files": {"/etc/x": {"content": "\\ud800", "mode": "0644"}}}',
    "mode": b'{"files": {"/etc/x": {"content": "", "mode": "rw"}}}',
    "owner": b'{"files": {"/etc/x": {"content": "", "mode": "0644", "uid": -1, "gid": 0}}}',
    "target": b'{"files": {"/etc/x": {"link": "a\\u0000b"}}}',
    "attribute": b'{"files": {"/etc/x": {"content": "", "mode": "0644", "xattrs": {"user.a": "?"}}}}',
    "value path": b'{"values": {"/etc/shadow": "1"}}',
    "value": b'{"values": {"/proc/sys/x": 7}}',
    "value text": '{"values": {"/proc/sys/x": "é"}}'.encode(),
    "directories": b'{"directories": {"/etc": 1}}',
    "directory": b'{"directories": ["etc"]}',
    "pending": b'{"pending": 1}',
    "marks": b'{"applied": {"/etc/x": "abc"}}',
    "digits": b'{"pending": ' + b"9" * 100_000 + b"}",
    "float": b'{"pending": 1e999}',
    "nan": b'{"pending": NaN}',
    "deep": b"[" * 200_000,
    "deep objects": b'{"files":' * 100_000,
    "encoding": b"\xff\xfe{\0}\0",
    "bomb": b'{"files": [' + b"[]," * 1_300_000,
    "large": b'{"files": "' + b"a" * (10 << 20),
}


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("kind", GARBAGE)
def test_a_record_that_is_none_changes_nothing(machine: Machine, kind: str, state: str) -> None:
    run(machine)
    machine.write(RECORD, GARBAGE[kind])
    before = machine.tree()
    gc.enable()  # `agent run`, which other tests call in this process, turns it off

    def refuse() -> None:
        with pytest.raises(settings.Refused, match=r"original\.json: found |original\.json is not a record"):
            run(machine, state=state, files=WANTED)

    assert is_soon(refuse, 2) and gc.isenabled()
    assert machine.tree() == before


def test_a_record_that_was_cut_anywhere_changes_nothing(machine: Machine) -> None:
    machine.write(THEIRS, "theirs\n")
    run(machine, files=WANTED)
    whole = machine.at(RECORD).read_bytes()
    before = machine.tree()
    for length in range(0, len(whole) - 2, 7):
        machine.write(RECORD, whole[:length])
        with pytest.raises(settings.Refused, match=r"Nothing was changed\. Put the file back"):
            run(machine, state="absent", files=WANTED)
    machine.write(RECORD, whole)
    assert machine.tree() == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.sampled_from(["/etc/x", "0644", "1000"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["content", "mode", "link", "uid", "gid", "xattrs", "/etc/x", "/etc/y/z", BACKLOG, "sha256"]
            )
            | st.text(max_size=2),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
SECTIONS = st.sampled_from(["files", "values", "directories", "pending", "applied", "written", "left"])


@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.dictionaries(SECTIONS, JSON, max_size=3), state=st.sampled_from(["present", "absent"]))
def test_any_record_is_read_or_refused(machine: Machine, data: Any, state: str) -> None:
    machine.write(RECORD, json.dumps(data))
    machine.at(RECORD).chmod(0o600)
    before = machine.tree()
    try:
        run(machine, state=state)
    except settings.Refused as problem:
        if "is not a record" in str(problem):
            assert machine.tree() == before


def test_ansible_runs_the_module_with_its_parts(tmp_path: Path) -> None:
    """As on a host: packed by Ansible, in an interpreter that has no hosttune. In check mode, so nothing is changed."""
    project = Path(__file__).resolve().parents[3]
    program = Path(sys.executable).with_name("ansible")
    if not program.exists():
        pytest.skip("ansible-core is not installed beside this Python")
    arguments = {"name": "demo", "files": {"/etc/hosttune-demo/x": "x\n"}}
    command: list[str | Path] = [program, "localhost", "-c", "local", "--check", "-m", "hosttune_settings"]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", "-a", json.dumps(arguments)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(project / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(tmp_path),
            "ANSIBLE_INVENTORY": "localhost,",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"/etc/hosttune-demo/x"' in done.stdout
    assert not Path("/etc/hosttune-demo").exists()


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/sys/kernel/debug/sched/fair_server/cpu2/runtime", "/sys/kernel/debug"),
        ("/sys/kernel/debugger/x", "/sys"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "/sys"),
        ("/proc/sys/net/core/rmem_max", "/proc"),
    ],
)
def test_a_value_is_of_the_file_system_that_is_mounted_nearest(path: str, mount: str) -> None:
    assert files.find_kernel_mount(path) == mount
