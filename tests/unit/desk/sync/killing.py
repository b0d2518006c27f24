"""`desk sync` is killed again and again while an engine reads a feed of 10,000 events a second."""

import random
import signal
import subprocess
import sys
import time

from agent.shm import segment as shm

from ...agent.stage import Stage
from ...waiting import wait
from .servers import Desk, Server, limit
from .test_sync import key

RATE = 10_000
#: Quotes in MoldUDP64 packets of one message, until a line comes; then prints how many. What a busy machine keeps
#: it from sending in time is left out, but for 100 at once: the engine's buffer is not what is tested.
_SENDER = """
import select, socket, struct, sys, time
port, rate, most, sent, due = int(sys.argv[1]), int(sys.argv[2]), 100, 0, time.monotonic()
feed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while not select.select([sys.stdin], [], [], 0)[0]:
    many = min(most, int((time.monotonic() - due) * rate))
    due = max(due + many / rate, time.monotonic() - most / rate)
    for _ in range(many):
        sent += 1
        quote = (b'{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"60000.00000000","B":"9.00000000",'
                 b'"a":"60000.01000000","A":"9.00000000"}}' % sent)
        feed.sendto(b"SESSION001" + struct.pack(">QHH", sent, 1, len(quote)) + quote, ("127.0.0.1", port))
    time.sleep(0.001)
print(sent)
"""


def kill_under_load(stage: Stage, server: Server, times: int) -> None:
    """Kill a `desk sync` so many times, with limits that change; the feed has lost nothing, and the last value is in
    force."""
    stage.set(reconnect_s="3600.0")  # there is no exchange: the feed alone is looked at
    stage.agent()
    feed = subprocess.Popen([sys.executable, "-P", "-c", _SENDER, str(stage.feed), str(RATE)], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    stage.children.append(feed)
    wait(lambda: shm.read(stage.segment).counters["messages"] > RATE // 10, "the feed does not begin")
    client, chance, value = server.client(), random.Random(1), 0
    begun, before = time.monotonic(), shm.read(stage.segment).counters["messages"]
    for _ in range(times):
        desk = Desk(stage, server).start()
        for _ in range(5):
            value = value % 900 + 100
            client.set(key(stage, "max_size"), value)
            time.sleep(chance.random() * 0.02)
        desk.end(signal.SIGKILL)
    rate = (shm.read(stage.segment).counters["messages"] - before) / (time.monotonic() - begun)
    sent, errors = feed.communicate("\n", timeout=60)
    assert feed.returncode == 0 and int(sent) > times * RATE // 20, errors
    wait(lambda: shm.read(stage.segment).counters["messages"] == int(sent), f"{sent} were sent: not all came")
    desk = Desk(stage, server).start()
    wait(lambda: limit(stage, "max_size") == value, "the last value is not in force")
    desk.end()
    found = shm.read(stage.segment)
    assert found.up and (found.counters["lost"], found.counters["gaps"]) == (0, 0), found.counters
    assert rate > RATE / 20, f"only {rate:,.0f} events a second"
