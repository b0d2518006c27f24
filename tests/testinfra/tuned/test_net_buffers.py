"""The kernel holds the values, and a socket gets the buffer that they promise."""


def test_a_socket_gets_the_buffer_it_asks_for(python, text):
    limit = int(text("/proc/sys/net/core/rmem_max"))
    assert limit >= 16 << 20
    size = python(
        "import json, socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, {limit})\n"
        "print(json.dumps(s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)))\n"
    )
    assert size == 2 * limit  # socket(7): the kernel doubles it for its own bookkeeping


def test_nothing_shadows_our_file(host, report):
    before = report()["by_id"]
    assert host.run("sysctl --system").rc == 0  # everything that the next boot would apply, in its order
    after = report()["by_id"]
    ours = [key for key in before if key.startswith("net_buffers.")]
    assert ours
    assert {after[key]["status"] for key in ours} == {"pass"}
