"""The three units are closed, and do their work so; what root keeps from the agent's user, and that user from all."""

import json
import time

import pytest

UNITS = ["trading_agent.service", "hosttune-check.service", "hosttune-irq_affinity.service"]
AGENT = "/opt/trading_agent/current/bin/agent"
# Of inventory/demo; written so that a search does not find itself in the journal.
PASSWORD = "pw-of-[d]emo"


@pytest.fixture(scope="module")
def trading(host):
    """An exchange on the housekeeping CPUs, to whom the agent sends orders for some minutes."""
    assert host.run("timeout 120 systemctl start trading_agent.service").rc == 0
    command = f"{AGENT} exchange --feed generated --messages 30000 --rate 200 --no-spin --cpu 0 --timeout 280"
    assert host.run(f"systemd-run --quiet --collect --unit=exchange-simulator {command}").rc == 0
    before = host.check_output("systemctl show -P InvocationID trading_agent.service")
    limit = time.monotonic() + 120
    while True:
        counters = json.loads(host.check_output(f"{AGENT} stats main --format json"))
        if counters["state"] == "running" and counters["counters"]["orders_sent"]:
            break
        assert time.monotonic() < limit, counters
        time.sleep(2)
    yield
    assert host.check_output("systemctl show -P InvocationID trading_agent.service") == before
    # The agent first: one whose exchange only went away would end, and start again.
    assert host.run("timeout 120 systemctl stop trading_agent.service").rc == 0
    assert host.run("timeout 60 systemctl stop exchange-simulator.service").rc in (0, 5)  # 5: it has ended
    assert host.run("timeout 120 systemctl start trading_agent.service").rc == 0


def test_a_reading_back_that_does_not_hold_is_not_repeated(host):
    """It ends the agent before that has sent anything, once; and nobody who starts it by hand is refused."""
    drop_in = "/run/systemd/system/trading_agent.service.d/hosttune-test.conf"
    wrong = "[Service]\\nExecStartPost=\\nExecStartPost=+/bin/false\\n"
    assert host.run("timeout 60 systemctl stop trading_agent.service").rc == 0
    try:
        assert (
            host.run(f"mkdir -p $(dirname {drop_in}) && printf '{wrong}' >{drop_in} && systemctl daemon-reload").rc == 0
        )
        for _ in range(2):
            assert host.run("timeout 120 systemctl start trading_agent.service").rc != 0
            time.sleep(4)  # RestartSec= is 2 s
            show = "systemctl show -P NRestarts -P ActiveState -P ExecMainStatus trading_agent.service"
            told = host.check_output(f"{show} | paste -sd ' '; {AGENT} stats main --format json")
            said, _, stats = told.partition("\n")
            assert set(said.split()) == {"0", "failed", "2"}
            assert json.loads(stats)["counters"]["orders_sent"] == 0
    finally:
        host.run(f"rm {drop_in}; systemctl daemon-reload")
    assert host.run("timeout 120 systemctl start trading_agent.service").rc == 0


@pytest.mark.parametrize("unit", UNITS)
def test_exposure_while_the_agent_trades(host, trading, unit):
    shown = host.check_output(f"systemd-analyze security --no-pager {unit}").splitlines()[-1]
    assert float(shown.partition(f"{unit}: ")[2].split()[0]) <= 2.0, shown


def test_orders_go_on(host, trading):
    sent = []
    for _ in range(2):
        stats = json.loads(host.check_output(f"{AGENT} stats main --format json"))
        assert stats["state"] == "running"
        sent.append(stats["counters"]["orders_sent"])
        time.sleep(3)
    assert sent[1] > sent[0]


def test_attest_agrees_while_the_agent_trades(host, trading):
    pid = host.check_output("systemctl show -P MainPID trading_agent.service")
    done = host.run(f"hosttune attest {pid}")
    assert done.rc == 0, done.stdout + done.stderr


