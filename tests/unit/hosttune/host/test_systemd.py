"""Units and manager settings from files alone: precedence, resets, masks, what boot starts."""

import pytest

from hosttune.host import limits, systemd, systemd_lines
from hosttune.host.root import NOT_CAPTURED, Tree

ETC, LIB = "/etc/systemd/system", "/usr/lib/systemd/system"


def affinity(host):
    return systemd_lines.list_values(systemd.read_manager(host).value, "Manager", "CPUAffinity")


def test_syntax():
    text = "# c\n; c\n[Service]\nExecStart=/bin/a \\\n  --b\nUser = x\nEnvironment=A=1\nnonsense\n[Install]\nUser=y\n"
    found = systemd_lines.parse(text, "f")
    assert [(s.section, s.key, " ".join(s.value.split())) for s in found] == [
        ("Service", "ExecStart", "/bin/a --b"),
        ("Service", "User", "x"),
        ("Service", "Environment", "A=1"),
        ("Install", "User", "y"),
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[Service]\nUser=a \\\nb\n", ["a  b"]),
        ("[Service]\nUser=a\\ \n", ["a\\"]),  # a blank after the backslash: not continued
        ("[Service]\nUser=a\\\\\nUser=b\n", ["a\\\\", "b"]),
        ("[Service]\nUser=\\\n# no\na\n", ["a"]),
        ("[Service]\nUser=a\\\n\nUser=b\n", ["a", "b"]),
        ("[Service]\nUser=a\\", ["a"]),
        ("[Service]\rUser=a\r\nUser=b\0User=c", ["a", "b", "c"]),
        ("[Service]\n[Install\nUser=a\n", []),  # nothing after a broken header counts
        ("User=a\n[Service]\n=b\nUser\n", []),
        ("\ufeff[Service]\nUser=a\n", ["a"]),
        (" [Service] \n\tUser = a \n", ["a"]),
        ("[Service]\nUser=a\u2028User=b\n", ["a\u2028User=b"]),
    ],
)
def test_lines(text, values):
    assert [each.value for each in systemd_lines.parse(text, "f") if each.key == "User"] == values


def test_limits_are_not_changed_by_what_systemd_ignores():
    def find(*lines):
        settings = systemd_lines.parse("[Service]\n" + "".join(f"LimitMEMLOCK={line}\n" for line in lines), "f")
        found = limits.find_limit(settings, "Service", "memlock")
        return found.limit and found.limit.hard, found.ignored and found.ignored.value

    assert find() == (None, None)
    assert find("1", "2") == (2, None)
    assert find("1", "") == (1, "")
    assert find("1", "much") == (1, "much")
    assert find("much", "1") == (1, None)
    assert find("much", "") == (None, "")


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
    assert tree.read("/etc/systemd/system.conf").state == "absent"
    assert tree.list("/etc/systemd/system.conf.d").state == "absent"
    assert tree.read("/usr/lib/systemd/system.conf").state == "unreadable"
    assert systemd.read_manager(tree).state == "unreadable"


@pytest.mark.parametrize(
    ("unit", "directory"),
    [
        ("agent.service", "service.d"),
        ("agent.service", "agent.service.d"),
        ("agent-ldn.service", "agent-.service.d"),
        ("a-b-c.service", "a-.service.d"),
        ("agent@ldn.service", "agent@.service.d"),
        ("agent@ldn.service", "agent@ldn.service.d"),
        ("a-b@x.service", "a-@x.service.d"),
        ("agent.service", "also.service.d"),
    ],
)
@pytest.mark.parametrize("top", [ETC, "/usr/local/lib/systemd/system", LIB])
def test_where_drop_ins_of_a_unit_are(fake_host, unit, directory, top):
    host = fake_host({f"{ETC}/{unit}": "[Service]\nUser=a\n", f"{top}/{directory}/x.conf": "[Service]\nUser=b\n"})
    host.links[f"{ETC}/also.service"] = "agent.service"
    assert systemd.read_unit(host, unit).value.values("Service", "User") == ["a", "b"]


def test_the_more_specific_of_two_drop_ins_with_one_name(fake_host):
    names = ["service.d", "a-.service.d", "a-b.service.d"]
    files = {f"{ETC}/{name}/x.conf": f"[Service]\nUser={name}\n" for name in names}
    host = fake_host({f"{LIB}/a-b.service": "[Service]\n", **files})
    assert systemd.read_unit(host, "a-b.service").value.values("Service", "User") == ["a-b.service.d"]


def test_what_is_in_run_counts_now_and_not_after_the_next_boot(fake_host):
    host = fake_host(
        {
            f"{ETC}/x.service": "[Service]\nUser=a\n",
            "/run/systemd/system/x.service.d/x.conf": "[Service]\nUser=b\n",
            "/run/systemd/system/y.service": "[Service]\nUser=a\n",
        }
    )
    assert systemd.read_unit(host, "x.service").value.values("Service", "User") == ["a"]
    assert systemd.read_unit(host, "x.service", now=True).value.values("Service", "User") == ["a", "b"]
    assert [unit.name for unit in systemd.read_services(host).value] == ["x.service"]
    assert [unit.name for unit in systemd.read_services(host, now=True).value] == ["x.service", "y.service"]


