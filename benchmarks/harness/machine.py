"""Record of machine and software: what a result was measured on and with. No host names, no paths."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import psutil
from redis import Redis

from benchmarks.harness.load import find_wrk
from benchmarks.harness.surroundings import PROJECT

PACKAGES = (
    "bentoml", "fastapi", "hiredis", "httptools", "litserve", "numpy", "onnxruntime", "orjson", "pydantic", "redis",
    "starlette", "uvicorn", "uvloop",
)  # fmt: skip


def machine() -> dict[str, str | int | float]:
    """Describe this machine."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions(redis_url: str) -> dict[str, str]:
    """Return the versions of what takes part."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    with Redis.from_url(redis_url) as client:
        info = client.info("server")
    found[str(info.get("server_name", "redis"))] = str(info.get("valkey_version") or info["redis_version"])
    version = subprocess.run([find_wrk(), "-v"], capture_output=True, text=True, check=False)
    found["wrk"] = (version.stdout + version.stderr).split()[1]
    return found


def commit() -> str:
    """Return the commit that was measured, marked when what is served has changed since."""
    changed = _git("status", "--short", "service.py", "ranker")
    return (_git("rev-parse", "HEAD") or "unknown") + ("-changed" if changed else "")


def load_average() -> float:
    """Return the machine's load average of the last minute: others' work, when taken before the start."""
    return round(os.getloadavg()[0], 2)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
