"""Exposition: the text of `/metrics`, summed over the files that all processes of a service write.

prometheus_client parses every key of every file at each scrape, 10 us a line, and BentoML has it do so twice. But keys
hardly change: here they are parsed when they appear, and a scrape reads numbers, 1 us a line. Owns how the files of
prometheus_client's multi-process mode are read (`prometheus_client/mmap_dict.py` has their form); what it shows is what
`MultiProcessCollector` would.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ranker.telemetry.metrics.dead import reading

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Labels = tuple[tuple[str, str], ...]
HOW = {"sum": np.add, "all": np.add, "min": np.minimum, "max": np.maximum}
"""Merging of the values of processes, by a gauge's mode; those of `all` have a line each. Not here, for nobody uses it:
`mostrecent`."""
START = {np.add: 0.0, np.minimum: np.inf, np.maximum: -np.inf}
_USED = struct.Struct("i")


class Exposition:
    """Renders the metrics of a service.

    Args:
        folder: Where its processes keep the files, `PROMETHEUS_MULTIPROC_DIR`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}
        self._sheet = _Sheet([])

    def render(self) -> bytes:
        """Return the text, in the format `CONTENT_TYPE`."""
        with reading(self._folder):
            names = sorted(path.name for path in self._folder.glob("*.db"))
            files = {name: self._files.get(name) or _File(self._folder / name) for name in names}
            grown = [file.read() for file in files.values()]
        if any(grown) or files.keys() != self._files.keys():
            self._sheet = _Sheet(files.values())
        self._files = files
        return self._sheet.fill()


class _File:
    """One process's values of one kind: their keys, parsed when they appear, and where the numbers are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kind, *rest = path.stem.split("_")  # counter_PID, histogram_PID, gauge_MODE_PID
        mode = rest[0].removeprefix("live") if self.kind == "gauge" else "sum"
        self.how = HOW[mode]
        self.labels: Labels = (("pid", rest[-1]),) if mode == "all" else ()
        self.keys: list[str] = []
        self._used = 0
        self._at = np.empty(0, dtype=np.intp)
        self.values = np.empty(0)

    def read(self) -> bool:
        """Read the values; return whether there are new keys."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:  # of a live gauge whose process just ended
            data = b""
        used = _USED.unpack_from(data)[0] if len(data) >= _USED.size else 0
        grown = used != self._used
        if grown:
            self._used = used
            entries = list(MmapedDict.read_all_values_from_file(str(self._path))) if used else []
            self.keys = [key for key, _, _, _ in entries]
            self._at = np.array([position for _, _, _, position in entries], dtype=np.intp) // 8
        self.values = np.frombuffer(data, dtype=np.float64, count=len(data) // 8)[self._at]
        return grown


class _Sheet(Collector):
    """The lines, with room for their values."""

    def __init__(self, files: Iterable[_File]) -> None:
        self._metrics: dict[str, tuple[str, str, dict[tuple[str, Labels], int]]] = {}
        start: list[float] = []
        self._columns: list[tuple[_File, np.ndarray]] = []
        for file in files:
            slots = []
            for key in file.keys:
                metric, name, labels, text = _parse(key)
                _, _, samples = self._metrics.setdefault(metric, (file.kind, text, {}))
                slot = samples.setdefault((name, labels + file.labels), len(start))
                if slot == len(start):
                    start.append(START[file.how])
                slots.append(slot)
            self._columns.append((file, np.array(slots, dtype=np.intp)))
        self._start = np.array(start)
        self._buckets: list[np.ndarray] = []
        self._order: list[int] = []
        self._heads: list[str] = []
        head = ""
        for line in generate_latest(self).decode().split("\n")[:-1]:
            if line.startswith("#"):
                head += f"{line}\n"
            else:
                self._heads.append(f"{head}{line.removesuffix('0.0')}")
                head = ""

    def fill(self) -> bytes:
        """Return the text with the values as the files have them."""
        values = self._start.copy()
        for file, slots in self._columns:
            file.how.at(values, slots, file.values)
        for buckets in self._buckets:
            values[buckets] = np.cumsum(values[buckets])
        shown = map(floatToGoString, values[self._order].tolist())
        return "".join(f"{head}{value}\n" for head, value in zip(self._heads, shown, strict=True)).encode()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its samples, all 0, and note where the value of each is."""
        for metric, (kind, text, samples) in self._metrics.items():
            family = Metric(metric, text, kind)
            if kind == "histogram":
                self._add_histogram(family, samples)
            else:
                for (name, labels), slot in samples.items():
                    family.add_sample(name, dict(labels), 0.0)
                    self._order.append(slot)
            yield family

    def _add_histogram(self, family: Metric, samples: dict[tuple[str, Labels], int]) -> None:
        """Add each series' buckets, whose values are summed from the lowest on, its count, and its sum."""
        bucket, total = f"{family.name}_bucket", f"{family.name}_sum"
        series: dict[Labels, list[tuple[float, str, int]]] = {}
        for (name, labels), slot in samples.items():
            if name == bucket:
                bound = dict(labels)["le"]
                rest = tuple(label for label in labels if label[0] != "le")
                series.setdefault(rest, []).append((float(bound), bound, slot))
        for labels, bounds in series.items():
            bounds.sort()
            self._buckets.append(np.array([slot for _, _, slot in bounds], dtype=np.intp))
            for _, bound, slot in bounds:
                family.add_sample(bucket, {**dict(labels), "le": bound}, 0.0)
                self._order.append(slot)
            family.add_sample(f"{family.name}_count", dict(labels), 0.0)
            self._order.append(bounds[-1][2])
            if (total, labels) in samples:
                family.add_sample(total, dict(labels), 0.0)
                self._order.append(samples[total, labels])


@cache
def _parse(key: str) -> tuple[str, str, Labels, str]:
    """Return metric, sample, labels and help of a key."""
    metric, name, labels, text = json.loads(key)
    return metric, name, tuple(sorted(labels.items())), text