def test_services_of_vendors_links_and_templates(fake_host):
    host = fake_host(
        {
            f"{LIB}/vendor.service": "[Service]\n",
            f"{ETC}/agent@.service": "[Service]\nUser=%i\n",
            f"{ETC}/plain@.service": "[Service]\n",
            "/opt/linked.service": "[Service]\nUser=l\n",
            f"{ETC}/service.d/x.conf": "[Service]\n",
            f"{ETC}/a-.service.d/x.conf": "[Service]\n",
        }
    )
    host.links[f"{ETC}/linked.service"] = "/opt/linked.service"
    host.links[f"{ETC}/alias.service"] = "vendor.service"
    host.links[f"{ETC}/masked.service"] = "/dev/null"
    host.links[f"{ETC}/multi-user.target.wants/agent@ldn.service"] = f"{ETC}/agent@.service"
    found = {unit.name: unit for unit in systemd.read_services(host).value}
    assert list(found) == ["agent@ldn.service", "linked.service", "plain@.service", "vendor.service"]
    assert found["agent@ldn.service"].started
    assert found["linked.service"].values("Service", "User") == ["l"]
    assert systemd.expand("%i", "agent@ldn.service") == "ldn"
    assert systemd.expand("%p-%i%%%u", "agent@ldn.service") == "agent-ldn%%u"
    host.links[f"{ETC}/multi-user.target.wants/alias.service"] = f"{ETC}/alias.service"
    assert systemd.read_unit(host, "vendor.service").value.started


def test_a_drop_in_that_leads_nowhere_says_nothing(fake_host):
    host = fake_host({f"{ETC}/x.service": "[Service]\nUser=a\n"})
    host.links[f"{ETC}/x.service.d/a.conf"] = "gone"
    assert systemd.read_unit(host, "x.service").value.values("Service", "User") == ["a"]


def test_a_link_into_run_says_nothing_at_the_next_boot(fake_host):
    files = {"/run/x": "[Service]\nUser=b\n", f"{ETC}/x.service": "[Service]\nUser=a\n"}
    host = fake_host(files)
    host.links[f"{ETC}/x.service.d/a.conf"] = "/run/x"
    host.links[f"{ETC}/y.service"] = "/run/x"
    assert systemd.read_unit(host, "x.service").value.values("Service", "User") == ["a"]
    assert systemd.read_unit(host, "x.service", now=True).value.values("Service", "User") == ["a", "b"]
    assert systemd.read_unit(host, "y.service").value.values("Service", "User") == []
    assert systemd.read_unit(host, "y.service", now=True).value.values("Service", "User") == ["b"]


def test_the_last_assignment_counts():
    settings = systemd_lines.parse("[Service]\nUser=a\nUser=b\nGroup=c\n[Unit]\nUser=d\n", "f")
    assert systemd_lines.find_last(settings, "Service", "User").value == "b"
    assert systemd_lines.find_last(settings, "Service", "Group").value == "c"
    assert systemd_lines.find_last(settings, "Service", "UMask") is None
    assert (
        systemd_lines.find_last([*settings, *systemd_lines.parse("[Service]\nUser=\n", "f")], "Service", "User") is None
    )
    assert systemd_lines.list_values(settings, "Service", "User") == ["a", "b"]


def test_a_link_to_the_vendors_file_of_the_same_name_is_that_service(fake_host):
    host = fake_host({f"{LIB}/x.service": "[Service]\nUser=a\n", f"{ETC}/x.service.d/a.conf": "[Service]\nUser=b\n"})
    host.links[f"{ETC}/x.service"] = f"{LIB}/x.service"
    (unit,) = systemd.read_services(host).value
    assert (unit.name, unit.source, unit.values("Service", "User")) == ("x.service", f"{ETC}/x.service", ["a", "b"])


@pytest.mark.parametrize(
    ("path", "reason", "state"),
    [
        (f"{LIB}/x.service", NOT_CAPTURED, "value"),  # of a capture that holds no files of the distribution
        (f"{LIB}/x.service", "EACCES", "unreadable"),
        (f"{ETC}/y.service", NOT_CAPTURED, "unreadable"),
        ("/run/systemd/system", NOT_CAPTURED, "value"),
        ("/run/systemd/system", "EACCES", "unreadable"),
        (LIB, NOT_CAPTURED, "unreadable"),
    ],
)
def test_what_a_capture_need_not_hold(fake_host, path, reason, state):
    host = fake_host({f"{LIB}/x.service": "[Service]\n", f"{ETC}/y.service": "[Service]\n"}).deny(path, reason)
    found = systemd.read_services(host, now=True)
    assert found.state == state
    if state == "value":
        assert "y.service" in [unit.name for unit in found.value]
