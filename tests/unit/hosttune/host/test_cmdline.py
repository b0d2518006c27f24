"""The kernel's reading of a command line, trap by trap."""

import pytest

from hosttune.host import cmdline
from hosttune.host.cmdline import Isolation


def isolation(text: str, last: int | None = 7) -> Isolation:
    return cmdline.resolve_isolation(cmdline.split_arguments(text), last)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("quiet ro", (("quiet", None), ("ro", None))),
        ("a=1 a=2", (("a", "1"), ("a", "2"))),
        ("rcu-nocbs=1", (("rcu_nocbs", "1"),)),
        ('dyndbg="file a +p" b', (("dyndbg", "file a +p"), ("b", None))),
        ('"dyndbg=file a +p" b', (("dyndbg", "file a +p"), ("b", None))),
        ("root=UUID=1-2 x=", (("root", "UUID=1-2"), ("x", ""))),
        ("quiet -- isolcpus=1", (("quiet", None),)),
        ("=x", (("=x", None),)),
        ("  a\t b\n", (("a", None), ("b", None))),
    ],
)
def test_arguments(text, expected):
    assert cmdline.split_arguments(text) == expected


def test_last_value_counts_and_a_bare_name_is_no_value():
    args = cmdline.split_arguments("irqaffinity=0 irqaffinity=0-1 irqaffinity")
    assert cmdline.find_last(args, "irqaffinity") == "0-1"
    assert cmdline.find_last(args, "nohz_full") is None


@pytest.mark.parametrize(
    ("text", "domain", "managed", "nohz"),
    [
        ("isolcpus=2-3", {2, 3}, set(), set()),
        ("isolcpus=domain,managed_irq,2-3", {2, 3}, {2, 3}, set()),
        ("isolcpus=managed_irq,2-3", set(), {2, 3}, set()),
        ("isolcpus=nohz,2", set(), set(), {2}),
        ("isolcpus=future_flag,2", {2}, set(), set()),  # skipped, and then no flag is left: domain
        ("isolcpus=do-main,2", set(), set(), set()),  # illegal character: all of it is dropped
        ("isolcpus=domain2,2", set(), set(), set()),
        ("isolcpus=2-3 isolcpus=4", {2, 3}, set(), set()),  # the first wins
        ("isolcpus=managed_irq,2-3 isolcpus=domain,2-3", {2, 3}, {2, 3}, set()),
        ("isolcpus=2-3 nohz_full=2-3", {2, 3}, set(), {2, 3}),
        ("isolcpus=2-3 nohz_full=3", {2, 3}, set(), {3}),  # other kinds, so nothing contradicts
        ("nohz_full=2 nohz_full=3", set(), set(), {2}),
        ("isolcpus=4-N", {4, 5, 6, 7}, set(), set()),
        ("isolcpus=0-7:1/4", {0, 4}, set(), set()),
        ("isolcpus=3-2", set(), set(), set()),
        ("isolcpus=2-4294967295", set(), set(), set()),
        ("isolcpus=", set(), set(), set()),
        ("isolcpus", set(), set(), set()),
        ("isolcpus=N", set(), set(), set()),  # a letter first is a flag to the kernel, and then no list is left
    ],
)
def test_isolation(text, domain, managed, nohz):
    found = isolation(text)
    assert (set(found.domain), set(found.managed_irq), set(found.nohz)) == (domain, managed, nohz)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("isolcpus=managed_irq,2-3", "without the flag domain"),
        ("isolcpus=2 isolcpus=3", "refuses it"),
        ("isolcpus=x-y,3", "illegal character"),
        ("nohz_full=9-1", "not a list"),
    ],
)
def test_what_the_kernel_ignores_is_said(text, word):
    (remark,) = isolation(text).remarks
    assert word in remark


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("maxcpus=3", 3),
        ("maxcpus=0x10", 16),
        ("maxcpus=010", 8),
        ("maxcpus=0", 1),
        ("maxcpus=x", 1),  # read as 0
        ("maxcpus=", None),
        ("maxcpus=-1", None),
        ("maxcpus=2 maxcpus=8", 8),  # the last counts
        ("nosmp", 1),
        ("maxcpus=8 nosmp", 1),
        ("nosmp maxcpus=8", 8),
        ("nr_cpus=3 nr_cpus=8", 3),  # the smallest counts
        ("nr_cpus=0", None),
        ("nr_cpus=x possible_cpus=4", 4),
        ("nosmt", None),
        ("nosmt=force", None),
    ],
)
def test_how_many_cpus_are_brought_up(text, most):
    for line in (text, cmdline.reduce(text)):
        found = isolation(line)
        assert (found.most, found.single) == (most, text.startswith("nosmt"))


