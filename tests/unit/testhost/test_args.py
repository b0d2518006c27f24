"""What is asked for → arguments of QEMU, mmdebstrap and ssh. Nothing is started here."""

import shlex
from pathlib import Path

import pytest

from testhost import image, ssh
from testhost.errors import UsageError
from testhost.inventory import ansible, ssh_config
from testhost.systems import System
from testhost.topology import Topology, driver_queues, machine_args, network_args, qemu_args, snapshot_recipe


def after(args: list[str], option: str) -> list[str]:
    return [args[i + 1] for i, arg in enumerate(args) if arg == option]


def build(topology: Topology, **changes: object) -> list[str]:
    values = {"accel": "tcg", "grub": "g", "port": 22001, "open_network": False, "qmp_fd": 5, "loadvm": None}
    return qemu_args(topology, **{**values, **changes})  # type: ignore[arg-type]


def test_memory_and_cpus_are_split_over_the_nodes() -> None:
    args = machine_args(Topology(cpus=8, memory=4096, numa=2), "tcg")
    assert after(args, "-smp") == ["8,sockets=2,cores=4,threads=1"]
    assert after(args, "-m") == ["4096"]
    assert after(args, "-object") == ["memory-backend-ram,id=ram0,size=2048M", "memory-backend-ram,id=ram1,size=2048M"]
    assert "node,nodeid=0,cpus=0-3,memdev=ram0" in after(args, "-numa")
    assert "node,nodeid=1,cpus=4-7,memdev=ram1" in after(args, "-numa")


def test_every_pair_of_nodes_has_a_distance() -> None:
    numa = after(machine_args(Topology(cpus=4, memory=4096, numa=4), "tcg"), "-numa")
    distances = [entry for entry in numa if entry.startswith("dist")]
    assert len(distances) == 16
    assert "dist,src=2,dst=2,val=10" in distances and "dist,src=0,dst=3,val=21" in distances


def test_kvm_uses_the_hosts_cpu_and_tcg_has_threads() -> None:
    assert after(machine_args(Topology(), "kvm"), "-accel") == ["kvm"]
    assert after(machine_args(Topology(), "kvm"), "-cpu") == ["host"]
    assert "thread=multi" in after(machine_args(Topology(), "tcg"), "-accel")[0]


def test_only_the_first_nic_is_forwarded_and_the_guest_is_shut_in() -> None:
    args = network_args(Topology(nics=3), 22001, False)
    netdevs = after(args, "-netdev")
    assert [("hostfwd" in netdev) for netdev in netdevs] == [True, False, False]
    assert "hostfwd=tcp:127.0.0.1:22001-:22" in netdevs[0]
    assert all("restrict=on" in netdev for netdev in netdevs)
    assert len({device.split("mac=")[1] for device in after(args, "-device")}) == 3
    assert all("restrict=off" in netdev for netdev in after(network_args(Topology(), 1, True), "-netdev"))


def test_reset_ends_the_process_and_loadvm_is_last() -> None:
    assert "reboot=shutdown" in after(build(Topology()), "-action")[0]
    assert "-loadvm" not in build(Topology())
    assert build(Topology(), loadvm="t")[-2:] == ["-loadvm", "t"]


def test_a_saved_state_fits_every_host_of_the_topology_and_no_other() -> None:
    def recipe(topology: Topology, accel: str = "tcg") -> list[str]:
        return list(snapshot_recipe(topology, accel=accel, open_network=False))

    assert recipe(Topology()) == recipe(Topology(queues=4))
    different = [Topology(cpus=2), Topology(memory=2048), Topology(numa=1), Topology(nic="virtio"), Topology(nics=2)]
    assert len({tuple(recipe(topology)) for topology in [Topology(), *different]}) == 6
    assert recipe(Topology()) != recipe(Topology(), "kvm")


