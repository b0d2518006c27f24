"""Of each alert: series of samples, 15 s apart, at whose end it fires, and such at whose end it does not."""

from typing import NamedTuple

A = 'agent="e", instance="i", job="desk"'
D = 'process="p", kind="ingest", instance="i", job="desk"'
E = 'instance="i", job="desk"'
P = D + ', partition="ticks-0"'
#: In promtool's notation: a counter that rises, and one that has risen long ago.
RISES, STANDS = "0x60 0+1x20", "9x80"
#: Seconds at the end of the series.
NOW = 80 * 15


class Example(NamedTuple):
    fires: dict[str, str]
    quiet: dict[str, str]


def counter(metric: str, rises: str = RISES, labels: str = A) -> Example:
    return Example({f"{metric}{{{labels}}}": rises}, {f"{metric}{{{labels}}}": STANDS})


def gauge(metric: str, fires: float = 1, quiet: float = 0, labels: str = A) -> Example:
    return Example({f"{metric}{{{labels}}}": f"{fires}x80"}, {f"{metric}{{{labels}}}": f"{quiet}x80"})


def state(metric: str, name: str, other: str, labels: str = A) -> Example:
    return Example(
        {f'{metric}{{{labels}, state="{name}"}}': "1x80", f'{metric}{{{labels}, state="{other}"}}': "0x80"},
        {f'{metric}{{{labels}, state="{name}"}}': "0x80", f'{metric}{{{labels}, state="{other}"}}': "1x80"},
    )


def near(value: str, limit: str, labels: str = "") -> Example:
    """A limit of 100, and values of 81 and 79."""
    series, sign = f"{value}{{{A}{labels}}}", "-" if "profit" in value else ""
    held = f"{limit}{{{A}}}"
    return Example({series: f"{sign}81x80", held: "100x80"}, {series: f"{sign}79x80", held: "100x80"})


def pair(fires: str, quiet: str, metric: str, **others: str) -> Example:
    """A series in two ways, beside others that stay."""
    kept = {f"{name}{{{A}}}": values for name, values in others.items()}
    return Example({f"{metric}{{{A}}}": fires, **kept}, {f"{metric}{{{A}}}": quiet, **kept})


