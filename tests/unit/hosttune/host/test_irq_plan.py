"""Which CPUs an interrupt shall go to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosttune.host import irq_plan

CPUS = st.frozensets(st.integers(0, 64))


@pytest.mark.parametrize(
    ("actions", "number"),
    [
        ("eth0-rxtx-3", 3),
        ("eth0-TxRx-08", 8),
        ("virtio0-input.3", 3),
        ("mlx5_comp12@pci:0000:01:00.0", 12),
        ("eth0", 0),
        ("ena-mgmnt@pci:0000:00:05.0", 0),
        ("", 0),
        ("eth0-rx-²", 0),
    ],
)
def test_queue_number(actions, number):
    assert irq_plan.parse_queue_number(actions) == number


def test_queue_n_gets_the_nth_cpu_over_and_over():
    assert [irq_plan.choose_queue_cpu(f"eth0-rxtx-{queue}", (3, 1, 2)) for queue in range(5)] == [3, 1, 2, 3, 1]


def test_queues_are_told_from_the_cards_other_interrupts():
    actions = {30: "virtio0-config", 31: "virtio0-input.0", 32: "virtio0-output.0", 33: "", 40: "nvme0q1"}
    assert irq_plan.find_queue_irqs("eth0", {30, 31, 32, 33, 34}, actions) == [31, 32]
    # The only interrupt that is in use carries everything, whatever its name.
    assert irq_plan.find_queue_irqs("eth0", {30, 33}, actions) == [30]
    assert irq_plan.find_queue_irqs("eth0", (), actions) == []


@pytest.mark.parametrize(
    ("msi", "line", "numbers"),
    [
        (["31", "32", "power"], "10\n", {31, 32}),
        ([], "10\n", {10}),
        ([], "0\n", set()),
        ([], "", set()),
        ([], "none", set()),
    ],
)
def test_interrupts_of_a_device(msi, line, numbers):
    assert irq_plan.find_device_irqs(msi, line) == numbers


@pytest.mark.parametrize("name", ["eth0", "enp3s0f0np0", "bond0.100", "a" * 15])
def test_names_of_interfaces(name):
    irq_plan.check_interface(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\tb", "eth0:1", "a" * 16, "ä" * 8])
def test_what_is_no_name_of_an_interface(name):
    with pytest.raises(ValueError, match="is not the name of a network interface"):
        irq_plan.check_interface(name)


@given(CPUS, CPUS, st.none() | st.integers(0, 64))
def test_after_a_move_there_is_none_left(found, housekeeping, queue):
    wanted = irq_plan.choose_affinity(found, housekeeping, queue)
    if wanted is None:
        assert found and (found == {queue} if queue is not None else found <= housekeeping)
    else:
        assert wanted == (housekeeping if queue is None else {queue})
        assert not wanted or irq_plan.choose_affinity(wanted, housekeeping, queue) is None


@given(CPUS, CPUS)
def test_irqbalance_gets_housekeeping_and_nothing_else(possible, housekeeping):
    banned = irq_plan.find_banned_cpus(possible, housekeeping)
    assert not banned & housekeeping and banned | housekeeping >= possible