def test_the_regular_check_says_what_a_check_by_hand_says(host, report):
    by_hand = report()
    done = host.run("timeout 200 systemctl start hosttune-check.service")
    assert done.rc == 0, host.check_output("journalctl -u hosttune-check.service -o cat --no-pager -n 20")
    regular = json.loads(host.check_output("cat /var/lib/hosttune/check/report.json"))
    assert regular["verdict"] == by_hand["verdict"] == "ready"
    wanted = {finding["id"]: finding["status"] for finding in by_hand["findings"]}
    assert {finding["id"]: finding["status"] for finding in regular["findings"]} == wanted


def test_the_interrupts_service_lacks_nothing(host):
    said = host.check_output("journalctl -b -u hosttune-irq_affinity.service -o cat --no-pager")
    assert host.service("hosttune-irq_affinity.service").is_running
    # At boot irqbalance may still have the capabilities that it is about to leave, and cannot be looked into.
    assert not [line for line in said.splitlines() if line.startswith(("failed", "irq_affinity:", "missing"))]
    pid = host.check_output("systemctl show -P MainPID hosttune-irq_affinity.service")
    assert "CapPrm:\t0000000000000000" in host.check_output(f"cat /proc/{pid}/status").splitlines()


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/etc/trading_agent", "root trader 750"),
        ("/etc/trading_agent/agent.toml", "root trader 640"),
        ("/etc/trading_agent/exchange_password", "root root 600"),
        # From systemd 254 on the file is root's, with an access list that names the unit's user.
        ("/run/credentials/trading_agent.service/exchange_password", "trader root 400|root root 440"),
        ("/run/trading_agent", "trader trader 700"),
        ("/run/hosttune", "root root 755"),
        ("/var/lib/trading_agent", "trader trader 750"),
        ("/var/cache/trading_agent", "root root 755"),
        ("/var/cache/trading_agent/$(basename $(readlink /opt/trading_agent/current))", "trader trader 700"),
        ("/var/lib/hosttune/irq_affinity/interrupts", "root root 600"),
    ],
)
def test_owners_and_modes(host, path, wanted):
    assert host.check_output(f"stat -c '%U %G %a' {path}") in wanted.split("|")


def test_programs_are_roots_alone(host):
    found = host.check_output(
        "find /opt/hosttune /opt/trading_agent /usr/local/lib/hosttune ! -type l ! ( -user root ! -perm /022 ) | head"
        .replace("(", "\\(").replace(")", "\\)")
    )  # fmt: skip
    assert found == ""


def test_the_password_reaches_the_agent_and_nobody_else(host, python):
    pid = host.check_output("systemctl show -P MainPID trading_agent.service")
    environment = python(f"import json; print(json.dumps(open('/proc/{pid}/environ').read().split('\\0')))")
    assert "CREDENTIALS_DIRECTORY=/run/credentials/trading_agent.service" in environment
    assert not [variable for variable in environment if "pw-of" in variable]
    for user in ("trader", "nobody"):
        assert host.run(f"runuser -u {user} -- cat /etc/trading_agent/exchange_password").rc != 0
    assert host.run("runuser -u nobody -- ls /run/trading_agent").rc != 0
    assert host.run("runuser -u nobody -- cat /run/credentials/trading_agent.service/exchange_password").rc != 0


def test_the_password_is_in_its_file_and_nowhere_else(host):
    places = (
        "/etc /run /var/log /var/lib/trading_agent /var/cache /var/tmp /tmp /root /home /opt/trading_agent/current/"
    )
    found = host.run(f"grep -rlEs --exclude-dir=journal '{PASSWORD}' {places}").stdout.split()
    assert sorted(found) == [
        "/etc/trading_agent/exchange_password",
        "/run/credentials/trading_agent.service/exchange_password",
    ]
    assert host.run(f"journalctl --no-pager -o export | grep -aE '{PASSWORD}'").stdout == ""
