"""`desk ingest`: the records of Kafka's partitions into rings: as MoldUDP64 packets for engines, or decoded.

sessions        the name of a partition's session
place           the file beside a ring that says how far the ring is
places          where to begin, and whether the log still has that place
codec           what the Protobuf schema says of a topic
finder          what only the brokers know, asked by a thread
_lane           one partition, from librdkafka's queue into its ring, in Cython
partition       one partition: its lane, and what is wrong with it
gate            the kill switch of a partition's engine
group           partitions that the consumer group distributes
run             the loop: move, commit, say how it is
requests        retransmission: the server for MoldUDP64's requests
recording       a topic's records as a file that `agent replay` reads
"""
