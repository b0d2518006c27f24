"""`--check` on a host that was never tuned changes nothing."""

import json

import pytest


@pytest.fixture
def irqbalance_resumed(host):
    """Paused since `pristine`."""
    yield
    assert host.run("pkill -CONT -x irqbalance").rc == 0


def test_nothing_changed(irqbalance_resumed, fingerprint, pristine_file):
    pristine = json.loads(pristine_file.read_text())
    assert fingerprint == pristine


def test_nothing_was_installed(host):
    for path in ("/opt/hosttune", "/opt/trading_agent", "/etc/hosttune", "/var/lib/hosttune"):
        assert not host.file(path).exists, path
