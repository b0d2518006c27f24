"""Rows of the table: the metrics of engines (agent.monitor.prometheus), and those of the journals' rings beside them.

A counter that is new in agent_shm.h is exported by itself, is in a graph by its name, and of the families malformed_,
refused_, reject_ and contradicted_ it is in the alerts and rules of its family.
"""

import re
from collections.abc import Iterator

from prometheus_client import Metric as Family

from agent.monitor.prometheus import collect_metrics
from agent.shm import _segment, identity
from agent.shm.histogram import Histogram
from agent.shm.ring import Fill
from agent.shm.segment import Request, Segment
from desk.export.table import Alert, Panel, Record, Row, make_gauge, passes, rises

#: Share of a limit from which on an alert says that it is near.
NEAR = 0.8

_RUNS = 'on (instance, agent) (agent_state{state="running"} == 1)'
#: Graphs of counters by name: dashboard, title, and which. The first that matches has it.
_GRAPHS: list[tuple[str, str, str]] = [
    ("Engine feed", "Lost, gaps, drops", r"lost|gaps|healed|requests|held_dropped|kernel_drops|receive_errors"),
    ("Engine feed", "Datagrams and messages", r"datagrams|messages|packets_.*|heartbeats|duplicates|end_of_session"),
    ("Engine feed", "Feed: bytes", r"datagram_bytes"),
    ("Engine feed", "Messages by kind", r"book_ticker|trade|itch|depth_update|other|other_symbol"),
    ("Engine feed", "Malformed messages", r"malformed_.*"),
    ("Engine feed", "Quotes and trades refused", r"refused_.*|quotes_restarted|stamps_.*"),
    ("Engine feed", "Sessions and sources", r"sessions|wrong_.*|far_ahead|day_starts|trades_broken"),
    ("Engine feed", "Books", r"book.*"),
    ("Engine orders", "Calls of the strategy", r"events|fills|timers|strategy_errors|warmed"),
    ("Engine orders", "Orders", r"orders_(wanted|sent)|replaces_sent|cancels_sent"),
    ("Engine orders", "Orders refused by the gate", r"reject_.*"),
    (
        "Engine orders",
        "Answers of the exchange",
        r"accepted|replaced|executed|canceled|rejected|.*_rejected|replaces_.*",
    ),
    ("Engine orders", "Contradictions and orphans", r"contradicted_.*|answers_unmatched|orders_.*|broken_trades"),
    ("Engine orders", "The exchange's link", r"exchange_.*|heartbeats_sent|logins|connection_lost|send_.*"),
    ("Engine orders", "Losses and journal", r"loss_kills|journal_records"),
    ("Engine process", "Faults and switches", r".*_faults|involuntary_switches"),
    ("Engine process", "System calls and polls", r".*_calls|.*_polls|yields"),
    ("Engine process", "Other counters", r".*"),
]
_STAGES = tuple(_segment.histograms())
_LABELS = "{{agent}} on {{instance}}"


def describe_engine() -> Iterator[Family]:
    """Yields each metric family that an engine of this build has, with the values of none that ever ran."""
    empty = Histogram(count=0, sum=0, min=0, max=0, bits=0, buckets=())
    limits = dict.fromkeys(_segment.limits(), 0)
    yield from describe_ring("none", Fill(64, 0, False, False))
    yield from collect_metrics(Segment(
        path="/none.segment", state="starting", pid=0, start_time=0, started_ns=0, heartbeat_ns=0,
        boot_id=identity.read_boot_id(), ended="", tripped="", feed_session="", abi=0, build="",
        counters=dict.fromkeys(_segment.counters(), 0), histograms=dict.fromkeys(_STAGES, empty),
        limits=limits, configured=limits, request=Request(0, 0, 0, 0, 0, 0), symbols=(),
    ))  # fmt: skip


