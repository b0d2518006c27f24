"""`hosttune check` agrees with the kernel: ready, and with no finding left to explain away."""


def test_ready(report):
    shown = report()
    bad = {f["id"]: f for f in shown["findings"] if f["status"] not in ("pass", "na", "warn")}
    assert not bad
    assert shown["verdict"] == "ready"
    assert {"net_buffers", "tcp_bbr", "hugepages", "irq_affinity", "cpu_isolation", "rt_limits"} <= {
        f["id"].partition(".")[0] for f in shown["findings"] if f["status"] == "pass"
    }