_RUNS = f'agent_state{{{A}, state="running"}}'
_TOTAL = f"agent_total_seconds_bucket{{{A}, le="
#: Those of a family are made by fill_family().
FAMILIES = {
    "FeedMalformed": ("malformed_", ""),
    "QuotesRefused": ("refused_", "agent_messages_total"),
    "OrdersRefused": ("reject_", "agent_orders_wanted_total"),
}
EXAMPLES: dict[str, Example] = {
    "EngineDied": state("agent_state", "died", "running"),
    "EngineHung": state("agent_state", "hung", "running"),
    "EngineStopped": state("agent_state", "stopped", "running"),
    "EngineNotTrading": state("agent_state", "connecting", "running"),
    "FeedLost": counter("agent_lost_total"),
    "FeedGaps": counter("agent_gaps_total"),
    "KernelDrops": counter("agent_kernel_drops_total"),
    "ReceiveErrors": counter("agent_receive_errors_total"),
    "FeedStoreFull": counter("agent_held_dropped_total"),
    "FeedSilent": Example(
        {f"agent_datagrams_total{{{A}}}": "7x80", _RUNS: "1x80"},
        {f"agent_datagrams_total{{{A}}}": "7x80", _RUNS: "0x80"},
    ),
    "FeedContested": gauge("agent_feed_contested"),
    "FeedRingDamaged": gauge("agent_ring_damaged"),
    "BookInconsistent": counter("agent_book_inconsistent_total"),
    "BookStale": gauge("agent_symbol_stale", 2, labels=A + ', symbol="S"'),
    "MarketBreached": gauge("agent_market_breached"),
    "GateShut": gauge("agent_limit_kill"),
    "LossKill": counter("agent_loss_kills_total"),
    "Contradicted": gauge("agent_contradicted", 3),
    "LossNear": near("agent_symbol_profit", "agent_limit_max_loss", ', symbol="S"'),
    "SymbolLossNear": near("agent_symbol_profit", "agent_limit_max_symbol_loss", ', symbol="S"'),
    "PositionNear": near("agent_symbol_position", "agent_limit_max_position", ', symbol="S"'),
    "OpenOrdersNear": near("agent_orders_open", "agent_limit_max_open_orders"),
    "OrdersOfDayNear": near("agent_orders_today", "agent_limit_max_orders_per_day"),
    "JournalFull": counter("agent_reject_journal_total"),
    "StrategyErrors": counter("agent_strategy_errors_total"),
    "SendRefused": counter("agent_send_refused_total"),
    "ExchangeLost": counter("agent_connection_lost_total"),
    "ExchangeMalformed": counter("agent_exchange_malformed_total"),
    "AnswersUnmatched": counter("agent_answers_unmatched_total"),
    "OrdersNeverReached": counter("agent_orders_never_reached_total"),
    "TradesTakenBack": counter("agent_broken_trades_total"),
    "MajorFaults": counter("agent_major_faults_total"),
    "CpuTaken": counter("agent_involuntary_switches_total", "0x60 0+10x20"),
    "JournalBehind": pair("60x80", "40x80", "agent_journal_ring_used_bytes", agent_journal_ring_size_bytes="100x80"),
    "JournalWriterDown": Example(
        {f"agent_journal_writer_up{{{A}}}": "0x80", _RUNS: "1x80"},
        {f"agent_journal_writer_up{{{A}}}": "0x80", _RUNS: "0x80"},
    ),
    "OrdersSlow": Example(
        {f'{_TOTAL}"0.001"}}': "0x80", f'{_TOTAL}"0.002"}}': "0+9x80", f'{_TOTAL}"+Inf"}}': "0+9x80"},
        {f'{_TOTAL}"0.001"}}': "0+9x80", f'{_TOTAL}"0.002"}}': "0+9x80", f'{_TOTAL}"+Inf"}}': "0+9x80"},
    ),
    "HostNotReady": gauge("hosttune_check_verdict", labels=E + ', verdict="not ready"'),
    "HostUnknown": gauge("hosttune_check_verdict", labels=E + ', verdict="unknown"'),
    "HostCheckOld": gauge("hosttune_check_time_seconds", -4000, 0, E),  # promtool's time begins at 0
    "DeskDied": state("desk_state", "died", "runs", D),
    "DeskHung": state("desk_state", "hung", "runs", D),
    "DeskEnded": state("desk_state", "ended", "runs", D),
    "EngineUnreadable": gauge("desk_export_engine_readable", 0, 1),
    "ExportErrors": counter("desk_export_errors_total", labels=E + ', source="engine"'),
    "ExportFlooded": counter("desk_export_connections_ended_total", "0x60 0+10x20", E + ', reason="evicted"'),
    "ExportFaults": counter("desk_export_faults_total", labels=E),
    "ExportSlow": gauge("desk_export_collect_seconds", 2, 0.5, E),
    "IngestLag": gauge("desk_ingest_lag", 200_000, 50_000, P),
    "IngestStands": gauge("desk_ingest_stands", labels=P),
    "IngestLog": gauge("desk_ingest_problems", labels=P),
    "IngestExpired": counter("desk_ingest_expired_total", labels=P),
    "IngestSchema": counter("desk_ingest_mistyped_fields_total", labels=P),
    "IngestCommits": counter("desk_ingest_commit_errors_total", labels=D),
    "RedisLost": gauge("desk_sync_redis_lost", labels=D),
    "RedisOld": gauge("desk_sync_redis_age_seconds", 7, 1, D),
    "LimitRefused": gauge("desk_sync_bad_keys", labels=D),
    "LimitUnconfirmed": counter("desk_sync_unconfirmed_total", labels=D + ', agent="e"'),
    "RedisRefuses": counter("desk_sync_values_refused_total", labels=D),
    "AuditLost": counter("desk_sync_audit_lost_total", labels=D),
    "WorkerWaits": counter("desk_worker_waited_seconds_total", "0x20 0+14x60", D),
    "WorkerSends": counter("desk_worker_send_failures_total", labels=D),
    "HandlerErrors": counter("desk_run_errors_total", labels=D + ', handler="h"'),
    "HandlerDrops": counter("desk_run_dropped_total", labels=D + ', handler="h"'),
    "DeliveryBlocked": gauge("desk_run_delivery_blocked", labels=D),
    "ExportDown": gauge("up", 0, 1, E),
}


def fill_family(names: list[str], other: str) -> Example:
    """An alert on all counters of a family: the last one rises, or none; `other` rises in both."""
    quiet = {f"{name}{{{A}}}": "3x80" for name in names} | ({f"{other}{{{A}}}": "0+9x80"} if other else {})
    return Example({**quiet, f"{names[-1]}{{{A}}}": "0+9x80"}, quiet)
