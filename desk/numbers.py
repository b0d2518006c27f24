"""The numbers that the desk's processes publish (desk.counters), by kind of process: what each is."""

from typing import NamedTuple


class Number(NamedTuple):
    """A number that a kind of process publishes. kind: counter or gauge; part: the label that the number's own is
    exported by."""

    kind: str
    text: str
    part: str = "part"


#: By kind of process and name, which ends with its unit. Another number is exported as a gauge by its own name.
NUMBERS: dict[str, dict[str, Number]] = {
    "sync": {
        "connected": Number("gauge", "1: there is a connection to Redis"),
        "redis_age_seconds": Number("gauge", "time since Redis answered last"),
        "redis_lost": Number("gauge", "1: Redis has been away for longer than configured, and the policy is in force"),
        "connections": Number("counter", "connections to Redis that were made"),
        "losses": Number("counter", "connections to Redis that were lost"),
        "reads": Number("counter", "times that all limits were read from Redis"),
        "bad_values": Number("counter", "values in Redis that no limit can have"),
        "bad_keys": Number("gauge", "keys in Redis whose value is refused now"),
        "unknown_keys": Number("counter", "keys in Redis that name no limit or no engine"),
        "values_written": Number("counter", "values that were written to Redis"),
        "values_refused": Number("counter", "values that Redis refused"),
        "audit_lost": Number("counter", "changes of limits that could not be written to the audit file"),
        "longest_step_seconds": Number("gauge", "the longest that one step of the loop took"),
        "set_again": Number("counter", "limits that somebody else had changed, and that were set again", "agent"),
        "confirmed": Number("counter", "changes of limits that the engine's loop confirmed", "agent"),
        "unconfirmed": Number("counter", "changes of limits that the engine's loop did not confirm", "agent"),
    },
    "ingest": {
        "broker_errors": Number("counter", "errors of connections to the brokers"),
        "commits": Number("counter", "offsets that the brokers have committed"),
        "commit_errors": Number("counter", "offsets that could not be committed"),
        "longest_step_seconds": Number("gauge", "the longest that one step of the loop took"),
        "requests": Number("counter", "requests of MoldUDP64 that were answered"),
        "requests_unanswered": Number("counter", "requests of MoldUDP64 that nothing answers"),
        "records": Number("counter", "records that were put into the ring", "partition"),
        "repeated": Number("counter", "records that came again, and were passed over", "partition"),
        "too_long": Number("counter", "records that no packet holds, which are missing to the engine", "partition"),
        "refused": Number("counter", "records whose message was not found, or not decoded", "partition"),
        "unknown_fields": Number("counter", "fields of messages that the schema does not have", "partition"),
        "mistyped_fields": Number("counter", "fields of messages that are of another type in the schema", "partition"),
        "holes": Number("counter", "jumps in the offsets of the log", "partition"),
        "missing": Number("counter", "offsets that the log jumped over", "partition"),
        "expired": Number("counter", "records that the brokers had deleted before they were read", "partition"),
        "recreated": Number(
            "counter", "times that the topic was found to be another one of the same name", "partition"
        ),
        "full": Number("counter", "times that the ring was full", "partition"),
        "errors": Number("counter", "errors of the partition, as the brokers or the client said", "partition"),
        "stands": Number("gauge", "1: no records are taken: where to begin is not known, or not there", "partition"),
        "problems": Number("gauge", "1: something is wrong with the partition's log", "partition"),
        "away": Number("gauge", "1: another member of the group has the partition", "partition"),
        "gate_closed": Number("gauge", "1: the engine is killed until it has caught up", "partition"),
        "assigned": Number("counter", "partitions that the group has given to this process"),
        "revoked": Number("counter", "partitions that the group has taken from this process"),
        "lag": Number("gauge", "records of the log that have not been taken", "partition"),
        "offset": Number("gauge", "offset of the record that is taken next", "partition"),
        "passed": Number("gauge", "offset behind the last record that the ring's reader has taken", "partition"),
    },
    "worker": {
        "records": Number("counter", "records that the module was given"),
        "results": Number("counter", "results that were published"),
        "batches": Number("counter", "calls of the module"),
        "waits": Number("counter", "times that the output's ring was full"),
        "waited_seconds": Number("counter", "time that the worker waited for the output's ring"),
        "takeovers": Number("gauge", "ends of the input's ring that were taken over from a process that had died"),
        "input_bytes": Number("gauge", "bytes in the input's ring that the worker has not read"),
        "output_bytes": Number("gauge", "bytes in the output's ring that nobody has read"),
        "sent": Number("counter", "results that were handed to the producer of the worker's topic, again or not"),
        "acknowledged": Number("counter", "results that a broker has acknowledged"),
        "in_flight": Number("gauge", "results that were sent and not acknowledged"),
        "send_failures": Number("counter", "times that sending failed, and begins again behind the acknowledged ones"),
        "module": Number("gauge", "numbers of the module's own, by their name", "number"),
    },
    "run": {
        "events": Number("counter", "events that were delivered, by their class", "event"),
        "source_events": Number("counter", "events that a source has published", "source"),
        "errors": Number("counter", "exceptions of a handler", "handler"),
        "handled": Number("counter", "events that a slow handler has taken", "handler"),
        "dropped": Number("counter", "events that were lost at a slow handler's full queue", "handler"),
        "blocked": Number("counter", "times that a slow handler's full queue has stopped delivery", "handler"),
        "waiting": Number("gauge", "events in a slow handler's queue", "handler"),
        "delivery_blocked": Number("gauge", "1: a full queue stops delivery now"),
        "loop_blocked": Number("counter", "times that a handler has held the loop up for too long"),
        "loop_longest_blocked_seconds": Number("gauge", "the longest that the loop was held up"),
        "gc_pauses": Number("counter", "pauses of the garbage collector"),
        "gc_pause_seconds": Number("counter", "time of the garbage collector's pauses"),
        "gc_longest_pause_seconds": Number("gauge", "the longest pause of the garbage collector"),
    },
}


def find_number(kind: str, word: str) -> Number:
    """Returns what is known of a number."""
    unknown = Number("gauge", f"{word}, as a process of desk {kind} published it")
    return NUMBERS.get(kind, {}).get(word, unknown)
