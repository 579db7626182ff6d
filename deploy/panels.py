"""What the dashboard shows: the rows and panels, each with its queries and what good looks like."""

from __future__ import annotations

from typing import NamedTuple

MINE = 'job="$job",instance=~"$instance"'
"""What every query selects by: the variables of the dashboard."""


class Panel(NamedTuple):
    """One panel.

    `unit` is Grafana's name of it; `queries` maps each legend to a PromQL expression. `bad`: a line that has no colour
    of its own counts something that ought not to be.
    """

    title: str
    unit: str
    good: str
    queries: dict[str, str]
    stacked: bool = False
    bad: bool = False


GREEN, AMBER, RED, GRAY = "#3f9b52", "#e8a33d", "#cf3339", "#8e8e8e"
COLOURS = {
    **dict.fromkeys(("ok", "hits", "compared", "written"), GREEN),
    **dict.fromkeys(("not ok", "failed", "dropped", "evictions", "breaker openings"), RED),
    "degraded": AMBER,
    "abandoned": GRAY,
    "p50": "#9fc5e8",
    "p95": "#4a86c5",
    "p99": "#123f73",
}
"""Lines whose colour has a meaning, by their legend: what is well, what is not, and quantiles the darker the higher."""


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Return the sum of a counter's rates over what is selected."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{MINE}{where}}}[$__rate_interval]))"


def share(metric: str, where: str) -> str:
    """Return which share of a counter's rate has these labels."""
    return f"({rate(metric, where=where)} or vector(0)) / {rate(metric)}"


def quantile(q: float, histogram: str, by: str = "", where: str = "") -> str:
    """Return a quantile of a histogram over what is selected."""
    return f"histogram_quantile({q}, {rate(histogram + '_bucket', f'{by}, le' if by else 'le', where)})"


def total(gauge: str, by: str = "") -> str:
    """Return the sum of a gauge over what is selected."""
    return f"sum{f' by ({by})' if by else ''} ({gauge}{{{MINE}}})"


def mean(histogram: str, by: str = "") -> str:
    """Return the mean observation of a histogram."""
    return f"{rate(histogram + '_sum', by)} / {rate(histogram + '_count', by)}"


