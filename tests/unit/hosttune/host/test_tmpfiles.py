"""tmpfiles.d as systemd-tmpfiles reads it: traps by hand, and whatever hypothesis writes, beside the program itself."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hosttune.host import tmpfiles
from hosttune.host.root import Tree
from hosttune.host.tmpfiles_lines import Line
from tests.examples import TIMES

THP = "/sys/kernel/mm/transparent_hugepage/enabled"
SIZE = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
POOLS = [f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages" for node in (0, 1)]
WHOLE = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
FILES = [THP, SIZE, *POOLS, WHOLE]
ETC, RUN, LOCAL, LIB = tmpfiles.DIRECTORIES
NOTHING = {f"{directory}/README": "" for directory in tmpfiles.DIRECTORIES}


def read(host, files, path=THP, **more):
    return [line.value for line in tmpfiles.read(host({**NOTHING, **files}, **more)).value.find(path)]


def test_only_writes_to_what_a_check_looks_at():
    text = (
        f"# w {THP} - - - - 1\nd /sys/b - - - - 1\nw /run/c - - - - 1\nw\nw {THP} - - - -\nw! {THP} - - - -  never \n"
    )
    assert tmpfiles.parse(text, "f") == [Line("w", THP, "never", "f:6", ("-", "-", "-", "-"))]


def test_a_glob_names_every_pool_that_it_matches(host):
    line = "w /sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages - - - - 512"
    for path in POOLS:
        assert read(host, {f"{ETC}/a.conf": line}, path) == ["512"]
    assert read(host, {f"{ETC}/a.conf": line}, POOLS[0].replace("2048", "1048576")) == []


def test_a_quote_in_the_value_is_written_to_the_kernel(host):
    assert read(host, {f"{ETC}/a.conf": f'w "{THP}" - - - - "never"'}) == ['"never"']


def test_the_first_line_counts_by_file_name(host):
    files = {f"{ETC}/b.conf": f"w {THP} - - - - never", f"{LIB}/a.conf": f"w {THP} - - - - always"}
    found = tmpfiles.read(host({**NOTHING, **files})).value.find(THP)
    assert [line.place for line in found] == [f"{LIB}/a.conf:1"]


def test_a_file_in_etc_replaces_one_of_its_name(host):
    files = {f"{ETC}/a.conf": f"w {THP} - - - - never", f"{LIB}/a.conf": f"w {THP} - - - - always"}
    assert read(host, files) == ["never"]


def test_the_next_boot_finds_nothing_in_run(host):
    assert read(host, {f"{RUN}/a.conf": f"w {THP} - - - - never"}) == []
    masked = {f"{RUN}/a.conf": "", f"{LIB}/a.conf": f"w {THP} - - - - always"}
    assert read(host, masked) == ["always"]


def test_a_link_to_dev_null_masks(host):
    files = {f"{LIB}/a.conf": f"w {THP} - - - - always"}
    assert read(host, files, links={f"{ETC}/a.conf": "/dev/null"}) == []


@pytest.mark.parametrize("refused", [LIB, f"{LIB}/a.conf"])
def test_what_cannot_be_read_decides_nothing(host, refused):
    assert tmpfiles.read(host(NOTHING, refused={refused: "EIO"})).reason == "EIO"


def test_too_many_braces_are_not_understood(host):
    found = tmpfiles.read(host({**NOTHING, f"{ETC}/a.conf": f"w /sys/{'{a,b}' * 12}/x - - - - 1"}))
    assert found.reason == "not understood: a pattern in it stands for too many"


# --- beside systemd-tmpfiles ------------------------------------------------------------------------------

PATHS = st.sampled_from(
    [
        *FILES,
        *[path.replace("/sys/", "/sys//", 1) for path in FILES],
        *[f"{path}/" for path in FILES],
        *[f'"{path}"' for path in FILES],
        *[path.replace("k", "\\k") for path in FILES],
        "/sys/kernel/./mm/transparent_hugepage/enabled",
        "/sys/kernel/../kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/mm/transparent_hugepage/*/enabled",
        "/sys/kernel/mm/transparent_hugepage/hugepages-??kB/enabled",
        "/sys/kernel/mm/*hugepage*/enabled",
        "/sys/kernel/mm/transparent_hugepage/{enabled,hugepages-64kB/enabled}",
        "/sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages",
        "/sys/devices/system/node/node[0-9]/hugepages/hugepages-*kB/nr_hugepages",
        "/sys/devices/system/node/node[!1]/hugepages/*/nr_hugepages",
        "/sys/devices/system/node/node[^1]/hugepages/*/nr_*pages",
        "/sys/devices/system/node/*[[:digit:]]/hugepages/*/nr_hugepages",
        "/sys/devices/system/node/node{0,1}/hugepages/hugepages-{2048,1048576}kB/nr_hugepages",
        "/sys/devices/system/node/node{1}/hugepages/hugepages-2048kB/nr_hugepages",
        "/sys/devices/system/node/node\\x31/hugepages/hugepages-2048kB/nr_hugepages",
        "/sys/kernel/mm/hugepages/.*/nr_hugepages",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    ]
)
TYPES = st.sampled_from(
    ["w", "w", "w", "w!", "w-", "w+", "w+", "w=", "w!-", "w!!", "f", "F", "f+", "W", "d", "#w", "'w'", "w:", "wx"]
)
VALUES = st.sampled_from(
    ["never", "always", "512", "0", '"never"', "5 12", "6 # x", "7\\n", "\\x38", "\\q", "9\\", "%%", "%q", "-", ""]
)
FIELDS = st.sampled_from(
    ["- - - -"] * 6 + ["0644 root root -", "~0644 - - -", "99 - - -", "- - - xx", "- - - 10d", "-"]
)
LINE = st.tuples(TYPES, PATHS, FIELDS, VALUES, st.sampled_from([" ", "  ", "\t"])).map(
    lambda parts: parts[4].join(parts[:4])
)
TEXTS = st.lists(LINE | st.sampled_from(["", "# x", "garbage", 'w "']), max_size=5).map("\n".join)
CONFIGURATION = st.dictionaries(
    st.tuples(st.sampled_from([ETC, LOCAL, LIB]), st.sampled_from(["a.conf", "b.conf", ".h.conf", "c.conf~"])).map(
        "/".join
    ),
    TEXTS | st.just("-> /dev/null"),
    min_size=1,
    max_size=4,
)


def fill(top: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        place = top / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            place.symlink_to(text[3:])
        else:
            place.write_text(text)


@pytest.mark.skipif(not shutil.which("systemd-tmpfiles"), reason="systemd-tmpfiles is not installed")
@settings(max_examples=80 * TIMES, deadline=None)
@given(CONFIGURATION)
@example(
    {
        f"{ETC}/a.conf": f"w {POOLS[0]} - - - - 1\nw {POOLS[0].replace('node0', 'node*')} - - - - 2\n"
        f"w {POOLS[0]} - - - - 3"
    }
)
@example({f"{ETC}/a.conf": f"w+ {THP} - - - - 1\nw {SIZE} - - - - 2\nw+ {THP} - - - - 3\nw {THP} - - - - 4"})
@example({f"{ETC}/a.conf": f"w {THP} - - - - never\nw+ {THP} - - - - always\nw {THP} - - - - never"})
@example({f"{ETC}/a.conf": f"f {THP} - - - - 1\nf+ {THP} - - - - 2\nF {SIZE} - - - - 3\nF {SIZE} - - - - 3"})
def test_each_file_holds_what_systemd_tmpfiles_wrote(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        fill(
            top,
            {
                **dict.fromkeys(FILES, "." * 40),
                **{f"{directory}/README": "" for directory in (ETC, LOCAL, LIB)},
                **files,
            },
        )
        writes = tmpfiles.read(Tree(name))
        assert writes.value is not None, writes.reason
        expected = dict.fromkeys(FILES, "." * 40)
        unknown: set[str] = set()
        for line in writes.value.lines:
            for path in FILES:
                if line in writes.value.find(path):
                    if line.value is None:  # for a user that another host may have
                        assert line.kind[0] != "w"
                        unknown.add(path)
                        continue
                    rest = "" if line.kind[0] != "w" else expected[path][len(line.value) :]
                    expected[path] = expected[path] + line.value if line.kind == "w+" else line.value + rest
        subprocess.run(
            ["systemd-tmpfiles", "--create", "--remove", "--boot", f"--root={name}"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert {path: (top / path[1:]).read_text() for path in FILES if path not in unknown} == {
            path: text for path, text in expected.items() if path not in unknown
        }


@given(CONFIGURATION)
def test_what_is_kept_of_a_file_is_read_as_the_file(files: dict[str, str]) -> None:
    for text in files.values():
        for mine, whole in zip(tmpfiles.parse(tmpfiles.reduce(text), "f"), tmpfiles.parse(text, "f"), strict=True):
            assert (mine.kind, mine.path, mine.place) == (whole.kind, whole.path, whole.place)
            assert mine.value in (whole.value, "...")
