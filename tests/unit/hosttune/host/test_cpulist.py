import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.host import cpulist
from hosttune.host.cpulist import Banned, IrqbalanceList, IrqbalanceMask, KernelList, SystemdList

CPUS = st.frozensets(st.integers(0, 600))


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("2-3", {2, 3}),
        ("3,2", {2, 3}),
        (" 1 ,4-5\n", {1, 4, 5}),
        ("0-31:2/8", {0, 1, 8, 9, 16, 17, 24, 25}),
        ("0-10:3/4", {0, 1, 2, 4, 5, 6, 8, 9, 10}),
        ("N", {7}),
        ("6-N", {6, 7}),
        ("all", set(range(8))),
        ("ALL", set(range(8))),
        ("", set()),
        ("\n", set()),
        ("2,,3", {2, 3}),
        ("2 3\t,\n4", {2, 3, 4}),
        ("2\n3", {2}),  # the kernel reads one line, but for white space before it
        ("\n2", {2}),
        ("0-7:0/2", set()),
        ("all:2/4", {0, 1, 4, 5}),
        ("0-N:N/N", {0, 1, 2, 3, 4, 5, 6, 7}),
        ("0-7:1/43", {0}),
        ("0-7:1/4N", {0, 4, 7}),
        ("007", {7}),
    ],
)
def test_the_kernels_notations(text, cpus):
    assert cpulist.parse(text, last=7) == cpus


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3-2", "runs backwards"),
        ("x", "'x' is not a CPU number"),
        ("1-", "'' is not a CPU number"),
        ("-1", "'' is not a CPU number"),
        ("0x3", "'0x3' is not a CPU number"),
        ("0-7:3/2", "USED/GROUP"),
        ("0-7:2", "USED/GROUP"),
        ("0-7:1/0", "USED/GROUP"),
        ("3:1/2", "a stride belongs to a range"),
        ("0-7:1/x", "USED/GROUP"),
        ("n", "'n' is not a CPU number"),
        ("none", "'none' is not a CPU number"),
        ("allx", "'allx' is not a CPU number"),
        ("all-3", "'all' is not a CPU number"),
        ("0-1-3", "'1-3' is not a CPU number"),
        ("+1", "is not a CPU number"),
        ("(null)", "is not a CPU number"),
        ("1\u00a02", "is not a CPU number"),
        ("²", "is not a CPU number"),
        ("0-4294967295", "no machine has a CPU"),
    ],
)
def test_what_is_refused_names_the_part(text, words):
    with pytest.raises(ValueError, match=words):
        cpulist.parse(f"1,{text}", last=7)


def test_the_last_cpu_has_to_be_known():
    with pytest.raises(ValueError, match="last CPU"):
        cpulist.parse("1-N")


def test_a_list_beyond_the_last_cpu_is_refused_as_a_whole_where_the_kernel_does_so():
    assert cpulist.parse(KernelList("2-9"), 7) == set(range(2, 10))
    assert cpulist.parse(KernelList("2-7"), 7, bounded=True) == set(range(2, 8))
    with pytest.raises(ValueError, match="names CPU 9, and the last one is 7"):
        cpulist.parse(KernelList("1,2-9"), 7, bounded=True)


@given(CPUS)
def test_what_is_shown_is_the_same_in_each_notation(cpus):
    text = cpulist.show(cpus)
    assert cpulist.parse(text) == cpus
    assert cpulist.parse_irqbalance(IrqbalanceList(text)) == Banned(cpus or frozenset({0}))
    assert cpulist.parse_systemd(SystemdList(text)) == (cpus or None)
    assert cpulist.parse_irqbalance_mask(IrqbalanceMask(cpulist.show_mask(cpus))) == Banned(cpus)


@given(CPUS)
def test_masks(cpus):
    bits = sum(1 << cpu for cpu in cpus)
    words = [f"{bits >> shift & 0xFFFFFFFF:08x}" for shift in range(608, -1, -32)]
    assert cpulist.parse_mask(",".join(words)) == cpus
    assert cpulist.parse_mask(f"{bits:x}\n") == cpus


def test_a_mask_that_is_none():
    with pytest.raises(ValueError, match="not hexadecimal"):
        cpulist.parse_mask("0-3")


@pytest.mark.parametrize(
    ("text", "cpus"), [("3,0-1", (3, 0, 1)), ("1,1", (1, 1)), ("0-7:1/4,2", (0, 4, 2)), ("6-N", (6, 7)), ("", ())]
)
def test_a_sequence_is_in_the_order_written(text, cpus):
    assert cpulist.parse_sequence(text, last=7) == cpus


def test_a_sequence_is_bounded():
    with pytest.raises(ValueError, match="more CPUs than any machine has"):
        cpulist.parse_sequence("0-8191," * 1000)


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 9)), max_size=8))
def test_sequence_and_parse_name_the_same_cpus(spans):
    text = ",".join(f"{first}-{first + more}" for first, more in spans)
    expected = [cpu for first, more in spans for cpu in range(first, first + more + 1)]
    assert list(cpulist.parse_sequence(text)) == expected
    assert cpulist.parse(text) == set(expected)


