from hosttune import capture, profile
from hosttune.host.root import Tree


def test_a_snapshot_holds_what_other_profiles_ask_for(tree):
    root = Tree(
        tree(
            {
                "/proc/sys/net/ipv4/tcp_sack": "1\n",
                "/proc/sys/net/core/netdev_rss_key": "SECRET\n",
                "/sys/devices/system/node/node3/hugepages/hugepages-2048kB/nr_hugepages": "5\n",
                "/etc/hosttune/profile.d/x.yml": "tcp_bbr: {qdisc: fq}\n",
            }
        )
    )
    data = capture.take_snapshot(root, profile.load_text("tcp_bbr: {qdisc: fq}", "p.yml"))
    read = data.moments[0].read
    assert read["/proc/sys/net/ipv4/tcp_sack"].value == "1\n"
    assert read["/sys/devices/system/node/node3/hugepages/hugepages-2048kB/nr_hugepages"].value == "5\n"
    assert read["/etc/hosttune/profile.d/x.yml"].value.startswith("tcp_bbr")
    assert "SECRET" not in str(data)


def test_a_check_that_raises_does_not_stop_the_snapshot(host, monkeypatch):
    from hosttune.checks import tcp_bbr

    def boom(*_):
        raise RuntimeError

    monkeypatch.setattr(tcp_bbr, "facts", boom)
    data = capture.take_snapshot(host({"/proc/cmdline": "quiet"}), profile.load_built_in())
    assert data.moments[0].read["/proc/cmdline"].value == "quiet"


def test_a_second_moment_for_all_that_watch(host):
    files = {"/proc/interrupts": "           CPU0\nLOC:  1  Local timer interrupts\n"}
    later = {"/proc/interrupts": "           CPU0\nLOC:  9  Local timer interrupts\n"}
    root = host(files, later_files=later)
    data = capture.take_snapshot(root, profile.load_text("tcp_bbr: {qdisc: fq}", "p.yml"), observe=3.0)
    first, second = data.moments
    assert data.seconds == 3.0
    assert first.read["/proc/interrupts"].value != second.read["/proc/interrupts"].value
