"""The pool is on the agent's node, and a program really gets pages from it."""

NODE = "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/{}"


def test_each_node_has_what_was_asked_for(text):
    assert int(text(NODE.format(1, "nr_hugepages"))) == 64
    assert int(text(NODE.format(0, "nr_hugepages"))) == 0


def test_a_program_gets_a_huge_page(python):
    free = python(
        "import json, mmap\n"
        "path = '/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages'\n"
        "before = int(open(path).read())\n"
        "area = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)\n"  # MAP_HUGETLB
        "area[0] = area[2 << 20] = 1\n"
        "print(json.dumps([before, int(open(path).read())]))\n"
    )
    assert free[0] - free[1] == 2


def test_transparent_hugepages_are_off(host, text):
    if not host.file("/sys/kernel/mm/transparent_hugepage").exists:  # with PREEMPT_RT the kernel has none
        assert "CONFIG_PREEMPT_RT=y" in text(f"/boot/config-{host.check_output('uname -r')}").splitlines()
        return
    assert "[never]" in text("/sys/kernel/mm/transparent_hugepage/enabled")
