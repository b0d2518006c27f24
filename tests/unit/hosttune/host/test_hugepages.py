import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.host import cmdline, hugepages, hugetlb
from hosttune.host.hugepages import Request
from hosttune.host.root import Tree


@pytest.mark.parametrize(("text", "kb"), [("2M", 2048), ("1G", 1 << 20), ("64K", 64)])
def test_sizes(text, kb):
    assert hugetlb.parse_size(text) == kb


@pytest.mark.parametrize("text", ["", "2", "0M", "2MB", "2m", "M", "-2M", "2 M"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="such as 2M"):
        hugetlb.parse_size(text)


@pytest.mark.parametrize(
    ("line", "requests"),
    [
        ("quiet", {}),
        ("hugepages=64", {2048: Request(64)}),
        ("hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512", {1 << 20: Request(4), 2048: Request(512)}),
        ("default_hugepagesz=1G hugepages=4", {1 << 20: Request(4)}),
        ("hugepages=4 default_hugepagesz=1G", {1 << 20: Request(4)}),
        ("hugepagesz=2M hugepages=0:512,1:8", {2048: Request(nodes={0: 512, 1: 8})}),
        ("hugepagesz=2m hugepages=1", {2048: Request(1)}),
        ("hugepagesz=2097152 hugepages=1", {2048: Request(1)}),
        ("hugepages=many hugepagesz=1G hugepages=0:x", {}),
        ("quiet -- hugepages=64", {}),
    ],
)
def test_what_a_boot_line_asks_for(line, requests):
    assert hugepages.parse_requests(cmdline.split_arguments(line), 2048) == requests


def test_without_a_known_default_size_a_plain_count_says_nothing():
    assert hugepages.parse_requests(cmdline.split_arguments("hugepages=64"), None) == {}


@given(st.integers(0, 10_000), st.frozensets(st.integers(0, 63), min_size=1, max_size=8))
def test_a_total_is_spread_evenly_and_nothing_is_lost(total, nodes):
    counts = [Request(total).count_on(node, nodes) for node in sorted(nodes)]
    assert sum(counts) == total
    assert max(counts) - min(counts) <= 1


def test_the_word_in_brackets():
    assert hugepages.parse_chosen("always [madvise] never\n") == "madvise"
    with pytest.raises(ValueError, match="no word in brackets"):
        hugepages.parse_chosen("always madvise never")


def test_a_kernel_without_numa(host):
    files = {f"/sys/kernel/mm/hugepages/hugepages-2048kB/{name}_hugepages": "3\n" for name in ("nr", "free", "surplus")}
    assert hugepages.read_pool(host(files), 2048, 0).reserved.value == 3
    assert hugepages.read_pool(host(files), 2048, 1).reserved.state == "absent"
    assert hugepages.read_nodes(host(files)).value == {0}


def test_a_captured_directory_is_complete(tree):
    root = Tree(tree({"/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages": "3\n"}))
    assert hugepages.read_pool(root, 2048, 0).reserved.value == 3
    assert hugepages.read_pool(root, 2048, 0).free.state == "unreadable"
    assert hugepages.read_pool(root, 2048, 1).reserved.state == "absent"
    assert hugepages.read_pool(root, 1 << 20, 0).reserved.state == "absent"
    assert hugepages.read_transparent(root).state == "unreadable"
