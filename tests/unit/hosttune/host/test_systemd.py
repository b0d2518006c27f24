"""Units and manager settings from files alone: precedence, resets, masks, what boot starts."""

import pytest

from hosttune.host import dropins, systemd
from hosttune.host.root import Tree

ETC, LIB = "/etc/systemd/system", "/usr/lib/systemd/system"


def affinity(host):
    return systemd.list_values(systemd.read_manager(host).value, "Manager", "CPUAffinity")


def test_syntax():
    text = "# c\n; c\n[Service]\nExecStart=/bin/a \\\n  --b\nUser = x\nEnvironment=A=1\nnonsense\n[Install]\nUser=y\n"
    found = systemd.parse(text, "f")
    assert [(s.section, s.key, " ".join(s.value.split())) for s in found] == [
        ("Service", "ExecStart", "/bin/a --b"),
        ("Service", "User", "x"),
        ("Service", "Environment", "A=1"),
        ("Install", "User", "y"),
    ]


def test_manager_settings_add_up_in_the_order_of_file_names(fake_host):
    host = fake_host(
        {
            "/etc/systemd/system.conf": "[Manager]\nCPUAffinity=7\n",
            "/usr/lib/systemd/system.conf": "[Manager]\nCPUAffinity=9\n",  # hidden by the one in /etc
            "/usr/lib/systemd/system.conf.d/10.conf": "[Manager]\nCPUAffinity=\nCPUAffinity=0\n",
            "/etc/systemd/system.conf.d/20.conf": "[Manager]\nCPUAffinity=1\n",
            "/etc/systemd/system.conf.d/note.txt": "[Manager]\nCPUAffinity=5\n",
            "/run/systemd/system.conf.d/90.conf": "[Manager]\nCPUAffinity=6\n",  # gone at the next boot
        }
    )
    assert affinity(host) == ["0", "1"]


def test_a_drop_in_hides_its_namesake_and_dev_null_masks_it(fake_host):
    host = fake_host({"/usr/lib/systemd/system.conf.d/a.conf": "[Manager]\nCPUAffinity=3\n"})
    assert affinity(host) == ["3"]
    host.links["/etc/systemd/system.conf.d/a.conf"] = "/dev/null"
    assert affinity(host) == []


@pytest.mark.parametrize(
    "path", ["/etc/systemd/system.conf", "/etc/systemd/system.conf.d", "/etc/systemd/system.conf.d/a.conf"]
)
def test_an_unreadable_part_makes_the_manager_unreadable(fake_host, path):
    host = fake_host({"/etc/systemd/system.conf.d/a.conf": ""}).deny(path)
    fact = systemd.read_manager(host)
    assert (fact.state, fact.reason, fact.source) == ("unreadable", "EACCES", path)


def test_unit(fake_host):
    host = fake_host(
        {
            f"{LIB}/x.service": "[Service]\nExecStart=/a\nEnvironment=A=1\n",
            f"{LIB}/x.service.d/50.conf": "[Service]\nEnvironment=B=2\n",
            f"{ETC}/x.service.d/60.conf": "[Service]\nExecStart=\nExecStart=/b\n",
        }
    )
    unit = systemd.read_unit(host, "x.service").value
    assert (unit.state, unit.started) == ("installed", False)
    assert unit.values("Service", "ExecStart") == ["/b"]
    assert unit.values("Service", "Environment") == ["A=1", "B=2"]
    host.links[f"{ETC}/multi-user.target.wants/x.service"] = f"{LIB}/x.service"
    assert systemd.read_unit(host, "x.service").value.started


def test_masked_units(fake_host):
    host = fake_host({f"{LIB}/x.service": "[Service]\n", f"{ETC}/y.service": ""})
    host.links[f"{ETC}/x.service"] = "/dev/null"
    assert systemd.read_unit(host, "x.service").value.state == "masked"
    assert systemd.read_unit(host, "y.service").value.state == "masked"


def test_a_unit_that_is_not_there_may_have_drop_ins_already(fake_host):
    assert systemd.read_unit(fake_host(), "x.service").value.state == "absent"
    host = fake_host({f"{ETC}/x.service.d/a.conf": "[Service]\nLimitNICE=-5\n"})
    unit = systemd.read_unit(host, "x.service").value
    assert unit.state == "absent"
    assert unit.values("Service", "LimitNICE") == ["-5"]


@pytest.mark.parametrize("path", [ETC, f"{ETC}/a.wants", f"{ETC}/x.service", f"{ETC}/x.service.d"])
def test_an_unreadable_part_makes_the_unit_unreadable(fake_host, path):
    host = fake_host({f"{ETC}/x.service": "[Service]\n", f"{ETC}/a.wants/y": "", f"{ETC}/x.service.d/a.conf": ""})
    assert systemd.read_unit(host.deny(path), "x.service").state == "unreadable"


def test_local_services(fake_host):
    host = fake_host(
        {
            f"{ETC}/a.service": "[Service]\n",
            f"{ETC}/b.service.d/x.conf": "[Service]\n",
            f"{LIB}/b.service": "[Service]\nUser=u\n",
            f"{LIB}/c.service": "[Service]\n",
        }
    )
    host.links[f"{ETC}/alias.service"] = f"{LIB}/c.service"
    found = {unit.name: unit.values("Service", "User") for unit in systemd.read_local_services(host).value}
    assert found == {"a.service": [], "b.service": ["u"]}
    assert systemd.read_local_services(host.deny(ETC)).state == "unreadable"


def test_a_captured_tree_holds_the_listings_that_it_holds(tmp_path):
    """Missing from a listing that was captured is absent; without the listing nobody can tell."""
    (tmp_path / "etc/systemd").mkdir(parents=True)
    tree = Tree(str(tmp_path))
    assert dropins.read_text(tree, "/etc/systemd/system.conf").state == "absent"
    assert dropins.list_names(tree, "/etc/systemd/system.conf.d").state == "absent"
    assert dropins.read_text(tree, "/usr/lib/systemd/system.conf").state == "unreadable"
    assert systemd.read_manager(tree).state == "unreadable"
