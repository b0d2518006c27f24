"""How the session of a partition is called.

Source: Nasdaq "MoldUDP64 Protocol Specification", version 1.00: a session has 10 characters.
"""

import base64
import hashlib

#: Characters of a session that name the partition, where a group distributes it.
TENURE = 6


def name_session(topic: str, partition: int, incarnation: str) -> bytes:
    """Returns the session of a partition: 10 characters, A to Z and 2 to 7, of a digest (50 bits) of topic, partition
    and incarnation. So a topic that was deleted and made anew has another session than before."""
    digest = hashlib.blake2b(f"{topic}\0{partition}\0{incarnation}".encode(), digest_size=7).digest()
    return base64.b32encode(digest)[:10]


def name_tenure(topic: str, partition: int, incarnation: str, member: str, offset: int) -> bytes:
    """Returns the session of a partition that a member of a group has had from an offset on: 6 characters of the
    partition's own session, and 4 of a digest (20 bits) of member and offset. So an engine that gets a partition back
    does not take what another host has had meanwhile for a gap."""
    digest = hashlib.blake2b(f"{member}\0{offset}".encode(), digest_size=5).digest()
    return name_session(topic, partition, incarnation)[:TENURE] + base64.b32encode(digest)[:4]
