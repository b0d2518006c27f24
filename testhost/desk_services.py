"""What a desk has beside its hosts, in a guest: Redis, and a Kafka broker, each on the guest's loopback.

Redis is the program that tools/setup has unpacked; the broker is librdkafka's own mock cluster, of the release of the
desk that is deployed in the guest. Both are units that end with the guest, or by stop().
"""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from testhost.errors import TesthostError
from testhost.host import Host

REDIS_PORT, KAFKA_PORT = 6379, 9092
PLACE = "/opt/desk_services"  # /run is mounted noexec
_MOCK = Path(__file__).parents[1] / "tests" / "unit" / "desk" / "mock_kafka.py"
_UNITS = ("services-redis", "services-kafka", "services-kafka-port.socket", "services-kafka-port")

_START = """
set -e
umask 077
mkdir -p {place}
tar -C {place} -x
# In a file: the arguments of a unit are in the journal.
printf '%s\n' 'bind 127.0.0.1' 'port {redis}' 'save ""' 'dir {place}' "requirepass $1" >{place}/redis.conf
systemd-run --quiet --collect --unit=services-redis --property=Environment=LD_LIBRARY_PATH={place}/lib \
    {place}/redis-server {place}/redis.conf
# It ends with its input.
systemd-run --quiet --collect --unit=services-kafka sh -c \
    'sleep infinity | exec /opt/desk/current/bin/python -P {place}/mock_kafka.py 1'
for _ in $(seq 300); do
    run=$(systemctl show -P InvocationID services-kafka)
    address=$(journalctl "_SYSTEMD_INVOCATION_ID=$run" --output cat --no-pager |
        sed -n 's/^"\\(127[0-9.:]*\\)"$/\\1/p' | head -n 1)
    test -z "$address" || break
    sleep 0.2
done
test -n "$address"
# The broker takes any free port; clients begin at a known one, and are told of the broker's own.
systemd-run --quiet --collect --unit=services-kafka-port --socket-property=ListenStream=127.0.0.1:{kafka} \
    /lib/systemd/systemd-socket-proxyd "$address"
"""


def start(host: Host, redis_password: str) -> None:
    """Start both in a guest that the desk is deployed to. Raises TesthostError."""
    script = _START.format(place=PLACE, redis=REDIS_PORT, kafka=KAFKA_PORT)
    argv = host.access.argv("root", ["sh", "-c", script, "sh", redis_password])
    done = subprocess.run(argv, input=_pack(), capture_output=True, timeout=180, check=False)
    if done.returncode:
        raise TesthostError(f"Redis and Kafka in the guest: {done.stderr.decode(errors='replace').strip()[-2000:]}")


def ask(host: Host, *arguments: str, timeout: float = 200) -> dict[str, Any]:
    """Run desk_client.py in the guest as the engines' user, and return what it says. Raises TesthostError."""
    client = (Path(__file__).parent / "guest" / "desk_client.py").read_text()
    words = [
        "runuser",
        "-u",
        "trader",
        "--",
        "env",
        "-u",
        "XDG_RUNTIME_DIR",
        "/opt/desk/current/bin/python",
        "-P",
        "-",
        *arguments,
    ]
    done = host.run(words, input=client, timeout=timeout)
    if done.returncode:
        raise TesthostError(f"in the guest: {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def stop(host: Host) -> None:
    """End both, whether they run or not."""
    host.run(["systemctl", "stop", *_UNITS], timeout=60)
    host.run(["rm", "-rf", PLACE])


def _pack() -> bytes:
    """Returns an archive of Redis with its libraries and of the broker. Raises TesthostError."""
    redis = Path(sys.prefix) / "redis" / "usr"
    if not (redis / "bin" / "redis-server").is_file():
        raise TesthostError(f"{redis}/bin/redis-server: there is none; tools/setup vm unpacks it")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add((redis / "bin" / "redis-server").resolve(), "redis-server")
        archive.add(_MOCK, "mock_kafka.py")
        for library in redis.glob("lib/*-linux-gnu/*.so*"):
            archive.add(library.resolve(), f"lib/{library.name}")
    return packed.getvalue()
