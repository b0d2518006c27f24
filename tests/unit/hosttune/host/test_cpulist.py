import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.host import cpulist

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
        (" (null)\n", set()),
        ("2,,3", {2, 3}),
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
        ("0-7:0/2", "USED/GROUP"),
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


@given(CPUS)
def test_show_and_parse_are_inverse(cpus):
    assert cpulist.parse(cpulist.show(cpus)) == cpus


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