# --- irqbalance ---


@pytest.mark.parametrize(
    ("text", "cpus", "fault"),
    [
        ("2-3", {2, 3}, ""),
        ("2-N", set(), "'N'"),
        ("2,3-N,4", {2}, "'N'"),  # what it has read stays banned
        ("0-3:1/2", set(), "':'"),
        ("all", set(), "'a'"),
        (" 2-3\n", {2, 3}, ""),
        ("2, 3", {2}, "white space"),
        ("2-3 # isolated", set(), "white space"),
        ("2,", {2}, ""),
        ("", {0}, ""),
        ("2,,3", {0, 2, 3}, ""),  # an empty part is CPU 0
        (",2", {0, 2}, ""),
        ("3-2", set(), "backwards"),
        ("0-", {0}, ""),
        ("2-", set(), "backwards"),
        ("-2", set(), "'-'"),
        ("1-2-3", set(), "'-'"),
        ("4095", {4095}, ""),
        ("4096", set(), "too large"),
        ("02-0003", {2, 3}, ""),
    ],
)
def test_irqbalances_list(text, cpus, fault):
    found = cpulist.parse_irqbalance(IrqbalanceList(text))
    assert found.cpus == cpus
    assert fault in found.fault
    assert bool(fault) == bool(found.fault)


@pytest.mark.parametrize(
    ("text", "cpus", "fault"),
    [
        ("c", {2, 3}, ""),
        ("1,0", {32}, ""),
        ("f,0000000c", {2, 3, 32, 33, 34, 35}, ""),
        ("0,c", {2, 3}, ""),
        ("0xc", set(), "'x'"),
        ("1,x", {0}, "'x'"),
        ("00000000c", {2, 3}, ""),  # nine digits, of which the first say nothing
        ("10000000c", set(), "eight digits"),
        ("c,", {2, 3}, ""),
        ("c,,c", {2, 3}, "without digits"),
        (" c ", {2, 3}, ""),
        ("c c", set(), "white space"),
        ("2-3", set(), "'-'"),
    ],
)
def test_irqbalances_mask(text, cpus, fault):
    found = cpulist.parse_irqbalance_mask(IrqbalanceMask(text))
    assert found.cpus == cpus
    assert fault in found.fault
    assert bool(fault) == bool(found.fault)


# --- systemd ---


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("2-3", {2, 3}),
        ("2 3,5", {2, 3, 5}),
        (" 2\t,, 3 ", {2, 3}),
        ("", None),
        (" , ", None),
        ("3-2", set()),  # left out, and yet no reset
        ("3-2 1", {1}),
        ("'2' \"3\"-4", {2, 3, 4}),
        ("2\\-3", {2, 3}),
        ("0x10 010 0b11 0o17 +7", {16, 8, 3, 15, 7}),
    ],
)
def test_systemds_list(text, cpus):
    assert cpulist.parse_systemd(SystemdList(text)) == cpus


@pytest.mark.parametrize(
    "text",
    ["2-N", "all", "numa", "2-", "-2", "2-3-4", "0-7:1/2", "08", "2-8192", "4294967298", "'2 3'", "'2", "2\\", "''"],
)
def test_what_systemd_refuses(text):
    with pytest.raises(ValueError, match="CPU list"):
        cpulist.parse_systemd(SystemdList(f"1 {text}"))


def test_assignments_of_systemd_add_up():
    def merge(*texts):
        return cpulist.merge_systemd(map(SystemdList, texts))

    assert merge() is None
    assert merge("1", "3-4") == {1, 3, 4}
    assert merge("1", "", "2") == {2}
    assert merge("1", "") is None
    assert merge("1", "2,x", "3") == {1, 3}


# --- the types ---


def test_one_notation_cannot_be_taken_for_another(tmp_path):
    """A type checker refuses each parser the text of any other notation, and text of which none is said."""
    parsers = {"parse": "KernelList", "parse_irqbalance": "IrqbalanceList", "parse_systemd": "SystemdList"}
    parsers["parse_irqbalance_mask"] = "IrqbalanceMask"
    kinds = ["str", *parsers.values()]
    calls = [
        f"cpulist.{parser}(cpulist.{kind}(''))".replace("cpulist.str", "str") for parser in parsers for kind in kinds
    ]
    program = tmp_path / "mixed.py"
    program.write_text("from hosttune.host import cpulist\n" + "\n".join(calls) + "\n")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        str(tmp_path),
        program,
    ]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False).stdout.splitlines()
    right = {
        number for number, call in enumerate(calls, 2) if any(f"{p}(cpulist.{k}(" in call for p, k in parsers.items())
    }
    refused = {int(line.split(":")[1]) for line in lines if "[arg-type]" in line}
    assert refused == set(range(2, len(calls) + 2)) - right, textwrap.shorten("\n".join(lines), 2000)
