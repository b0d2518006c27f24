"""How the session of a partition is called.

Source: Nasdaq "MoldUDP64 Protocol Specification", version 1.00: a session has 10 characters.
"""

import base64
import hashlib


def name_session(topic: str, partition: int, incarnation: str) -> bytes:
    """Returns the session of a partition: 10 characters, A to Z and 2 to 7, of a digest (50 bits) of topic, partition
    and incarnation. So a topic that was deleted and made anew has another session than before."""
    digest = hashlib.blake2b(f"{topic}\0{partition}\0{incarnation}".encode(), digest_size=7).digest()
    return base64.b32encode(digest)[:10]
