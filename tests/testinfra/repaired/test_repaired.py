"""What was broken by hand is as the profile says, by the check that named each break; and the agent runs on it."""


def test_the_check_has_nothing_to_name(report):
    shown = report()
    assert not {f["id"]: f for f in shown["findings"] if f["status"] not in ("pass", "na", "warn")}
    assert shown["verdict"] == "ready"


def test_the_agent_is_as_it_was_launched(host):
    # The reboot has started it; this waits until it is ready.
    assert host.run("timeout 120 systemctl start trading_agent.service").rc == 0
    pid = host.check_output("systemctl show -P MainPID trading_agent.service")
    done = host.run(f"hosttune attest {pid}")
    assert done.rc == 0, done.stdout + done.stderr
