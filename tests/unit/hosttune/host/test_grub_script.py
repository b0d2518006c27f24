"""The language of grub.cfg, beside grub-script-check, and what GRUB comes to when it runs a configuration."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hosttune.host import grub, grub_script, grub_test
from tests.examples import TIMES

PIECES = st.sampled_from(
    ["a", "b=c", "set x=1", "\n", "\n", ";", " ", " ", "{", "}", "if ", "then ", "else ", "elif ", "fi", "for x in a",
     "do ", "done", "while ", "function f ", "menuentry x ", "$x", "${x}", "${x", "$", '"', "'", "\\", "\\\n", "#", "|",
     "&", "<", "[ -n ", " ]", "[[", "1", "$1", "${1}", "$?", '"$x"', '"\\$"', "case", "!", "in", "}\n", "\t", "$\"a\"",
     "if a; then b; fi\n", "menuentry 'a' {\nlinux /v ro\n}\n", "submenu s {\n", "function f {\nset y=2\n}\n"]
)  # fmt: skip


@pytest.mark.skipif(shutil.which("grub-script-check") is None, reason="grub-common is not installed")
@settings(max_examples=120 * TIMES, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=9).map("".join))
@example("menuentry a {\n}\n")
@example("menuentry a { b }")
@example("if a\nthen b\nelif c; then d\nelse e\nfi; f")
@example("a;;b")
@example("a\n\nb;\nc")
@example("if a; then function f { b; }; fi")
@example("function f\n{\na\n}")
@example("linux a|b")
@example('x="a$"')
@example("echo if then fi in")
@example("a \\\n# b {")
@example("a # b {")
@example("a#{\nb\n}")
def test_what_grub_takes_is_taken_and_nothing_else(text: str) -> None:
    text = f"true\n{text}\n"  # it complains of a script without a command
    done = subprocess.run(["grub-script-check"], input=text, capture_output=True, text=True, timeout=20, check=False)
    try:
        grub_script.parse(text, "grub.cfg")
        taken = True
    except ValueError:
        taken = False
    assert taken == (done.returncode == 0), done.stderr


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("a$x", ["ab", "c"]),
        ('"a$x"', ["ab c"]),
        ("$none", []),
        ('"$none"', [""]),
        ("$none$none", []),
        ("$x'd'", ["b", "cd"]),
        ('"\\$x \\\\ \\" \\a"', ['$x \\ " \\a']),
        ("a\\ b", ["a b"]),
        ("a\\\nb", ["ab"]),
        ("'$x'", ["$x"]),
        ("$1z", ["onez"]),
        ("${1}z", ["onez"]),
    ],
)
def test_words(raw: str, words: list[str]) -> None:
    known = {"x": "b c", "1": "one"}
    assert grub_script.expand([raw], lambda name: known.get(name, "")) == words


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        ("", True),
        ("a", True),
        ("a = a", True),
        ("a == b", False),
        ("a != b", True),
        ("-n a -a b = b", True),
        ("-z a -a b = b", False),
        ("-z a -o b = b", True),
        ("a = b -o a = c -o a = a", True),
        ("! a = b", True),
        ("! a", False),
        ("( a = b -o a = a ) -a x", True),
        ("2 -lt 10", True),
        ("010 -eq 8", None),
        ("-f /x", None),
        ("-f /x -a a = b", False),
        ("-f /x -o a = a", True),
        ("-s /x/grubenv", True),
        ("\0x = y", None),
        ("-n \0x", True),
        ("-n", True),
    ],
)
def test_conditions(words: str, holds: bool | None) -> None:
    found = grub_test.evaluate([*words.split(), "]"], lambda path: path.endswith("grubenv") or None)
    assert found is holds


RHEL = """\
if [ -f ${config_directory}/grubenv ]; then
  load_env -f ${config_directory}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${saved_entry}"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
if [ "${boot_once}" ]; then
  set saved_entry="${prev_saved_entry}"
fi
terminal_output console
if [ x$feature_timeout_style = xy ] ; then
  set timeout_style=menu
  set timeout=5
else
  set timeout=5
fi
if [ -f ${prefix}/user.cfg ]; then
  source ${prefix}/user.cfg
  if [ -n "${GRUB2_PASSWORD}" ]; then
    set superusers="root"
    export superusers
    password_pbkdf2 root ${GRUB2_PASSWORD}
  fi
fi
insmod increment
if [ -n "${boot_counter}" -a "${boot_success}" = "0" ]; then
  if  [ "${boot_counter}" = "0" -o "${boot_counter}" = "-1" ]; then
    set default=1
    set boot_counter=-1
  else
    decrement boot_counter
  fi
  save_env boot_counter
fi
insmod part_gpt
set root='hd0,gpt2'
if [ x$feature_platform_search_hint = xy ]; then
  search --no-floppy --fs-uuid --set=root --hint='hd0,gpt2'  1
else
  search --no-floppy --fs-uuid --set=root 1
fi
if [ -z "${kernelopts}" ]; then
  set kernelopts="root=UUID=1 ro "
