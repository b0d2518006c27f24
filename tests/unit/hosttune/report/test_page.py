import pytest

from hosttune.findings import Finding, Hop, summarise_findings
from hosttune.report import page as writer
from hosttune.report.document import Page
from hosttune.report.page import write_report
from hosttune.report.words import show_value

HOST = {
    "hostname": "t1",
    "kernel": "6.1.0",
    "cpus": 4,
    "time": "2025-01-31T06:00:00Z",
    "source": "live",
    "profile": "/etc/hosttune/profile.d",
}
LONG = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages"
FINDINGS = [
    Finding(id="a.one", status="pass", wanted=1, found=1),
    Finding(
        id="a.two",
        status="pending",
        wanted="2-3",
        found="",
        hops={
            "intended": Hop("ok", "2-3", "p.yml:1"),
            "persisted": Hop("ok", "2-3", "/boot/grub/grub.cfg"),
            "booted": Hop("absent", None, "/proc/cmdline"),
            "runtime": Hop("bad", "", LONG),
        },
        why="the scheduler " + "may use these CPUs " * 8,
        fix="first command\nsecond " + "x" * 130,
        reboot=True,
    ),
    Finding(
        id="b.x",
        status="unknown",
        wanted=True,
        found=None,
        hops={"runtime": Hop("unknown", "EACCES", "/f")},
        why="w",
        fix="f",
    ),
    Finding(id="b.y", status="na", wanted=1, found="no such device"),
    Finding(id="b.z", status="warn", wanted={"a": [1, 2]}, found={"a": None}, why="w", fix="f"),
]
REPORT = summarise_findings(HOST, FINDINGS)


def test_the_verdict_is_first_and_last():
    lines = write_report(REPORT, Page()).splitlines()
    assert lines[0] == "NOT READY  t1, Linux 6.1.0, 4 CPUs"
    assert lines[-1] == "NOT READY  1 pending, 1 unknown, 1 warn, 1 pass, 1 na; 1 needs a reboot"
    assert "live at 2025-01-31T06:00:00Z" in lines[1]
    assert "/etc/hosttune/profile.d" in lines[2]


def test_what_is_wrong_says_where_it_broke_why_and_the_fix():
    page = write_report(REPORT, Page())
    assert "pending   a.two  (asked for, waits for a reboot)" in page
    assert "wanted  2-3" in page
    assert "found   nothing" in page
    assert " -> booted     absent   [/proc/cmdline]" in page
    assert page.count("->") == 1
    assert f"[{LONG}]" in page
    assert "then reboot" in page
    assert "second " + "x" * 130 in page  # a command stays in one piece


def test_what_is_right_takes_one_line_and_the_worst_comes_first():
    lines = write_report(REPORT, Page()).splitlines()
    (passed,) = [line for line in lines if "a.one" in line]
    assert passed.split() == ["pass", "a.one", "1"]
    (absent,) = [line for line in lines if "b.y" in line]
    assert absent.split() == ["na", "b.y", "no", "such", "device"]
    order = [line.split()[1] for line in lines if line.startswith("  ") and line[2] != " "]
    assert order == ["a.two", "a.one", "b.x", "b.z", "b.y"]


def test_what_could_not_be_read_says_why():
    assert "found   could not be read: EACCES" in write_report(REPORT, Page())


@pytest.mark.parametrize("width", [80, 100, 120])
def test_lines_keep_to_the_width_unless_they_are_commands_or_paths(width):
    for line in write_report(REPORT, Page(width=width)).splitlines():
        assert len(line) <= width or "xxx" in line or LONG in line


def test_quiet_leaves_out_what_passed():
    page = write_report(REPORT, Page(quiet=True))
    assert "a.one" not in page and "b.y" not in page
    assert "a.two" in page
    assert "1 pass, 1 na" in page


def test_colour_is_for_terminals():
    assert "\x1b" not in write_report(REPORT, Page())
    coloured = write_report(REPORT, Page(colour=True))
    assert coloured.startswith("\x1b[31mNOT READY\x1b[0m")
    for code in (writer.RED, writer.YELLOW, writer.GREEN, writer.DIM, writer.BOLD, writer.RESET):
        coloured = coloured.replace(code, "")
    assert coloured == write_report(REPORT, Page())


def test_a_host_that_says_nothing_about_itself():
    report = summarise_findings({"hostname": None, "kernel": None, "cpus": None, "time": None, "source": "tree x"}, [])
    assert write_report(report, Page()).splitlines()[0] == "UNKNOWN  unnamed host"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        ("", "nothing"),
        ([], "nothing"),
        (0, "0"),
        (True, "yes"),
        ([4096, 1], "4096 1"),
        ({"a": None, "b": [1]}, "a: nothing, b: 1"),
        ("a\tb\n", "a b"),
    ],
)
def test_values(value, words):
    assert show_value(value) == words