def describe_ring(agent: str, fill: Fill) -> Iterator[Family]:
    """Yields what the head of an engine's journal ring says."""
    for name, text, value in (
        ("used_bytes", "bytes in the journal's ring that are not on the disk yet", fill.used),
        ("size_bytes", "bytes that the journal's ring holds", fill.capacity),
    ):
        yield make_gauge(f"agent_journal_ring_{name}", text, {"agent": agent}, value)
    text = "1: a process takes the journal's records to the disk"
    yield make_gauge("agent_journal_writer_up", text, {"agent": agent}, fill.reader)


def _sum(prefix: str) -> str:
    """Returns an expression: all counters with a prefix, by the second."""
    names = [name for name, word in _segment.counters().items() if name.startswith(prefix) and word.kind == "counter"]
    return " + ".join(f"rate(agent_{name}_total[5m])" for name in names)


def _near(value: str, limit: str, name: str, what: str) -> Alert:
    """Returns an alert on a value that is beyond NEAR of a limit which is not off."""
    matched = "on (instance, agent) group_left ()"
    return Alert(
        name,
        f"{value} > {matched} ({NEAR:g} * ({limit} > 0))",
        0,
        "warning",
        f"{{{{ $labels.agent }}}}: {what} is {{{{ $value }}}}, over {NEAR:.0%} of the limit",
    )


def _quantile(stage: str, share: float) -> Record:
    percent = f"{share * 100:g}".replace(".", "")
    return Record(
        f"agent:{stage}_seconds:p{percent}_5m",
        f"histogram_quantile({share:g}, sum by (instance, agent, le) (rate(agent_{stage}_seconds_bucket[5m])))",
    )


