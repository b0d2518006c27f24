"""What a scraper, its alerts and its dashboards get: one table of metrics, which an exporter serves.

metrics    the table: each metric with its alerts, recording rules and panels, of `engines`, `hosts` and `desk`
collect    all metrics of this host, read anew for each answer
server     the HTTP server, bounded
rules      the table as rules of Prometheus
dashboards the table as dashboards of Grafana
"""
