"""Rows of the table: the numbers that the desk's processes publish (desk.counters), by kind of process."""

from desk.export.table import Alert, Panel, Row, passes, rises
from desk.numbers import NUMBERS, Number, find_number


def name_number(kind: str, word: str) -> str:
    """Returns the metric of a number."""
    name = f"desk_{kind.replace('-', '_')}_{word}"
    return f"{name}_total" if find_number(kind, word).kind == "counter" else name


def _list_panels(kind: str, word: str, number: Number) -> tuple[Panel, ...]:
    metric = name_number(kind, word)
    legend = "{{process}}" if number.part == "part" else f"{{{{process}}}} {{{{{number.part}}}}}"
    query, unit = f'{metric}{{process=~"$process"}}', "short"
    if number.kind == "counter":
        query, unit = f"rate({query}[$__rate_interval])", "cps"
    if word.endswith("_seconds"):
        unit = "percentunit" if number.kind == "counter" else "s"
    if word.endswith("_bytes"):
        unit = "bytes"
    return (Panel("Desk processes", f"{kind}: {word.replace('_', ' ')}", ((query, legend),), unit),)


_ALERTS: dict[str, tuple[Alert, ...]] = {
    "desk_sync_redis_lost": (
        passes("desk_sync_redis_lost", "RedisLost", "critical",
               "{{ $labels.process }}: Redis is away, and the policy for that is in force"),),
    "desk_sync_redis_age_seconds": (
        passes("desk_sync_redis_age_seconds", "RedisOld", "warning",
               "{{ $labels.process }}: Redis has not answered for {{ $value | humanizeDuration }}", 5, 5),),
    "desk_sync_bad_keys": (
        passes("desk_sync_bad_keys", "LimitRefused", "warning",
               "{{ $labels.process }}: {{ $value }} keys in Redis hold values that no limit can have", 30),),
    "desk_sync_unconfirmed_total": (
        rises("desk_sync_unconfirmed_total", "LimitUnconfirmed", "critical",
              "{{ $labels.process }}: {{ $labels.agent }} did not confirm {{ $value }} changes of limits"),),
    "desk_sync_values_refused_total": (
        rises("desk_sync_values_refused_total", "RedisRefuses", "warning",
              "{{ $labels.process }}: Redis refused {{ $value }} values"),),
    "desk_sync_audit_lost_total": (
        rises("desk_sync_audit_lost_total", "AuditLost", "critical",
              "{{ $labels.process }}: {{ $value }} changes of limits are not in the audit file"),),
    "desk_ingest_lag": (
        passes("desk_ingest_lag", "IngestLag", "warning",
               "{{ $labels.process }}: {{ $labels.partition }} has {{ $value }} records that have not been taken",
               30, 100_000),),
    "desk_ingest_stands": (
        passes("desk_ingest_stands", "IngestStands", "critical",
               "{{ $labels.process }}: no records of {{ $labels.partition }} are taken", 15),),
    "desk_ingest_problems": (
        passes("desk_ingest_problems", "IngestLog", "critical",
               "{{ $labels.process }}: something is wrong with the log of {{ $labels.partition }}: see desk status"),),
    "desk_ingest_expired_total": (
        rises("desk_ingest_expired_total", "IngestExpired", "critical",
              "{{ $labels.process }}: {{ $value }} records of {{ $labels.partition }} were deleted, unread"),),
    "desk_ingest_mistyped_fields_total": (
        rises("desk_ingest_mistyped_fields_total", "IngestSchema", "critical",
              "{{ $labels.process }}: {{ $labels.partition }}: in the schema {{ $value }} fields have another type"),),
    "desk_ingest_commit_errors_total": (
        rises("desk_ingest_commit_errors_total", "IngestCommits", "warning",
              "{{ $labels.process }}: {{ $value }} offsets could not be committed"),),
    "desk_worker_waited_seconds_total": (
        Alert("WorkerWaits", "rate(desk_worker_waited_seconds_total[1m]) > 0.5", 60, "warning",
              "{{ $labels.process }}: the output's ring is full {{ $value | humanizePercentage }} of the time"),),
    "desk_worker_send_failures_total": (
        rises("desk_worker_send_failures_total", "WorkerSends", "warning",
              "{{ $labels.process }}: sending results failed {{ $value }} times: see desk status"),),
    "desk_run_errors_total": (
        rises("desk_run_errors_total", "HandlerErrors", "warning",
              "{{ $labels.process }}: {{ $value }} exceptions in {{ $labels.handler }}"),),
    "desk_run_dropped_total": (
        rises("desk_run_dropped_total", "HandlerDrops", "warning",
              "{{ $labels.process }}: {{ $value }} events were lost at {{ $labels.handler }}, which is too slow"),),
    "desk_run_delivery_blocked": (
        passes("desk_run_delivery_blocked", "DeliveryBlocked", "warning",
               "{{ $labels.process }}: a slow handler has stopped delivery for 30 s", 30),),
}  # fmt: skip
ROWS: dict[str, Row] = {
    name_number(kind, word): Row(_ALERTS.get(name_number(kind, word), ()), (), _list_panels(kind, word, number))
    for kind, numbers in NUMBERS.items()
    for word, number in numbers.items()
}