def test_before_linux_5_18_there_is_one_set():
    args = cmdline.split_arguments("nohz_full=2-3 isolcpus=managed_irq,domain,3 isolcpus=domain,2-3")
    found = cmdline.resolve_isolation(args, 7, by_kind=False)
    assert (found.domain, found.managed_irq, found.nohz) == ({2, 3}, set(), {2, 3})
    assert "before Linux 5.18" in found.remarks[0]
    assert cmdline.resolve_isolation(args, 7).domain == {3}
    assert cmdline.resolve_rcu_nocbs(cmdline.split_arguments("isolcpus=3 nohz_full=2"), 7, by_kind=False) == set()


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ("6.1.0-28-amd64", True),
        ("5.18.0", True),
        ("5.15.0-91-generic", False),
        ("5.14.0-362.8.1.el9_3.x86_64", None),
        ("6.12.0-55.el10.x86_64", True),
        ("5.14.21-150500.55.19-default", None),
        ("", None),
    ],
)
def test_which_kernels_have_a_set_for_each_kind(release, told):
    assert cmdline.has_set_for_each_kind(release) is told


def test_n_needs_the_number_of_cpus():
    with pytest.raises(ValueError, match="last CPU"):
        isolation("isolcpus=2-N", None)
    assert isolation("isolcpus=2-3", None).domain == {2, 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("rcu_nocbs=2-3", {2, 3}),
        ("rcu_nocbs=2 rcu_nocbs=3", {3}),  # the last wins
        ("nohz_full=2-3", {2, 3}),  # implied
        ("rcu_nocbs=1 nohz_full=3", {1, 3}),
        ("rcu_nocbs=nonsense", set(range(8))),  # a list it cannot read means all
    ],
)
def test_rcu_nocbs(text, expected):
    assert cmdline.resolve_rcu_nocbs(cmdline.split_arguments(text), 7) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quiet", None),
        ("irqaffinity=0-1", {0, 1}),
        ("irqaffinity=2-3", {0, 2, 3}),  # the kernel adds the CPU on which it boots
        ("irqaffinity=1 irqaffinity=2", {0, 2}),
        ("irqaffinity=1,2,x,3", {0, 1, 2}),  # it takes what stands before the fault
        ("irqaffinity=x", {0}),
    ],
)
def test_where_interrupts_start(text, expected):
    for line in (text, cmdline.reduce(text)):
        assert cmdline.resolve_irqaffinity(cmdline.split_arguments(line), 7) == expected


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("sysctl.net.core.somaxconn=4096", "sysctl.net.core.somaxconn=4096"),
        ("sysctl/kernel/sched_rt_runtime_us=-1", "sysctl/kernel/sched_rt_runtime_us=-1"),
        ('sysctl.net.ipv4.tcp_rmem="4096 8192 16384"', 'sysctl.net.ipv4.tcp_rmem="4096 8192 16384"'),
        ("sysctl.net.ipv4.tcp_fastopen_key=0b1c-secret", "sysctl.net.ipv4.tcp_fastopen_key=..."),
        ("sysctl.kernel.core_pattern=secret sysctl=1 sysctlx.net.core.somaxconn=1", ""),
        ("sysctl.net.sec{ret=1", ""),
    ],
)
def test_of_sysctls_numbers_are_kept(text, kept):
    assert cmdline.reduce(text) == kept


def test_the_key_of_a_sysctl_keeps_its_dashes():
    names = [name for name, _ in cmdline.split_arguments("sysctl.net.bridge.bridge-nf-call-iptables=0 rcu-nocbs=1")]
    assert names == ["sysctl.net.bridge.bridge-nf-call-iptables", "rcu_nocbs"]
    assert cmdline.find_sysctl(names[0]) == "net/bridge/bridge-nf-call-iptables"
    assert cmdline.find_sysctl("sysctl/net//core.somaxconn") == "net/core/somaxconn"
    assert cmdline.find_sysctl(names[1]) == ""


def test_a_list_with_a_cpu_that_cannot_be_is_dropped():
    found = isolation("isolcpus=domain,2-9 nohz_full=2-3")
    assert (found.domain, found.nohz) == (set(), {2, 3})
    assert found.remarks[0].startswith("isolcpus=domain,2-9: not a list of CPUs that this host can have")


def test_all_cpus_leave_the_one_that_boots():
    assert isolation("isolcpus=0-7").domain == set(range(1, 8))
    assert isolation("nohz_full=0-3").nohz == {1, 2, 3}


def test_a_kernel_without_nohz_full_drops_what_asks_for_it():
    args = cmdline.split_arguments("isolcpus=nohz,domain,2 isolcpus=domain,3")
    assert cmdline.resolve_isolation(args, 7, has_nohz=False).domain == {3}


def test_what_is_a_space_to_the_kernel():
    assert cmdline.split_arguments("a\x0bb\u2003c") == (("a", None), ("b\u00e2\u0080\u0083c", None))
