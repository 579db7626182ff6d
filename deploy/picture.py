"""Draw the dashboard without Grafana, from what a real Prometheus measured.

Serves the example shop with a canary and a shadow, scrapes it for seventy-five seconds under a light load in which its
Redis stands still for a while, evaluates every panel's queries over that time, and draws them into one picture.

`python -m deploy.picture docs/dashboard.png`. Needs `prometheus` in PATH (Debian's package).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, cycle, pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import matplotlib
import numpy as np
import onnx
from onnx import numpy_helper
from redis import Redis

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from deploy.panels import COLOURS, GRAY, MINE, ROWS, Panel
from ranker.demo.ports import free_port

SCRAPE_S, STEP_S, WINDOW = 2, 2, "10s"
SCALE = {
    "s": (1000.0, "ms"),
    "percentunit": (100.0, "%"),
    "reqps": (1.0, "req/s"),
    "ops": (1.0, "1/s"),
    "short": (1.0, ""),
    "bytes": (2.0**-20, "MiB"),
}
"""Grafana's units: the factor and the name that a reader of the picture sees."""
ROLLOUT = {"RANKER_CANARY_PERCENT": "25", "RANKER_SHADOW_PERCENT": "20"}
COLUMNS = 4
REDS = ("#cf3339", "#e8736b", "#8f1d21", "#f0a39d", "#5e0f12")
CALM = ("#2f6fb0", "#7b5ea7", "#1b9e9e", "#b0892f", "#6b7f94", "#a8577e", "#4f7a4a", "#9a6b4b")
"""Colours of lines that have none of their own: of what ought not to be, and of the rest."""
PAUSE_S = 4
"""How long Redis stands still in the middle."""
NOISE = 0.3
"""How far the weights of the model that is rolled out are off the shop's, as a share of their own size."""


