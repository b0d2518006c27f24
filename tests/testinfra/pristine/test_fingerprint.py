"""Remember what the image has, and that it is not tuned, or nothing that follows would mean anything."""

import json

import pytest


@pytest.fixture(scope="module")
def irqbalance_paused(host):
    """It moves interrupts by itself; until `untouched` has compared them, nobody but the roles could.

    Of the module, as the fingerprint is: pytest would take that one first, and irqbalance could come in between.
    """
    assert host.run("pkill -STOP -x irqbalance").rc == 0


def test_the_image_is_not_tuned(irqbalance_paused, fingerprint, pristine_file):
    pristine_file.write_text(json.dumps(fingerprint))
    assert not any(argument.startswith(("isolcpus=", "nohz_full=")) for argument in fingerprint["cmdline"])
    assert fingerprint["sysctl"]["net.ipv4.tcp_congestion_control"] != "bbr"
    assert not any("hosttune" in path for path in fingerprint["files"])
