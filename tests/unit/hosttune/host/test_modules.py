from hosttune.host import modules

NOTHING = {f"{directory}/README": "" for directory in modules.DIRECTORIES}


def test_loaded_built_in_and_at_boot(host):
    files = {
        "/proc/modules": "tcp_bbr 20480 1 - Live 0x0000000000000000\nsch_fq 20480 2 - Live 0x0\n",
        "/proc/sys/kernel/osrelease": "6.1.0-28-amd64\n",
        "/lib/modules/6.1.0-28-amd64/modules.builtin": "kernel/net/ipv4/tcp_cubic.ko\nkernel/lib/crc-t10dif.ko\n",
        "/proc/cmdline": "BOOT_IMAGE=/v quiet modules_load=x",
        "/boot/grub/grub.cfg": "menuentry 'A' {\n linux /v modules-load=sch-fq,nf_nat modules_load=tcp_cubic\n}\n",
        "/etc/modules-load.d/x.conf": "# comment\n; comment\n\ntcp-bbr\n",
    }
    facts = modules.read(host({**NOTHING, **files}))
    assert facts.loaded.value == {"tcp_bbr", "sch_fq"}
    assert facts.builtin.value == {"tcp_cubic", "crc_t10dif"}
    assert facts.at_boot.value == {
        **dict.fromkeys(("sch_fq", "nf_nat", "tcp_cubic"), "/boot/grub/grub.cfg, entry 'A'"),
        "tcp_bbr": "/etc/modules-load.d/x.conf:4",
    }


def test_what_could_not_be_read(host):
    facts = modules.read(host({}, refused={"/proc/modules": "EACCES", "/etc/modules-load.d": "EACCES"}))
    assert facts.loaded.state == "unreadable"
    assert facts.builtin.state == "absent"
    assert facts.at_boot.state == "unreadable"