fi
insmod blscfg
blscfg
if [ "${boot_success}" = "1" -o "${boot_indeterminate}" = "1" ]; then
  set last_boot_ok=1
fi
if [ "$grub_platform" = "efi" ]; then
\tmenuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
\t\tfwsetup
\t}
fi
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
elif [ -z "${config_directory}" -a -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"""
BLS = {"m-5.14.0-500": "title New\nlinux /new\noptions new", "m-5.14.0-400": "title Old\nlinux /old\noptions old"}


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"saved_entry": "m-5.14.0-500"}, "new"),
        ({"saved_entry": "m-5.14.0-400"}, "old"),
        ({}, "new"),
        ({"saved_entry": "m-5.14.0-400", "boot_counter": "2", "boot_success": "1"}, "old"),
        ({"saved_entry": "m-5.14.0-500", "boot_counter": "2", "boot_success": "0"}, "new"),
        ({"saved_entry": "m-5.14.0-500", "boot_counter": "0", "boot_success": "0"}, "old"),
        ({"saved_entry": "m-5.14.0-500", "boot_counter": "-1", "boot_success": "0"}, "old"),
        ({"saved_entry": "m-5.14.0-500", "boot_counter": "0"}, "new"),
        ({"saved_entry": "m-5.14.0-500", "next_entry": "m-5.14.0-400"}, "old"),
    ],
)
def test_the_menu_of_rhel(env: dict[str, str], line: str) -> None:
    assert grub.find_default_entry(RHEL, env, BLS).line == line


UBUNTU = """\
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${initrdfail}" = 2 ]; then
   set initrdfail=
elif [ "${initrdfail}" = 1 ]; then
   set next_entry="${prev_entry}"
   set prev_entry=
   save_env prev_entry
   if [ "${next_entry}" ]; then
      set initrdfail=2
   fi
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
if loadfont unicode ; then
  set gfxmode=auto
  load_video
fi
if [ "${recordfail}" != 1 ]; then
  if [ -e ${prefix}/gfxblacklist.txt ]; then
    if [ ${grub_platform} != pc ]; then
      set linux_gfx_mode=keep
    elif hwmatch ${prefix}/gfxblacklist.txt 3; then
      if [ ${match} = 0 ]; then
        set linux_gfx_mode=keep
      else
        set linux_gfx_mode=text
      fi
    else
      set linux_gfx_mode=text
    fi
  else
    set linux_gfx_mode=keep
  fi
else
  set linux_gfx_mode=text
fi
export linux_gfx_mode
function initrdfail {
    if [ -n "${have_grubenv}" ]; then if [ -n "${partuuid}" ]; then
      if [ -z "${initrdfail}" ]; then
        set initrdfail=1
      fi
      save_env initrdfail
    fi; fi
}
function gfxmode {
\tset gfxpayload="${1}"
\tif [ "${1}" = "keep" ]; then
\t\tset vt_handoff=vt.handoff=7
\telse
\t\tset vt_handoff=
\tfi
}
function load_video {
  insmod all_video
}
menuentry 'Ubuntu' --class ubuntu $menuentry_id_option 'simple' {
\tload_video
\tgfxmode $linux_gfx_mode
\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
\tsearch --no-floppy --fs-uuid --set=root 1
\tif [ "${initrdfail}" = 1 ]; then
\t  echo 'GRUB_FORCE_PARTUUID set, initrdless boot failed. Attempting with initrd.'
\t  linux /boot/vmlinuz-6.8.0-1-generic root=1 ro isolcpus=2 $vt_handoff
\t  initrd /boot/initrd.img
\telse
\t  linux /boot/vmlinuz-6.8.0-1-generic root=1 ro isolcpus=2 $vt_handoff panic=-1
\tfi
\tinitrdfail
}
"""


def keep(line: str) -> str:
    return " ".join(word for word in line.split() if word.startswith(("isolcpus=", "nohz_full=")))


def test_the_menu_of_ubuntu() -> None:
    """How the screen is handed over hangs on the firmware; no argument that matters does."""
    found = grub.find_default_entry(UBUNTU, {}, None, None, keep)
    assert found[:3] == ("Ubuntu", "isolcpus=2", "/boot/vmlinuz-6.8.0-1-generic")
    with pytest.raises(ValueError, match="default"):
        grub.find_default_entry(UBUNTU, {})


ENTRY = "menuentry 'a' --id a {\n linux /v $opts\n}\nmenuentry 'b' --id b {\n linux /v nohz_full=3\n}\n"


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (f"set opts=isolcpus=2\n{ENTRY}", "isolcpus=2"),
        (f"opts=isolcpus=2\n{ENTRY}", "isolcpus=2"),
        (f"opts='isolcpus=2 nohz_full=2'\n{ENTRY}", "isolcpus=2 nohz_full=2"),
        (f"opts=isolcpus=2\n{ENTRY}opts=quiet\n", ""),
        (f"{ENTRY}default=1\n", "nohz_full=3"),
        (f"{ENTRY}unset default\n", ""),
        (f"function f {{\nset default=1\n}}\n{ENTRY}", ""),
        (f"function f {{\nset default=$1\n}}\n{ENTRY}f b\n", "nohz_full=3"),
        (f"{ENTRY}menuentry c {{\n set default=1\n}}\n", ""),
        (f"if true; then set default=1; fi\n{ENTRY}", "nohz_full=3"),
        (f"if false; then set default=1; fi\n{ENTRY}", ""),
        (f"if ! false; then set default=1; fi\n{ENTRY}", "nohz_full=3"),
        (f"if [ -e /x ]; then set default=1; fi\n{ENTRY}", None),
        (f"if [ -e /x ]; then set default=a; else set default=0; fi\n{ENTRY}", ""),
        (f"if [ -e /x ]; then set opts=isolcpus=2; fi\n{ENTRY}", None),
        (f"if [ -e /x ]; then set opts=quiet; fi\n{ENTRY}", ""),
        (f"if [ -e /x ]; then\nmenuentry z {{\nlinux /v isolcpus=3\n}}\nfi\n{ENTRY}", None),
        (f"{ENTRY}if [ -e /x ]; then\nmenuentry z {{\nlinux /v isolcpus=3\n}}\nfi\n", ""),
        (f"if [ -e /x ]; then\nmenuentry z {{\nlinux /v isolcpus=3\n}}\nfi\n{ENTRY}set default=b\n", "nohz_full=3"),
        (f"for x in a b; do\nset default=$x\ndone\n{ENTRY}", "nohz_full=3"),
        (f"while [ -e /x ]; do\nset default=b\ndone\n{ENTRY}", None),
        (f"search --set=opts\n{ENTRY}", None),
        (f"source /elsewhere.cfg\n{ENTRY}", None),
        (f"function f {{\nsource /elsewhere.cfg\n}}\n{ENTRY}", ""),
        (f"{ENTRY}configfile /elsewhere.cfg\n", None),
        ("menuentry a {\n linux /v root=$root isolcpus=2\n}\n", "isolcpus=2"),
        ("menuentry a {\n linux /v isolcpus=$root\n}\n", None),
        ("menuentry a {\n linux /v $root\n}\n", None),
        ("menuentry a {\n if [ -e /x ]; then linux /v isolcpus=2; else linux /v isolcpus=3; fi\n}\n", None),
        ("menuentry a {\n if [ -e /x ]; then linux /v isolcpus=2 a; else linux /v isolcpus=2 b; fi\n}\n", "isolcpus=2"),
        ("set x=isolcpus=2\nsubmenu s {\n menuentry a {\n  linux /v $x\n }\n}\n", ""),
        ("set x=isolcpus=2\nexport x\nsubmenu s {\n menuentry a {\n  linux /v $x\n }\n}\n", "isolcpus=2"),
        (f"set default='s>1'\nsubmenu s {{\n set default=0\n{ENTRY}}}\n", ""),
        (f"set default='s>1'\nsubmenu s {{\n{ENTRY}}}\n", "nohz_full=3"),
        (f"set default='c>>d'\n{ENTRY}menuentry 'c>d' {{\n linux /v nohz_full=2\n}}\n", "nohz_full=2"),
        (f"set default=n\nmenuentry --class x n {{\n linux /v isolcpus=2\n}}\n{ENTRY}", "isolcpus=2"),
    ],
)  # fmt: skip
def test_what_a_configuration_comes_to(config: str, line: str | None) -> None:
    """None: it hangs on what is in none of the files."""
    try:
        assert grub.find_default_entry(config, {}, None, None, keep).line == line
    except ValueError:
        assert line is None


def test_variables_of_grubenv_are_there_once_it_is_loaded() -> None:
    env = {"saved_entry": "b", "opts": "isolcpus=2"}
    for loaded, line in (("true", ""), ("load_env", "nohz_full=3"), ("load_env opts", "isolcpus=2")):
        config = f"{loaded}\nset default=$saved_entry\n{ENTRY}"
        assert grub.find_default_entry(config, env, keep=keep).line == line


def test_where_an_entry_is_written_by_hand() -> None:
    config = "### BEGIN /etc/grub.d/10_linux ###\nmenuentry a {\n linux /v\n}\n### END /etc/grub.d/10_linux ###\n"
    by_hand = config.replace("10_linux", "40_custom").replace("menuentry a", "# x\nmenuentry b")
    assert grub.find_default_entry(config + by_hand, {}).place == ""
    assert grub.find_default_entry(f"{config}{by_hand}default=b", {}).place == "/etc/grub.d/40_custom:5"
    source = "source $prefix/custom.cfg\ndefault=c\n"
    custom = "\nmenuentry c {\n linux /v\n}\n"
    assert grub.find_default_entry(config + by_hand + source, {}, None, custom).place == "custom.cfg:3"
    after = "menuentry d {\n linux /v\n}\ndefault=d\n"
    assert grub.find_default_entry(config + by_hand + after, {}).place == ""