#: By metric.
ROWS: dict[str, Row] = {
    "agent_up": Row(panels=(Panel("Desk overview", "Engines that run", (('agent_up{agent=~"$agent"}', _LABELS),)),)),
    "agent_state": Row(
        alerts=(
            Alert("EngineDied", 'agent_state{state="died"} == 1', 0, "critical",
                  "{{ $labels.agent }}: the engine's process is gone, and did not stop in order"),
            Alert("EngineHung", 'agent_state{state="hung"} == 1', 0, "critical",
                  "{{ $labels.agent }}: the engine's loop does not run, and its process is there"),
            Alert("EngineStopped", 'agent_state{state="stopped"} == 1', 300, "info",
                  "{{ $labels.agent }}: the engine was stopped in order"),
            Alert("EngineNotTrading", 'agent_state{state=~"starting|connecting"} == 1', 120, "warning",
                  "{{ $labels.agent }}: the engine is {{ $labels.state }}, and its gate is shut"),
        ),
        panels=(Panel("Desk overview", "State of each engine",
                      (('agent_state{agent=~"$agent"} == 1', "{{agent}} {{state}}"),)),),
    ),
    "agent_heartbeat_age_seconds": Row(panels=(
        Panel("Engine process", "Heartbeat age", (('agent_heartbeat_age_seconds{agent=~"$agent"}', _LABELS),), "s"),)),
    "agent_lost_total": Row(
        alerts=(rises("agent_lost_total", "FeedLost", "critical",
                      "{{ $labels.agent }}: {{ $value }} messages of the feed were given up"),),
        panels=(Panel("Desk overview", "Messages lost in 5 minutes",
                      (('increase(agent_lost_total{agent=~"$agent"}[5m])', _LABELS),)),),
    ),
    "agent_gaps_total": Row(alerts=(
        rises("agent_gaps_total", "FeedGaps", "warning",
              "{{ $labels.agent }}: {{ $value }} gaps in the feed's sequence numbers"),)),
    "agent_kernel_drops_total": Row(alerts=(
        rises("agent_kernel_drops_total", "KernelDrops", "critical",
              "{{ $labels.agent }}: the kernel dropped {{ $value }} datagrams: the receive buffer was full"),)),
    "agent_receive_errors_total": Row(alerts=(
        rises("agent_receive_errors_total", "ReceiveErrors", "warning",
              "{{ $labels.agent }}: {{ $value }} receive system calls failed"),)),
    "agent_held_dropped_total": Row(alerts=(
        rises("agent_held_dropped_total", "FeedStoreFull", "warning",
              "{{ $labels.agent }}: feed.store had no space for {{ $value }} packets behind a gap"),)),
    "agent_datagrams_total": Row(
        alerts=(Alert("FeedSilent", f"(rate(agent_datagrams_total[1m]) == 0) and {_RUNS}", 60, "critical",
                      "{{ $labels.agent }}: no datagram for a minute, and a feed has heartbeats"),),
        records=(Record("agent:datagrams:rate1m", "rate(agent_datagrams_total[1m])"),),
    ),
    "agent_messages_total": Row(records=(Record("agent:messages:rate1m", "rate(agent_messages_total[1m])"),)),
    "agent_malformed_truncated_total": Row(
        alerts=(Alert("FeedMalformed", "agent:malformed:rate5m > 0", 60, "warning",
                      "{{ $labels.agent }}: {{ $value }} malformed messages and datagrams a second"),),
        records=(Record("agent:malformed:rate5m", _sum("malformed_")),),
    ),
    "agent_refused_crossed_total": Row(
        alerts=(Alert("QuotesRefused", "agent:refused:rate5m / agent:messages:rate1m > 0.01", 60, "warning",
                      "{{ $labels.agent }}: {{ $value | humanizePercentage }} of the messages are refused quotes"),),
        records=(Record("agent:refused:rate5m", _sum("refused_")),),
    ),
    "agent_feed_contested": Row(alerts=(
        passes("agent_feed_contested", "FeedContested", "critical",
               "{{ $labels.agent }}: packets of another session are in sequence beside the feed's"),)),
    "agent_ring_damaged": Row(alerts=(
        passes("agent_ring_damaged", "FeedRingDamaged", "critical",
               "{{ $labels.agent }}: the feed's ring is damaged, and nothing more is read from it"),)),
    "agent_book_inconsistent_total": Row(alerts=(
        rises("agent_book_inconsistent_total", "BookInconsistent", "warning",
              "{{ $labels.agent }}: {{ $value }} messages contradict the book"),)),
    "agent_symbol_stale": Row(
        alerts=(passes("agent_symbol_stale", "BookStale", "warning",
                       "{{ $labels.agent }}: the book of {{ $labels.symbol }} is not to be trusted", 10),),
        panels=(Panel("Engine positions", "Books that are stale",
                      (('agent_symbol_stale{agent=~"$agent"}', "{{agent}} {{symbol}}"),)),),
    ),
    "agent_market_breached": Row(alerts=(
        passes("agent_market_breached", "MarketBreached", "warning",
               "{{ $labels.agent }}: level {{ $value }} of the market-wide circuit breaker is breached"),)),
    "agent_limit_kill": Row(
        alerts=(passes("agent_limit_kill", "GateShut", "critical",
                       "{{ $labels.agent }}: the kill switch is on, and no order passes"),),
        panels=(Panel("Desk overview", "Kill switch and contradictions",
                      (('agent_limit_kill{agent=~"$agent"}', "{{agent}} kill"),
                       ('agent_contradicted{agent=~"$agent"}', "{{agent}} contradicted"))),),
    ),
    "agent_loss_kills_total": Row(alerts=(
        rises("agent_loss_kills_total", "LossKill", "critical",
              "{{ $labels.agent }}: a loss was beyond its limit, and the kill switch was set"),)),
    "agent_contradicted": Row(alerts=(
        passes("agent_contradicted", "Contradicted", "critical",
               "{{ $labels.agent }}: the exchange said what cannot be; the gate is shut until `agent resume`"),)),
    "agent_symbol_profit": Row(
        alerts=(
            _near("-agent:profit:sum", "agent_limit_max_loss", "LossNear", "the loss of today"),
            _near("-agent_symbol_profit", "agent_limit_max_symbol_loss", "SymbolLossNear",
                  "the loss of {{ $labels.symbol }} today"),
        ),
        records=(Record("agent:profit:sum", "sum by (instance, agent) (agent_symbol_profit)"),),
        panels=(Panel("Engine positions", "Profit of today",
                      (('agent_symbol_profit{agent=~"$agent"}', "{{agent}} {{symbol}}"),)),
                Panel("Desk overview", "Profit of today by engine",
                      (('sum by (instance, agent) (agent_symbol_profit{agent=~"$agent"})', _LABELS),))),
    ),
    "agent_symbol_position": Row(
        alerts=(_near("abs(agent_symbol_position)", "agent_limit_max_position", "PositionNear",
                      "the position of {{ $labels.symbol }}"),),
        panels=(Panel("Engine positions", "Position",
                      (('agent_symbol_position{agent=~"$agent"}', "{{agent}} {{symbol}}"),)),),
    ),
    "agent_symbol_open_buy": Row(panels=(
        Panel("Engine positions", "Units in open orders",
              (('agent_symbol_open_buy{agent=~"$agent"}', "{{agent}} {{symbol}} buy"),
               ('-agent_symbol_open_sell{agent=~"$agent"}', "{{agent}} {{symbol}} sell"))),)),
    "agent_orders_open": Row(
        alerts=(_near("agent_orders_open", "agent_limit_max_open_orders", "OpenOrdersNear",
                      "the number of open orders"),),
        panels=(Panel("Engine orders", "Open orders", (('agent_orders_open{agent=~"$agent"}', _LABELS),)),),
    ),
    "agent_orders_today": Row(
        alerts=(_near("agent_orders_today", "agent_limit_max_orders_per_day", "OrdersOfDayNear",
                      "the number of orders today"),),
        panels=(Panel("Engine orders", "Orders today", (('agent_orders_today{agent=~"$agent"}', _LABELS),)),),
    ),
    "agent_orders_wanted_total": Row(
        alerts=(Alert("OrdersRefused",
                      "agent:reject:rate5m / (rate(agent_orders_wanted_total[5m]) > 0) > 0.5", 60, "warning",
                      "{{ $labels.agent }}: {{ $value | humanizePercentage }} of the orders are refused by the gate"),),
        records=(Record("agent:reject:rate5m", _sum("reject_")),),
    ),
    "agent_orders_sent_total": Row(records=(Record("agent:orders_sent:rate1m", "rate(agent_orders_sent_total[1m])"),)),
    "agent_reject_journal_total": Row(alerts=(
        rises("agent_reject_journal_total", "JournalFull", "critical",
              "{{ $labels.agent }}: {{ $value }} orders were refused, since the journal's ring is full"),)),
    "agent_strategy_errors_total": Row(alerts=(
        rises("agent_strategy_errors_total", "StrategyErrors", "warning",
              "{{ $labels.agent }}: {{ $value }} calls of the strategy returned an error"),)),
    "agent_send_refused_total": Row(alerts=(
        rises("agent_send_refused_total", "SendRefused", "warning",
              "{{ $labels.agent }}: the exchange's link took no byte, {{ $value }} times"),)),
    "agent_connection_lost_total": Row(alerts=(
        rises("agent_connection_lost_total", "ExchangeLost", "critical",
              "{{ $labels.agent }}: the link to the exchange ended without an end of session"),)),
    "agent_exchange_malformed_total": Row(alerts=(
        rises("agent_exchange_malformed_total", "ExchangeMalformed", "critical",
              "{{ $labels.agent }}: the exchange's bytes were not the protocol"),)),
    "agent_answers_unmatched_total": Row(alerts=(
        rises("agent_answers_unmatched_total", "AnswersUnmatched", "warning",
              "{{ $labels.agent }}: {{ $value }} answers of the exchange are for no open order"),)),
    "agent_orders_never_reached_total": Row(alerts=(
        rises("agent_orders_never_reached_total", "OrdersNeverReached", "warning",
              "{{ $labels.agent }}: the exchange never saw {{ $value }} of the orders"),)),
    "agent_broken_trades_total": Row(alerts=(
        rises("agent_broken_trades_total", "TradesTakenBack", "warning",
              "{{ $labels.agent }}: the exchange took {{ $value }} executions back"),)),
    "agent_major_faults_total": Row(alerts=(
        rises("agent_major_faults_total", "MajorFaults", "warning",
              "{{ $labels.agent }}: the loop waited for the disk, {{ $value }} times"),)),
    "agent_involuntary_switches_total": Row(alerts=(
        rises("agent_involuntary_switches_total", "CpuTaken", "warning",
              "{{ $labels.agent }}: the kernel took the loop's CPU away, {{ $value }} times in 5 minutes", most=50),)),
    "agent_journal_ring_used_bytes": Row(
        alerts=(Alert("JournalBehind", "agent_journal_ring_used_bytes / agent_journal_ring_size_bytes > 0.5", 5,
                      "critical",
                      "{{ $labels.agent }}: the journal's ring is {{ $value | humanizePercentage }} full"),),
        panels=(Panel("Engine process", "Fill of the journal's ring",
                      (('agent_journal_ring_used_bytes{agent=~"$agent"} / '
                        'agent_journal_ring_size_bytes{agent=~"$agent"}', _LABELS),), "percentunit"),),
    ),
    "agent_journal_writer_up": Row(alerts=(
        Alert("JournalWriterDown", f"(agent_journal_writer_up == 0) and {_RUNS}", 10, "critical",
              "{{ $labels.agent }}: no process takes the journal's records to the disk"),)),
    "agent_total_seconds": Row(alerts=(
        Alert("OrdersSlow", "agent:total_seconds:p99_5m > 0.001", 300, "warning",
              "{{ $labels.agent }}: 1 of 100 orders took {{ $value | humanizeDuration }} from tick to order"),)),
}  # fmt: skip


