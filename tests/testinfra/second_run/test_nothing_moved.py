"""A second run of the playbook neither rebooted the host nor restarted the agent."""


def test_same_boot_and_same_agent(host, text):
    assert host.file("/run/hosttune-test-boot").exists, "the host was rebooted (or `tuned` did not run before)"
    assert text("/run/hosttune-test-boot") == host.check_output("systemctl show -P InvocationID trading_agent.service")
