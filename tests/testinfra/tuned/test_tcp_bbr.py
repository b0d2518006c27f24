"""A live socket uses bbr, and the interface that is up has fq on every queue."""


def test_a_live_connection_uses_bbr(host):
    shown = host.check_output(
        "timeout 60 python3 -c %s",
        "import socket, subprocess\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname())\n"
        "peer, _ = server.accept()\n"
        "port = server.getsockname()[1]\n"
        "print(subprocess.check_output(['ss', '-tinH', 'dport', '=', f':{port}'], text=True))\n",
    )
    assert "bbr" in shown.split()


def test_each_queue_paces_with_fq(host):
    leaves = [
        line.split()[1]
        for line in host.check_output("tc qdisc show dev eth0").splitlines()
        if not line.startswith("qdisc mq ")
    ]
    assert leaves and set(leaves) == {"fq"}


def test_the_module_comes_back_at_boot(host):
    assert "tcp_bbr" in host.check_output("cat /etc/modules-load.d/*.conf").split()
    assert host.file("/sys/module/tcp_bbr").exists
