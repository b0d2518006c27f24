import pytest

from hosttune.host import dropins

DIRECTORIES = ("/etc/x.d", "/run/x.d", "/usr/local/lib/x.d", "/usr/lib/x.d")


@pytest.mark.parametrize(
    ("path", "outlives"),
    [
        ("/etc/x.d", True),
        ("/usr/local/lib/x.d/a.conf", True),
        ("/var/lib/a.conf", True),
        ("/runner/x.d", True),
        ("/run", False),
        ("/run/x.d/a.conf", False),
        ("/var/run/a.conf", False),
        ("/etc/../run/a.conf", False),
        ("/dev/shm/a.conf", False),
        ("/tmp/a.conf", False),
    ],
)
def test_what_the_next_boot_finds(path, outlives):
    assert dropins.outlives_boot(path) is outlives


def test_a_file_in_run_neither_sets_nor_masks_at_boot(host):
    files = {"/usr/lib/x.d/a.conf": "1", "/run/x.d/a.conf": "2", "/run/x.d/b.conf": "3", "/etc/x.d/c.conf": "4"}
    now = dropins.list_merged(host(files), DIRECTORIES, ".conf").value
    assert now == ["/run/x.d/a.conf", "/run/x.d/b.conf", "/etc/x.d/c.conf"]
    boot = dropins.list_merged(host(files), dropins.choose_lasting(DIRECTORIES), ".conf").value
    assert boot == ["/usr/lib/x.d/a.conf", "/etc/x.d/c.conf"]


@pytest.mark.parametrize(
    ("target", "text"),
    [("/dev/null", ""), ("/etc/real", "1"), ("../real", "1"), ("/run/real", None), ("../../run/real", None)],
)
def test_a_link_into_run_leads_nowhere_at_boot(host, target, text):
    root = host({"/etc/real": "1", "/run/real": "1"}, links={"/etc/x.d/a.conf": target})
    assert dropins.read_lasting(root, "/etc/x.d/a.conf").value == text
    assert dropins.read_fragment(root, "/etc/x.d/a.conf").value in ("", "1")


@pytest.mark.parametrize(
    ("links", "text"),
    [
        ({"/etc/real": "/etc/other"}, "1"),
        ({"/etc/real": "/run/other"}, None),
        ({"/etc/real": "../run/other"}, None),
        ({"/etc/real": "/dev/null"}, ""),
        ({"/etc/real": "/etc/x", "/etc/x": "/var/run/other"}, None),
        ({"/etc": "/dev/shm"}, None),
    ],
)
def test_a_link_is_followed_to_its_end(host, links, text):
    root = host({"/etc/other": "1", "/run/other": "1"}, links={"/etc/x.d/a.conf": "/etc/real", **links})
    assert dropins.read_lasting(root, "/etc/x.d/a.conf").value == text


def test_links_without_an_end(host):
    root = host({}, links={"/etc/x.d/a.conf": "/etc/x.d/a.conf"})
    assert dropins.read_lasting(root, "/etc/x.d/a.conf").reason == "ELOOP"


def test_which_files_count_and_in_which_order(host):
    root = host({"/etc/x.d/b.conf": "", "/usr/lib/x.d/a.conf": "", "/usr/lib/x.d/b.conf": "", "/usr/lib/x.d/C.conf": "",
                 "/etc/x.d/.h.conf": "", "/etc/x.d/d.conf.bak": "", "/etc/x.d/conf": ""})  # fmt: skip
    found = dropins.list_merged(root, DIRECTORIES, ".conf")
    assert (found.state, found.source) == ("value", "/etc/x.d")
    assert found.value == ["/usr/lib/x.d/C.conf", "/usr/lib/x.d/a.conf", "/etc/x.d/b.conf"]


def test_no_directory_and_one_that_is_refused(host):
    nothing = dropins.list_merged(host({}), DIRECTORIES, ".conf")
    assert (nothing.state, nothing.value, nothing.source) == ("absent", None, "/etc/x.d")
    for directory in DIRECTORIES:
        refused = dropins.list_merged(
            host({"/etc/x.d/a.conf": ""}, refused={directory: "EACCES"}), DIRECTORIES, ".conf"
        )
        assert (refused.state, refused.source, refused.reason) == ("unreadable", directory, "EACCES")


def test_a_name_in_a_listing():
    names = ["a", "b", "d"]
    assert [name for name in ("", "a", "b", "c", "d", "e") if dropins.holds(names, name)] == names
    assert not dropins.holds([], "a")
