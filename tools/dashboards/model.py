"""The dashboard of one FastGenDeployment: first whether the promise is kept, then why or why not."""

from __future__ import annotations

from dashboards.grafana import Dashboard, Panel, Row, Series, Variable
from fastgen.contract import balancer_metrics as balancer
from fastgen.contract import metrics as replica
from fastgen.contract.metrics import GENERATION_RATE, Metric

MINE = 'namespace="$namespace",fastgen_dev_deployment="$deployment"'
"""Selects the series of the replicas and balancers."""
OPERATORS = 'namespace="$namespace",name="$deployment"'
"""Selects the operator's series about it."""
WINDOW = "$__rate_interval"


def rate(name: str, by: str = "", more: str = "") -> str:
    """Per second, of all pods together or by a label."""
    return f"sum{f' by ({by})' if by else ''}(rate({name}{{{MINE}{more}}}[{WINDOW}]))"


def scaling(name: str) -> str:
    return f"fastgen_operator_scaling_{name}{{{OPERATORS}}}"


def quantiles(metric: Metric) -> list[Series]:
    """Of all replicas together."""
    return [
        Series(f"histogram_quantile({share}, {rate(f'{metric.name}_bucket', 'le')})", name)
        for share, name in ((0.5, "half of them"), (0.9, "90 %"), (0.99, "99 %"))
    ]


def mean(name: str) -> str:
    return f"{rate(f'{name}_sum')} / {rate(f'{name}_count')}"


REQUESTS = rate(replica.REQUESTS.sample)
EFFECTIVE = rate(replica.EFFECTIVE_REQUESTS.sample, more=f',{GENERATION_RATE}="$rate"')

PROMISE = Row(
    "Is the promise kept?",
    [
        Panel(
            "Attainment",
            "Share of the requests that kept the promise, at the chosen rate of tokens per second.",
            [Series(f"{EFFECTIVE} / {REQUESTS}", "attainment"), Series(scaling("target_ratio"), "target")],
            unit="percentunit",
            maximum=1,
        ),
        Panel(
            "Effective throughput",
            "Requests that ended, and those of them that kept the promise.",
            [Series(REQUESTS, "all"), Series(EFFECTIVE, "effective")],
            unit="reqps",
        ),
        Panel(
            "Answers",
            "What clients were told, by status.",
            [Series(rate(balancer.BALANCER_REQUESTS, "code"), "{{code}}")],
            unit="reqps",
        ),
    ],
)

SCALING = Row(
    "Scaling",
    [
        Panel(
            "Replicas",
            "Asked for, ready, and what the autoscaler would have.",
            [
                Series(scaling("replicas"), "asked for"),
                Series(scaling("ready_replicas"), "ready"),
                Series(scaling("desired_replicas"), "the autoscaler's wish"),
            ],
        ),
        Panel(
            "Demand and supply",
            "Tokens per second that arrive, what the replicas can do in time, and what they do.",
            [
                Series(scaling("demand_tokens_per_second"), "demand"),
                Series(scaling("supply_tokens_per_second"), "supply"),
                Series(rate(replica.SERVED_TOKENS.sample), "served"),
            ],
        ),
        Panel(
            "Decisions",
            "Reasons of the autoscaler's decisions; docs/autoscaling.md explains each.",
            [
                Series(
                    f"sum by (reason)(rate(fastgen_operator_scaling_decisions_total{{{OPERATORS}}}[{WINDOW}]))",
                    "{{reason}}",
                )
            ],
        ),
    ],
)

LATENCY = Row(
    "Latency",
    [
        Panel("Time to first token", "From arrival.", quantiles(replica.FIRST_TOKEN_SECONDS), "s", width=6),
        Panel("Between tokens", "Every gap of every answer.", quantiles(replica.GAP_SECONDS), "s", width=6),
        Panel("Whole requests", "From arrival to the last token.", quantiles(replica.E2E_SECONDS), "s", width=6),
        Panel("Waiting to be admitted", "At the engine.", quantiles(replica.QUEUE_SECONDS), "s", width=6),
    ],
)

ENGINE = Row(
    "Replicas",
    [
        Panel(
            "How full steps are",
            "Tokens in a step divided by the budget. Dynamic SplitFuse keeps it at 1 while prompts wait.",
            [Series(mean(replica.STEP_FILL.name), "mean")],
            unit="percentunit",
        ),
        Panel("Time of a step", "Of all replicas.", quantiles(replica.STEP_SECONDS), "s"),
        Panel(
            "Running and waiting",
            "Sequences in the steps now, and those not admitted yet.",
            [
                Series(f"sum({replica.NUM_REQUESTS_RUNNING.sample}{{{MINE}}})", "running"),
                Series(f"sum({replica.NUM_REQUESTS_WAITING.sample}{{{MINE}}})", "waiting"),
            ],
        ),
        Panel(
            "KV cache in use",
            "By replica. At 1, sequences are preempted and computed again.",
            [Series(f"{replica.KV_CACHE_USAGE.sample}{{{MINE}}}", "{{pod}}")],
            unit="percentunit",
            maximum=1,
        ),
        Panel(
            "Preemptions",
            "Sequences that gave their blocks back.",
            [Series(rate(replica.NUM_PREEMPTIONS.sample, "pod"), "{{pod}}")],
            unit="ops",
        ),
        Panel(
            "Found in the prefix cache",
            "Share of prompt tokens that were computed before.",
            [Series(f"{rate(replica.PREFIX_CACHE_HITS.sample)} / {rate(replica.PREFIX_CACHE_QUERIES.sample)}", "hits")],
            unit="percentunit",
            maximum=1,
        ),
    ],
)

BALANCER = Row(
    "Balancers",
    [
        Panel(
            "Held requests",
            "Waiting for a replica to be ready.",
            [Series(f"sum({balancer.BALANCER_HELD_REQUESTS}{{{MINE}}})", "held")],
        ),
        Panel(
            "Work at each replica",
            "Tokens sent and not yet answered, of all balancers.",
            [Series(f"sum by (replica)({balancer.BALANCER_OUTSTANDING_TOKENS}{{{MINE}}})", "{{replica}}")],
        ),
        Panel(
            "What went wrong",
            "Requests tried again, answers cut in the middle, replicas left out.",
            [
                Series(rate(balancer.BALANCER_RETRIES, "reason"), "retried: {{reason}}"),
                Series(rate(balancer.BALANCER_CUT_STREAMS), "cut"),
                Series(rate(balancer.BALANCER_EJECTIONS), "left out"),
            ],
            unit="ops",
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="fastgen-model",
    title="FastGen / model",
    description="One FastGenDeployment: whether its latency promise is kept, how it scales, and what its pods do.",
    variables=[
        Variable("namespace", "Namespace", f"label_values({balancer.BALANCER_REPLICAS}, namespace)"),
        Variable(
            "deployment",
            "Deployment",
            f'label_values({balancer.BALANCER_REPLICAS}{{namespace="$namespace"}}, fastgen_dev_deployment)',
        ),
        Variable(
            "rate",
            "Tokens per second",
            f"label_values({replica.EFFECTIVE_REQUESTS.sample}{{{MINE}}}, {GENERATION_RATE})",
        ),
    ],
    rows=[PROMISE, SCALING, LATENCY, ENGINE, BALANCER],
)