@contextmanager
def running(*command: str, ready: str) -> Iterator[None]:
    """Run a process until the block ends, once it says at a URL that it is ready."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not become ready")
            time.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def series(prometheus: str, query: str, start: float, end: float) -> list[dict[str, Any]]:
    """Evaluate a panel's query over the time, with the dashboard's variables filled in."""
    query = query.replace(MINE, 'job="ranker"').replace("$__rate_interval", WINDOW)
    answer = httpx.get(
        f"{prometheus}/api/v1/query_range", params={"query": query, "start": start, "end": end, "step": STEP_S}
    )
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def draw(prometheus: str, start: float, end: float, to: Path) -> None:
    """Draw the first row large, then whatever else counted something; name the panels that did not."""
    top, *others = ROWS.values()
    drawn = [(panel, _found(prometheus, panel, start, end)) for panel in (*top, *chain(*others))]
    heroes, rest = drawn[: len(top)], drawn[len(top) :]
    quiet = [panel.title for panel, found in rest if not _counts(found)]
    rest = [(panel, found) for panel, found in rest if _counts(found)]
    count = -(-len(rest) // COLUMNS)
    ends = [len(rest) * i // count for i in range(count + 1)]  # as many in each row as there can be, and no gaps
    rows = [heroes, *(rest[first:last] for first, last in pairwise(ends))]
    figure = plt.figure(figsize=(5 * COLUMNS, 4 + 2.7 * (len(rows) - 1)), dpi=120)
    grid = figure.add_gridspec(len(rows), 1, height_ratios=[1.5, *[1] * (len(rows) - 1)])
    for row, (cell, panels) in enumerate(zip(grid, rows, strict=True)):
        for place, (panel, found) in zip(cell.subgridspec(1, len(panels)), panels, strict=True):
            _draw_panel(figure.add_subplot(place), panel, found, start, 11 if row else 14)
    figure.text(0.01, 0.004, f"Nothing was counted, and nothing is drawn, for: {', '.join(quiet)}.", fontsize=10)
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(to)


Found = dict[str, list[dict[str, Any]]]


def _found(prometheus: str, panel: Panel, start: float, end: float) -> Found:
    return {legend: series(prometheus, query, start, end) for legend, query in panel.queries.items()}


def _counts(found: Found) -> bool:
    """Whether any line of a panel is ever above 0."""
    return any(float(value) > 0 for lines in found.values() for line in lines for _, value in line["values"])


def _draw_panel(axis: Any, panel: Panel, found: Found, start: float, size: int) -> None:
    factor, unit = SCALE[panel.unit]
    axis.set_title(panel.title + (f" ({unit})" if unit else ""), fontsize=size, loc="left", fontweight="bold")
    palette = iter(REDS if panel.bad else CALM)
    for legend, lines in found.items():
        for line in lines:
            label = legend
            for name, value in line["metric"].items():
                label = label.replace(f"{{{{{name}}}}}", value)
            if panel.bad and _counts(found) and not _counts({label: [line]}):
                continue  # of what ought not to be, what was
            axis.plot(
                [float(t) - start for t, _ in line["values"]],
                [float(v) * factor for _, v in line["values"]],
                label=label,
                color=COLOURS.get(label) or next(palette, GRAY),
                linewidth=size / 6,
            )
    # Room for the legend above the lines, and a little below, so that a line at zero is seen.
    top = max(axis.get_ylim()[1], 0.1)
    axis.set_ylim(-0.03 * top, 1.35 * top)
    longest = max((len(str(line.get_label())) for line in axis.lines), default=0)
    legend = axis.legend(fontsize=size - 3, loc="upper left", ncols=1 if longest > 20 else 3, frameon=False)
    legend.set_in_layout(False)
    axis.set_xlim(left=0)
    axis.set_xlabel("seconds", fontsize=size - 3)
    axis.tick_params(labelsize=size - 3)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def store_next() -> str:
    """Store a model for the shop's features that ranks somewhat unlike the shop's; return its tag."""
    from ranker.scoring import registry  # once BENTOML_HOME is set

    stored = registry.find_model("ranker-demo:latest")
    model, random = onnx.load(stored.path_of(registry.MODEL_FILE)), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype == np.float32 and weights.size > 1:
            moved = weights * (1 + NOISE * random.standard_normal(weights.shape, dtype=np.float32))
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), tensor.name))
    return registry.store_model(model.SerializeToString(), registry.schema_of(stored), "ranker-next", "1")[0]


def disturb(shop: Path, seconds: int, over: Event) -> None:
    """Write a product again twice a second, and stop Redis in the middle for a while, as a shop's day has it."""
    pause_at, server = time.monotonic() + seconds / 2, int((shop / "redis.pid").read_text())
    with Redis(unix_socket_path=str(shop / "redis.sock")) as client:
        keys = sorted(client.scan_iter("product:*"))
        for key in cycle(keys):
            client.set(key, client.get(key) or b"")
            if over.wait(0.5):
                return
            if time.monotonic() > pause_at:
                pause_at += seconds
                os.kill(server, signal.SIGSTOP)
                try:
                    over.wait(PAUSE_S)
                finally:
                    os.kill(server, signal.SIGCONT)


def main(to: Path, seconds: int = 75, rate: int = 100) -> None:
    """Serve, scrape, load and draw."""
    port, prometheus_port = free_port(), free_port()
    service, prometheus = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{prometheus_port}"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))
        os.environ["BENTOML_HOME"] = f"{folder}/bentoml"
        demo = (sys.executable, "-m", "ranker", "demo", "--dir", f"{folder}/shop")
        subprocess.run(demo, check=True)
        os.environ.update(ROLLOUT, RANKER_CANARY_MODEL=store_next(), RANKER_SHADOW_MODEL="ranker-next:1")
        os.environ |= {"RANKER_FEATURE_LOG": f"{folder}/log", "RANKER_FEATURE_LOG_FILE_S": "10"}
        serve = (*demo, "--serve", "--host", "127.0.0.1", "--port", str(port))
        stack.enter_context(running(*serve, ready=f"{service}/readyz"))
        config = Path(folder) / "prometheus.yml"
        config.write_text(
            f"global: {{scrape_interval: {SCRAPE_S}s}}\n"
            f"scrape_configs: [{{job_name: ranker, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
        )
        scrape = (
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{prometheus_port}",
        )
        stack.enter_context(running(*scrape, ready=f"{prometheus}/-/ready"))
        start = time.time()
        load = ("bench", service, "--dir", f"{folder}/shop", "--rate", str(rate), "--seconds", str(seconds))
        over = Event()
        day = Thread(target=disturb, args=(Path(folder) / "shop", seconds, over))
        day.start()
        subprocess.run([sys.executable, "-m", "ranker", *load], check=False)
        over.set()
        day.join()
        draw(prometheus, start, time.time(), to)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
