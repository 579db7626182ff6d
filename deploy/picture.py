"""Draw the dashboard without Grafana, from what a real Prometheus measured.

Serves the example shop with a canary and a shadow, scrapes it for two minutes under a light load, evaluates every
panel's queries over that time, and draws them into one picture.

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
from pathlib import Path
from typing import Any

import httpx
import matplotlib
import numpy as np
import onnx
from onnx import numpy_helper

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from deploy.panels import MINE, ROWS, Panel
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
    """Draw all rows of the dashboard."""
    columns = max(len(row) for row in ROWS.values())
    figure, axes = plt.subplots(len(ROWS), columns, figsize=(5 * columns, 2.6 * len(ROWS)), dpi=60)
    for row_axes, (name, row) in zip(axes, ROWS.items(), strict=True):
        row_axes[0].set_ylabel(name, fontsize=12, fontweight="bold")
        for axis, panel in zip(row_axes, row, strict=False):
            _draw_panel(axis, panel, {k: series(prometheus, q, start, end) for k, q in panel.queries.items()}, start)
        for axis in row_axes[len(row) :]:
            axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(to)


def _draw_panel(axis: Any, panel: Panel, found: dict[str, list[dict[str, Any]]], start: float) -> None:
    factor, unit = SCALE[panel.unit]
    axis.set_title(panel.title + (f" ({unit})" if unit else ""), fontsize=10)
    for legend, lines in found.items():
        for line in lines:
            label = legend
            for name, value in line["metric"].items():
                label = label.replace(f"{{{{{name}}}}}", value)
            axis.plot(
                [float(t) - start for t, _ in line["values"]],
                [float(v) * factor for _, v in line["values"]],
                label=label,
            )
    if axis.lines:
        # Room for the legend above the lines, and a little below, so that a line at zero is seen.
        top = max(axis.get_ylim()[1], 0.1)
        axis.set_ylim(-0.03 * top, 1.35 * top)
        axis.legend(fontsize=7, loc="upper left", ncols=3)
    else:
        axis.text(0.5, 0.5, "nothing was counted", ha="center", transform=axis.transAxes, color="gray")
    axis.set_xlim(left=0)
    axis.set_xlabel("seconds", fontsize=7)
    axis.tick_params(labelsize=7)


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


def main(to: Path, seconds: int = 120, rate: int = 100) -> None:
    """Serve, scrape, load and draw."""
    port, prometheus_port = free_port(), free_port()
    service, prometheus = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{prometheus_port}"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))
        os.environ["BENTOML_HOME"] = f"{folder}/bentoml"
        demo = (sys.executable, "-m", "ranker", "demo", "--dir", f"{folder}/shop")
        subprocess.run(demo, check=True)
        os.environ.update(ROLLOUT, RANKER_CANARY_MODEL=store_next(), RANKER_SHADOW_MODEL="ranker-next:1")
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
        subprocess.run([sys.executable, "-m", "ranker", *load], check=False)
        draw(prometheus, start, time.time(), to)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
