"""The dashboard of the operator itself: who acts, what it does, and what goes wrong."""

from __future__ import annotations

from dashboards.grafana import Dashboard, Panel, Row, Series

WINDOW = "$__rate_interval"


def rate(name: str, by: str, only: str = "") -> str:
    return f"sum by ({by})(rate(fastgen_operator_{name}{f'{{{only}}}' if only else ''}[{WINDOW}]))"


def quantile(name: str, share: float) -> str:
    return f"histogram_quantile({share}, {rate(f'{name}_bucket', 'le')})"


DASHBOARD = Dashboard(
    uid="fastgen-operator",
    title="FastGen / operator",
    description="The operator: who acts, what it does, and what goes wrong. In steady state it writes nothing.",
    variables=[],
    rows=[
        Row(
            "Acting",
            [
                Panel(
                    "Who acts",
                    "1: holds the Lease. Never two.",
                    [Series("fastgen_operator_leader", "{{pod}}")],
                    width=6,
                ),
                Panel(
                    "Deployments",
                    "Looked after, and waiting to be looked at.",
                    [
                        Series("sum(fastgen_operator_deployments)", "looked after"),
                        Series("sum(fastgen_operator_queue_depth)", "waiting"),
                    ],
                    width=6,
                ),
                Panel(
                    "Looks",
                    "By what came of them.",
                    [Series(rate("reconciles_total", "result"), "{{result}}")],
                    "ops",
                    6,
                ),
                Panel(
                    "Time of a look",
                    "From start to end.",
                    [
                        Series(quantile("reconcile_seconds", 0.5), "half of them"),
                        Series(quantile("reconcile_seconds", 0.99), "99 %"),
                    ],
                    "s",
                    6,
                ),
            ],
        ),
        Row(
            "The API server",
            [
                Panel(
                    "Errors", "Tried again, by where.", [Series(rate("errors_total", "reason"), "{{reason}}")], "ops"
                ),
                Panel(
                    "Calls",
                    "By verb and resource.",
                    [Series(rate("api_requests_total", "verb, resource"), "{{verb}} {{resource}}")],
                    "ops",
                ),
                Panel(
                    "Writes",
                    "Objects written, by why; none in steady state.",
                    [Series(rate("changes_total", "kind, why"), "{{kind}} {{why}}")],
                    "ops",
                ),
            ],
        ),
        Row(
            "Scaling",
            [
                Panel(
                    "Decisions",
                    "By reason; docs/autoscaling.md explains each.",
                    [Series(rate("scaling_decisions_total", "reason"), "{{reason}}")],
                    "ops",
                ),
                Panel(
                    "Changes",
                    "Writes of scale.",
                    [Series(rate("scaling_changes_total", "direction"), "{{direction}}")],
                    "ops",
                ),
                Panel(
                    "Prometheus",
                    "How long it took to answer, and questions without an answer.",
                    [
                        Series(quantile("prometheus_query_duration_seconds", 0.99), "99 %"),
                        Series(rate("prometheus_query_errors_total", "kind"), "{{kind}} a second"),
                    ],
                    "s",
                ),
            ],
        ),
    ],
)