def find_row(name: str, kind: str) -> Row:
    """Returns the row of an engine's metric, with what each counter and each histogram gets by itself: a graph by its
    name; the quantiles of a stage, and their graph."""
    row = ROWS.get(name, Row())
    if kind == "histogram":
        stage = name.removeprefix("agent_").removesuffix("_seconds")
        records = tuple(_quantile(stage, share) for share in (0.5, 0.99))
        title = f"Time of {stage.replace('_', ' ')}: median and 1 of 100"
        queries = tuple((_chosen(record.expression, stage), f"{{{{agent}}}} {part}")
                        for record, part in zip(records, ("median", "1 of 100"), strict=True))  # fmt: skip
        return Row(row.alerts, records, (Panel("Engine latency", title, queries, "s"),))
    return row


def _chosen(expression: str, stage: str) -> str:
    name = f"agent_{stage}_seconds_bucket"
    return expression.replace(f"{name}[5m]", f'{name}{{agent=~"$agent"}}[$__rate_interval]')


def list_graphs(counters: dict[str, str]) -> Iterator[tuple[str, Panel]]:
    """Yields (metric, graph) for graphs of all counters by the second, each in one. counters: kind by name, as in
    agent_shm.h."""
    graphs: dict[tuple[str, str], list[str]] = {}
    for name, kind in counters.items():
        if kind == "counter":
            found = next(graph[:2] for graph in _GRAPHS if re.fullmatch(graph[2], name))
            graphs.setdefault(found, []).append(name)
    order = {graph[:2]: number for number, graph in enumerate(_GRAPHS)}
    for (dashboard, title), names in sorted(graphs.items(), key=lambda item: order[item[0]]):
        queries = tuple(
            (f'rate(agent_{name}_total{{agent=~"$agent"}}[$__rate_interval])', f"{{{{agent}}}} {name}")
            for name in names
        )
        unit = "Bps" if title.endswith("bytes") else "cps"
        yield f"agent_{names[0]}_total", Panel(dashboard, title, queries, unit)