TOTAL = ',stage="total"'

ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        Panel(
            "Requests by outcome",
            "reqps",
            "Good: all `ok`. `overloaded` are 429s; `abandoned` are callers that hung up.",
            {"{{outcome}}": rate("ranker_requests_total", "outcome")},
            stacked=True,
            bad=True,
        ),
        Panel(
            "Total: p50, p95, p99",
            "s",
            "Good: p99 below 20 ms at a load that was planned for. From a request's arrival until its answer is ready.",
            {f"p{q}": quantile(q / 100, "ranker_stage_seconds", where=TOTAL) for q in (50, 95, 99)},
        ),
        Panel(
            "Share of requests that are not ok",
            "percentunit",
            "Good: below 0.1 %. Degraded answers count: they are 200s with substitutes.",
            {
                "not ok": share("ranker_requests_total", ',outcome!~"ok|abandoned"'),
            },
            bad=True,
        ),
        Panel(
            "Hit share",
            "percentunit",
            "Good: above 90 % with a steady catalogue. It falls after a start, and when features are written in bulk.",
            {
                "hits": share("ranker_cache_lookups_total", ',result="hit"'),
            },
        ),
    ],
    "Errors": [
        Panel(
            "Degraded by reason",
            "reqps",
            "Good: nothing. features_… is about Redis, scores_… about the model, no_features about ids.",
            {"{{reason}}": rate("ranker_degraded_total", "reason")},
            stacked=True,
            bad=True,
        ),
        Panel(
            "Failures by kind",
            "reqps",
            "Good: nothing. What degraded answers had to do without; the log says once a minute what was raised.",
            {"{{kind}}": rate("ranker_failures_total", "kind")},
            stacked=True,
            bad=True,
        ),
    ],
    "Latency": [
        Panel(
            "p99 by stage",
            "s",
            "Good: fetch and score make up most of total. A long queue is too much load; all long, CPU throttling.",
            {"{{stage}}": quantile(0.99, "ranker_stage_seconds", "stage")},
        ),
        Panel(
            "Mean by stage",
            "s",
            "Good: steady. A stage that grows from release to release is a regression that the p99 hides.",
            {"{{stage}}": mean("ranker_stage_seconds", "stage")},
        ),
    ],
    "Batches": [
        Panel(
            "Requests merged into one call",
            "short",
            "Good: grows with load, and is 1 when it is calm: merging never makes a lone request wait.",
            {"{{hop}}": mean("ranker_merged_requests", "hop")},
        ),
        Panel(
            "Rows of one call",
            "short",
            "Good: below RANKER_MAX_BATCH_ROWS. Of a fetch, only keys that the near cache did not have.",
            {
                "{{hop}} p99": quantile(0.99, "ranker_merged_rows", "hop"),
                "{{hop}} mean": mean("ranker_merged_rows", "hop"),
            },
        ),
        Panel(
            "Products of a request",
            "short",
            "Good: as the callers' pages have them. Long lists take turns.",
            {f"p{q}": quantile(q / 100, "ranker_request_products") for q in (50, 99)},
        ),
    ],
    "Near cache": [
        Panel(
            "Rows held",
            "short",
            "Good: levels off. Each API worker holds its own for each model; ids that Redis lacks count, too.",
            {"{{entity}}": total("ranker_cache_rows", "entity")},
            stacked=True,
        ),
        Panel(
            "Bytes held",
            "bytes",
            "Good: levels off below RANKER_CACHE_MB for each API worker.",
            {"{{instance}}": total("ranker_cache_bytes", "instance")},
        ),
        Panel(
            "Evictions and invalidations",
            "ops",
            "Good: no evictions; else RANKER_CACHE_MB is too small. Invalidations follow writes to Redis.",
            {
                "evictions": rate("ranker_cache_evictions_total"),
                "invalidations": rate("ranker_cache_invalidations_total"),
            },
        ),
    ],
    "Redis": [
        Panel(
            "Redis failures",
            "ops",
            "Good: none. timeout: late; connection: gone; refusal: it answered with an error, which the log names.",
            {"{{kind}}": rate("ranker_redis_failures_total", "kind")},
            stacked=True,
            bad=True,
        ),
        Panel(
            "Workers for which Redis is down",
            "short",
            "Good: 0. Those degrade at once, and ask by probes only.",
            {"{{instance}}": total("ranker_redis_breaker_open", "instance")},
            bad=True,
        ),
        Panel(
            "Connections and breaker openings",
            "ops",
            "Good: both flat. Steady reconnecting means something between closes connections.",
            {
                "connections opened": rate("ranker_redis_connections_total"),
                "breaker openings": rate("ranker_redis_breaker_openings_total"),
            },
        ),
        Panel(
            "Workers that keep rows",
            "short",
            "Good: all API workers. A worker that lost the connection that tells of changes keeps nothing.",
            {"{{instance}}": total("ranker_cache_keeping", "instance")},
        ),
    ],
    "Load": [
        Panel(
            "Rows in flight",
            "short",
            "Good: far below RANKER_MAX_IN_FLIGHT_ROWS for each API worker. components/rows scales by it.",
            {"{{instance}}": total("ranker_in_flight_rows", "instance")},
        ),
        Panel(
            "Waiting, by hop",
            "short",
            "Good: close to 0. turn: too much at once; fetch: Redis; score: the model.",
            {"{{hop}}": total("ranker_waiting", "hop")},
        ),
        Panel(
            "Refused (429)",
            "reqps",
            "Good: none. More arrives than can be ranked in good time.",
            {"{{instance}}": rate("ranker_requests_total", "instance", ',outcome="overloaded"')},
            bad=True,
        ),
        Panel(
            "Slow answers",
            "reqps",
            "Good: none. They took RANKER_SLOW_MS or longer; the log has a line for each, at most ten a second.",
            {"slow": rate("ranker_slow_requests_total")},
            bad=True,
        ),
    ],
    "Workers": [
        Panel(
            "Event loop lag",
            "s",
            "Good: p99 below 25 ms. Something holds the loop up: a collection, a huge value, or no CPU.",
            {f"p{q}": quantile(q / 100, "ranker_loop_lag_seconds") for q in (50, 99)},
        ),
        Panel(
            "Garbage collection",
            "percentunit",
            "Good: below 1 % of a worker's time. Seconds of pauses in a second, over all workers.",
            {"generation {{generation}}": rate("ranker_gc_pause_seconds_sum", "generation")},
            stacked=True,
        ),
        Panel(
            "Model served",
            "short",
            "Good: one line for each model that is meant to be served. During a rollout there are two.",
            {
                "{{model}} {{fingerprint}} {{runner}}": (
                    f"count by (model, fingerprint, runner) (ranker_model_info{{{MINE}}})"
                )
            },
        ),
    ],
    "Rollout": [
        Panel(
            "Requests by model",
            "reqps",
            "Good: the canary has its share of the users. Without a canary there is one line.",
            {"{{model}}": rate("ranker_model_requests_total", "model")},
            stacked=True,
        ),
        Panel(
            "Shadow, by outcome",
            "reqps",
            "Good: all `compared`. dropped: it cannot keep up with its share; failed: the log says why.",
            {"{{outcome}}": rate("ranker_shadow_requests_total", "outcome")},
            stacked=True,
            bad=True,
        ),
        Panel(
            "Rank correlation with the shadow",
            "short",
            "Good: as `ranker model diff` said; 1 is the same order. Half, and a tenth, of the requests are below.",
            {
                "median": quantile(0.5, "ranker_shadow_rank_correlation"),
                "lowest tenth": quantile(0.1, "ranker_shadow_rank_correlation"),
            },
        ),
        Panel(
            "Top products in common with the shadow",
            "percentunit",
            "Good: as `ranker model diff` said. The mean share of the best 10 products, or topK, that both rank best.",
            {"mean": mean("ranker_shadow_top_k_overlap")},
        ),
    ],
    "Features": [
        Panel(
            "Vectors that could not be used",
            "ops",
            "Good: none, or a known few missing. wrong_schema and corrupt are never right.",
            {"{{entity}} {{reason}}": rate("ranker_unusable_rows_total", "entity, reason")},
            stacked=True,
            bad=True,
        ),
        Panel(
            "Context values by default, or rounded",
            "ops",
            "Good: none, or a known few. Values that callers left out, categories that the model does not know, and "
            "whole numbers that are not the same in float32.",
            {
                "{{feature}} {{reason}}": rate("ranker_context_defaults_total", "feature, reason"),
                "{{feature}} rounded": rate("ranker_context_rounded_total", "feature"),
            },
            bad=True,
        ),
        Panel(
            "Scores that are no numbers",
            "ops",
            "Good: none. NaN ranks last, infinity first or, with a minus, behind all numbers.",
            {"NaN": rate("ranker_nan_scores_total"), "infinite": rate("ranker_infinite_scores_total")},
            bad=True,
        ),
        Panel(
            "Feature log",
            "ops",
            "Good: nothing dropped. Files are written when they are finished. Empty without RANKER_FEATURE_LOG.",
            {"{{outcome}}": rate("ranker_feature_log_records_total", "outcome")},
        ),
        Panel(
            "Since the last change of features",
            "s",
            "Good: shorter than the loads' interval. Seconds since Redis last announced a change.",
            {"{{entity}}": f"min by (entity) (ranker_feature_age_seconds{{{MINE}}})"},
        ),
    ],
}
