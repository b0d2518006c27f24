"""After `revert` and its reboot the host is as the image was."""

import json

import pytest


@pytest.mark.parametrize("area", ["cmdline", "menu", "sysctl", "hugepages", "limits", "login", "qdisc", "units"])
def test_as_before(fingerprint, pristine_file, area):
    assert fingerprint[area] == json.loads(pristine_file.read_text())[area]


def test_no_file_of_ours_is_left_that_the_next_boot_reads(fingerprint, pristine_file):
    assert fingerprint["files"] == json.loads(pristine_file.read_text())["files"]


def test_no_program_is_left(host):
    assert not host.file("/usr/local/lib/hosttune").exists
