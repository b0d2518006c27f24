import pytest

from hosttune.host import hugepages, hugetlb
from hosttune.host.root import Tree


@pytest.mark.parametrize(("text", "kb"), [("2M", 2048), ("1G", 1 << 20), ("64K", 64)])
def test_sizes(text, kb):
    assert hugetlb.parse_size(text) == kb


@pytest.mark.parametrize("text", ["", "2", "0M", "2MB", "2m", "M", "-2M", "2 M"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="such as 2M"):
        hugetlb.parse_size(text)


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
