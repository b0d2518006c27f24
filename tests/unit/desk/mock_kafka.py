"""librdkafka's mock cluster in a process of its own: a broker that tests start, slow down, stop, freeze and kill.

Source: rdkafka_mock.h of librdkafka 2.16, the library inside the wheel of confluent_kafka, by ctypes.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Seconds that the process has for an answer.
LIMIT = 20.0


def load_library() -> ctypes.CDLL:
    """Returns the librdkafka of confluent_kafka's wheel."""
    import confluent_kafka

    (path,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    library.rd_kafka_new.restype = library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    library.rd_kafka_mock_topic_delete.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.rd_kafka_mock_partition_delete_records.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int64
    ]  # fmt: skip
    for name in ("rd_kafka_mock_broker_set_down", "rd_kafka_mock_broker_set_up"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.rd_kafka_mock_broker_set_rtt.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int]
    library.rd_kafka_mock_push_request_errors_array.argtypes = [
        ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)
    ]  # fmt: skip
    return library


def serve() -> None:
    """Run a cluster; its addresses are the first line, each line that comes is a command, answered by its result."""
    library = load_library()
    client = library.rd_kafka_new(0, library.rd_kafka_conf_new(), ctypes.create_string_buffer(512), 512)
    cluster = library.rd_kafka_mock_cluster_new(client, int(sys.argv[1]))
    print(json.dumps(library.rd_kafka_mock_cluster_bootstraps(cluster).decode()), flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        if name == "push_request_errors":
            key, *errors = arguments
            array = (ctypes.c_int * len(errors))(*errors)
            library.rd_kafka_mock_push_request_errors_array(cluster, key, len(errors), array)
            result = 0
        else:
            given = [each.encode() if isinstance(each, str) else each for each in arguments]
            result = getattr(library, f"rd_kafka_mock_{name}")(cluster, *given)
        print(json.dumps(result), flush=True)


class MockKafka:
    """A cluster in a process. servers: its addresses, as of kafka.servers."""

    def __init__(self, brokers: int = 1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(brokers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.servers: str = self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], LIMIT)[0], "the mock cluster does not answer"
        return json.loads(self.process.stdout.readline())

    def _ask(self, *command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        assert self._read() == 0, command

    def create_topic(self, name: str, partitions: int = 1) -> None:
        self._ask("topic_create", name, partitions, 1)

    def delete_topic(self, name: str) -> None:
        self._ask("topic_delete", name)

    def delete_records(self, name: str, before: int, partition: int = 0) -> None:
        """Delete the records before an offset, as retention does."""
        self._ask("partition_delete_records", name, partition, before)

    def set_down(self, broker: int = 1) -> None:
        """Close the broker's connections, and refuse new ones."""
        self._ask("broker_set_down", broker)

    def set_up(self, broker: int = 1) -> None:
        self._ask("broker_set_up", broker)

    def set_delay(self, milliseconds: int, broker: int = 1) -> None:
        """Answer each request so much later."""
        self._ask("broker_set_rtt", broker, milliseconds)

    def push_errors(self, request: int, *errors: int) -> None:
        """Answer the next requests of this number (Kafka protocol, API keys) by these errors."""
        self._ask("push_request_errors", request, *errors)

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)


@contextlib.contextmanager
def run_mock_kafka(brokers: int = 1) -> Iterator[MockKafka]:
    """Yields a cluster, which is killed at the end."""
    cluster = MockKafka(brokers)
    try:
        yield cluster
    finally:
        cluster.kill()


if __name__ == "__main__":
    serve()
