"""Which command line the next boot gets, from GRUB's own files."""

import pytest

from hosttune.host import boot, grub

DEBIAN = """\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="0"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
function load_video {
  insmod all_video
}
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-1' {
\tload_video
\tif [ x$grub_platform = xxen ]; then insmod xzio; fi
\techo\t'Loading Linux 6.1.0 ...'
\tlinux\t/boot/vmlinuz-6.1.0 root=UUID=1 ro isolcpus=domain,2-3 quiet
\tinitrd\t/boot/initrd.img-6.1.0
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1' {
\tmenuentry 'Debian GNU/Linux, with Linux 6.1.0' --class debian $menuentry_id_option 'gnulinux-6.1.0-advanced-1' {
\t\tlinux\t/boot/vmlinuz-6.1.0 root=UUID=1 ro isolcpus=domain,2-3
\t}
\tmenuentry 'Debian GNU/Linux, with Linux 6.1.0 (recovery mode)' $menuentry_id_option 'gnulinux-6.1.0-recovery-1' {
\t\tlinux\t/boot/vmlinuz-6.1.0 root=UUID=1 ro single
\t}
}
"""
SAVED = DEBIAN.replace('set default="0"', 'set default="${saved_entry}"')

FEDORA = """\
load_env
if [ -z "${kernelopts}" ]; then
  set kernelopts="root=UUID=1 ro fallback"
fi
set default="${saved_entry}"
insmod blscfg
blscfg
"""


def command(config, env=None, bls=None):
    return grub.find_default_entry(config, env or {}, bls)[1]


def test_default_entry_of_debian():
    assert grub.find_default_entry(DEBIAN, {})[:3] == (
        "Debian GNU/Linux",
        "root=UUID=1 ro isolcpus=domain,2-3 quiet",
        "/boot/vmlinuz-6.1.0",
    )


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("0", "quiet"),
        ("gnulinux-simple-1", "quiet"),
        ("Debian GNU/Linux", "quiet"),
        ("1>1", "single"),
        ("gnulinux-advanced-1>gnulinux-6.1.0-recovery-1", "single"),
        ("Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0", "domain,2-3"),
        ("1", "domain,2-3"),  # a submenu: its first entry
        ("17", "quiet"),  # not there: the first
        ("no such entry", "quiet"),
        ("", "quiet"),
    ],
)
def test_saved_entry(default, expected):
    assert command(SAVED, {"saved_entry": default}).endswith(expected)


def test_next_entry_is_for_one_boot_and_goes_first():
    assert command(DEBIAN, {"next_entry": "1>1"}).endswith("single")
    assert command(DEBIAN, {"next_entry": ""}).endswith("quiet")


def test_quotes_reach_the_kernel():
    config = 'menuentry x {\n linux /vmlinuz \'dyndbg=file a +p\' b="c d" e\\ f "g"\n}'
    assert command(config) == '"dyndbg=file a +p" "b=c d" "e f" g'


def test_variables():
    config = "set extra='nohz_full=2-3 quiet'\nmenuentry x {\n linux /vmlinuz ro $extra ${unset} a\n}"
    assert command(config) == "ro nohz_full=2-3 quiet a"


@pytest.mark.parametrize("config", ["", "set default=0", "menuentry x {\n chainloader +1\n}", "}\n}\n"])
def test_a_config_without_a_kernel_is_not_understood(config):
    with pytest.raises(ValueError, match=r"no menu entry|no kernel command|not one that GRUB takes"):
        grub.find_default_entry(config, {})


def test_boot_loader_specification_entries():
    entries = {
        "id-5.9.0-1": "title Old\noptions root=UUID=1 old\n",
        "id-5.14.0-2": "title New\noptions $kernelopts\noptions isolcpus=2\n",
    }
    assert command(FEDORA, {"kernelopts": "root=UUID=1 ro"}, entries) == "root=UUID=1 ro isolcpus=2"
    assert command(FEDORA, {"saved_entry": "id-5.9.0-1"}, entries) == "root=UUID=1 old"
    assert command(FEDORA, {}, entries).startswith("root=UUID=1 ro fallback")
    with pytest.raises(ValueError, match="entries"):
        grub.find_default_entry(FEDORA, {}, None)


def test_environment_block():
    text = "# GRUB Environment Block\nsaved_entry=0>1\nkernelopts=a=b c\n####"
    assert grub.parse_environment(text) == {"saved_entry": "0>1", "kernelopts": "a=b c"}


CMDLINE = {"/proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz-6.1.0 root=UUID=1 ro\n"}


def test_both_command_lines(fake_host):
    found = boot.read(fake_host({**CMDLINE, "/boot/grub/grub.cfg": DEBIAN}))
    assert found.booted.value == "BOOT_IMAGE=..."
    assert found.coming.value == "isolcpus=domain,2-3"
    assert found.coming.source == "/boot/grub/grub.cfg, entry 'Debian GNU/Linux'"


def test_boot_loader_specification_on_a_host(fake_host):
    host = fake_host(
        {
            **CMDLINE,
            "/boot/grub2/grub.cfg": FEDORA,
            "/boot/grub2/grubenv": "saved_entry=a\n",
            "/boot/loader/entries/a.conf": "title A\noptions ro nohz_full=2-3\n",
        }
    )
    assert boot.read(host).coming.value == "nohz_full=2-3"
    assert boot.read(host.deny("/boot/loader/entries/a.conf")).coming.state == "unreadable"


@pytest.mark.parametrize(
    ("files", "denied", "reason"),
    [
        ({}, None, "no GRUB configuration"),
        ({"/boot/grub/grub.cfg": DEBIAN}, "/boot/grub/grub.cfg", "EACCES"),
        ({"/boot/grub/grub.cfg": DEBIAN}, "/boot/grub/grubenv", "EACCES"),
        ({"/boot/grub/grub.cfg": "rubbish"}, None, "not understood"),
        ({"/boot/grub/grub.cfg": DEBIAN, "/proc/cmdline": "ro"}, None, "did not come through GRUB"),
    ],
)
def test_what_cannot_be_known_is_said(fake_host, files, denied, reason):
    host = fake_host({**CMDLINE, **files})
    coming = boot.read(host.deny(denied) if denied else host).coming
    assert coming.state == "unreadable"
    assert reason in coming.reason


def test_sources_explain_a_menu_that_was_not_rebuilt(fake_host):
    host = fake_host(
        {
            **CMDLINE,
            "/etc/default/grub": '# isolcpus=9\nGRUB_CMDLINE_LINUX=""\n',
            "/etc/default/grub.d/80-x.cfg": 'GRUB_CMDLINE_LINUX="isolcpus=2-3"\n',
            "/etc/default/grub.d/old.cfg.dpkg-old": "isolcpus=1\n",
        }
    )
    found = boot.read(host)
    assert found.evaluate().line == "isolcpus=2-3 "
    assert [*found.evaluate().steps] == ["/etc/default/grub", "/etc/default/grub.d/80-x.cfg"]
    assert boot.read(host.deny("/etc/default/grub")).evaluate().reason == "/etc/default/grub: EACCES"
