"""Leave a mark that only this boot and this start of the agent match; `second_run` looks for it."""


def test_mark(host):
    assert host.run("systemctl show -P InvocationID trading_agent.service >/run/hosttune-test-boot").rc == 0
    assert host.file("/run/hosttune-test-boot").content_string.strip()
