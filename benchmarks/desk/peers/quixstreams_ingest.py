"""quixstreams takes the records of a topic, as bytes, and calls a function for each, which counts them; it decodes
nothing, and puts them nowhere. Runs in an environment of its own, whose confluent_kafka is older.

    python quixstreams_ingest.py SERVERS TOPIC FILE      the count is the first 8 bytes of FILE
"""

import mmap
import sys
import tempfile

from quixstreams import Application
from quixstreams.models.topics import TopicAdmin, TopicConfig


def main(servers: str, topic: str, path: str) -> None:
    # librdkafka's mock broker does not tell a topic's configuration, which quixstreams asks for before it begins.
    one = TopicConfig(num_partitions=1, replication_factor=1, extra_config={})
    TopicAdmin.inspect_topics = lambda _, names, timeout=0: dict.fromkeys(names, one)
    with open(path, "r+b") as file, tempfile.TemporaryDirectory() as state:
        counts = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
        application = Application(broker_address=servers, consumer_group="quixstreams", auto_offset_reset="earliest",
                                  auto_create_topics=False, use_changelog_topics=False, state_dir=state,
                                  loglevel="WARNING")  # fmt: skip

        def take(_: bytes) -> None:
            counts[0] += 1

        application.dataframe(application.topic(topic, value_deserializer="bytes")).update(take)
        application.run()


main(*sys.argv[1:])