@pytest.mark.parametrize(
    ("nic", "cpus", "queues"),
    [("vmxnet3", 1, 1), ("vmxnet3", 3, 2), ("vmxnet3", 4, 4), ("vmxnet3", 16, 8), ("virtio", 4, 1)],
)
def test_queues_are_those_that_the_driver_opens(nic: str, cpus: int, queues: int) -> None:
    assert driver_queues(nic, cpus) == queues
    assert Topology(cpus=cpus, numa=1, nic=nic).queues == queues


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cpus": 0}, "--cpus 0: allowed is 1 to 64"),
        ({"cpus": 3}, "divide evenly over the nodes"),
        ({"numa": 0}, "--numa 0"),
        ({"memory": 3073}, "divide evenly"),
        ({"memory": 100, "numa": 1}, "at least 512 MiB"),
        ({"nic": "e1000"}, "--nic e1000: allowed is vmxnet3, virtio"),
        ({"nics": 9}, "--nics 9: allowed is 1 to 8"),
        ({"nic": "virtio", "queues": 4}, "use --nic vmxnet3"),
        ({"queues": 3}, "opens 4 on 4 CPUs"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        Topology(**wrong)  # type: ignore[arg-type]
    assert caught.value.status == 2


def test_mmdebstrap_runs_in_a_namespace_unless_root(tmp_path: Path) -> None:
    def argv(root: bool) -> list[str]:
        return image.mmdebstrap_argv(
            system=System(), root=root, sources=["deb [signed-by=/k] http://m bookworm main"],
            settings=['Acquire::Retries "3";'], target=tmp_path / "t.tar", root_uuid="u-1",
            public_key="ssh-ed25519 AAAA c", host_key=tmp_path / "k",
        )  # fmt: skip

    assert "--mode=root" in argv(True) and "--mode=unshare" in argv(False)
    assert argv(True)[-3:] == ["bookworm", str(tmp_path / "t.tar"), "deb [signed-by=/k] http://m bookworm main"]
    assert '--aptopt=Acquire::Retries "3"' in argv(True)
    # Nothing may switch the verification of packages off.
    assert not [word for word in argv(True) if "allow-insecure" in word.lower() or "trusted" in word.lower()]
    assert "openssh-server" in next(word for word in argv(True) if word.startswith("--include=")).split(",")


def test_the_guest_has_no_trader() -> None:
    assert "trader" not in "".join(file.read_text() for file in image.GUEST.glob("*.sh"))


def test_image_key_follows_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.recipe_key(image.recipe(System()))
    assert before == image.recipe_key(image.recipe(System()))
    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, "strace"))
    assert image.recipe_key(image.recipe(System())) != before


def test_ssh_ignores_the_users_configuration_and_keeps_words_apart(tmp_path: Path) -> None:
    access = ssh.Access(22001, tmp_path / "id", tmp_path / "known")
    argv = access.argv("root", ["echo", "two words", "$HOME"])
    assert argv[:3] == ["ssh", "-F", "none"]
    assert "StrictHostKeyChecking=yes" in argv and f"UserKnownHostsFile={tmp_path}/known" in argv
    assert shlex.split(argv[-1]) == ["echo", "two words", "$HOME"]
    assert access.argv("ops")[-1] == "ops@127.0.0.1"


def test_inventory_and_ssh_config_are_literal(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    accesses = {
        name: ssh.Access(port, tmp_path / name, tmp_path / "known") for name, port in (("a", 22001), ("b", 22002))
    }
    hosts = yaml.safe_load(ansible(accesses, "trading", "ops"))["trading"]["hosts"]
    assert hosts["b"]["ansible_port"] == 22002 and hosts["a"]["ansible_user"] == "ops"
    assert hosts["a"]["ansible_ssh_private_key_file"] == str(tmp_path / "a")
    assert "{{" not in str(hosts)
    text = ssh_config("a", accesses["a"], "root")
    assert text.startswith("Host a\n") and f"IdentityFile {tmp_path}/a" in text


def test_known_hosts_names_the_port() -> None:
    assert ssh.known_hosts_line(22001, "ssh-ed25519 AAAA comment") == "[127.0.0.1]:22001 ssh-ed25519 AAAA\n"
