"""Start checks: settings, model, cores and memory, as a start of the service would find them. No Redis needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # comes with BentoML

from ranker.doctor.attempt import one_line
from ranker.errors import InvalidSettings, ModelError, StartupError
from ranker.features.near_cache.arena import capacity
from ranker.features.near_cache.entity_cache import split_bytes
from ranker.process.cores import usable_cores
from ranker.scoring import registry
from ranker.scoring.graph import proof
from ranker.scoring.loaded import LoadedModel
from ranker.serving import startup
from ranker.settings.environment import Settings
from ranker.settings.variables import PREFIX
from ranker.upkeep.finding import Finding, fail, ok, warn

MIB = 1 << 20
LARGE_SHARE = 0.5
"""Share of the available memory above which a cache leaves little for the workers themselves."""


def check_settings(environ: Mapping[str, str], project: Path) -> tuple[Settings | None, Finding]:
    """Read the settings as the service does."""
    try:
        settings = startup.read_settings(environ, project)
    except InvalidSettings as err:
        remedy = "Correct or unset the variables named; nothing else is checked before that."
        return None, fail("settings", "; ".join(map(one_line, err.problems)), remedy, problems=err.problems)
    given = sorted(name for name in environ if name.startswith(PREFIX))
    return settings, ok("settings", f"valid; set: {', '.join(given) or 'none, all defaults'}", set=given)


def open_model(tag: str, role: str = "model") -> tuple[LoadedModel | None, list[Finding]]:
    """Find a model, load it, and score the default rows; `role` is what the findings call it."""
    try:
        stored = registry.find_model(tag)
        model = registry.load_model(stored)
    except (StartupError, OSError) as err:
        seen, _, remedy = " ".join(str(err).split()).partition(". ")
        return None, [fail(role, one_line(seen), remedy or "Import the model again with `ranker model import`.")]
    schema = model.schema
    size = registry.size_of(stored)
    features = " + ".join(f"{len(group.features)} {name}" for name, group in schema.groups.items())
    seen = f"{stored.tag}: {features} features, fingerprint {schema.fingerprint:08x}, {size:,} bytes, loads"
    data = {"tag": str(stored.tag), "fingerprint": f"{schema.fingerprint:08x}", "bytes": size}
    found = ok(role, f"{seen}, scores {model.served_as}", **data, served=model.served_as)
    return model, [found, _default_score(model, f"{role} output"), *_row_trouble(model, f"{role} rows")]


def _row_trouble(model: LoadedModel, check: str) -> Iterator[Finding]:
    """Try what an import tries today, for a model that was imported when less was tried."""
    try:
        model.whole.refuse_batch_effects(registry.TRIAL_LIMIT_S)
    except ModelError as err:
        seen, _, remedy = str(err).partition(". ")
        yield fail(check, one_line(seen), remedy)
        return
    for doubt in proof.doubts(model.score, model.schema):
        seen, _, remedy = doubt.partition(". ")
        yield warn(check, one_line(seen), remedy)


def _default_score(model: LoadedModel, check: str) -> Finding:
    try:
        score = float(model.score(model.schema.defaults[np.newaxis])[0])
    except ModelError as err:
        return fail(check, one_line(str(err)), "Give the features defaults that the model can score.")
    if np.isfinite(score):
        return ok(check, f"finite on the default vectors ({score:g})", default_score=score)
    return warn(
        check,
        f"{score} on the default vectors, which stand in for missing ones",
        "Give the features defaults in the schema that the model can score, or set RANKER_MISSING_PRODUCT=last.",
        default_score=str(score),
    )


def check_cores(settings: Settings) -> Finding:
    """Compare the processes that would run with the cores there are."""
    cores, workers, runner = usable_cores(), settings.api_workers, int(settings.runner == "service")
    seen = (
        f"{cores} usable, for {workers} API worker(s)"
        + " and the runner" * runner
        + f" (RANKER_WORKERS={settings.workers})"
    )
    data = {"cores": cores, "workers": workers, "runner": runner}
    if workers > cores:
        remedy = "Set RANKER_WORKERS=auto, or give the container more cores; else workers wait for each other."
        return warn("cores", seen, remedy, **data)
    return ok("cores", seen, **data)


def check_memory(
    settings: Settings, models: Mapping[str, LoadedModel], cgroup: Path = Path("/sys/fs/cgroup")
) -> Finding:
    """Compare what the caches of all workers may take with what is available now.

    Args:
        settings: The settings.
        models: Those that are served, by role; each has an equal part of the memory, for rows of its widths.
        cgroup: Where the container's limit is found.
    """
    workers, available = settings.api_workers, available_bytes(cgroup)
    wanted = workers * settings.cache_mb * MIB
    data = {"cache_bytes": wanted, "available_bytes": available}
    if not wanted:
        return ok("memory", "no cache, as RANKER_CACHE_MB=0 asks", **data)
    rooms: list[str] = []
    for role, model in models.items():
        bytes_of = split_bytes(settings.variant_cache_bytes, model.schema)
        widths = {name: entity.width for name, entity in model.schema.entities.items()}
        widths["product"] = model.cached_product_width
        room = {name: capacity(width, bytes_of[name]) for name, width in widths.items()}
        users, products = room.pop("user", 0), room.pop("product")
        owner, prefix = ("", "") if role == "model" else (f" of the {role}", f"{role}_")
        in_groups = "".join(f", {rows:,} of {name}" for name, rows in room.items())
        rooms.append(f"{products:,} products and {users:,} users{in_groups}{owner}")
        data |= {f"{prefix}room_{name}": rows for name, rows in room.items()}
        data |= {f"{prefix}room_products": products, f"{prefix}room_users": users}
    seen = (
        f"the cache may take {workers} x {settings.cache_mb} MiB of {available // MIB:,} MiB available; room in each "
        f"for {', '.join(rooms)}"
    )
    if wanted > available:
        return fail(
            "memory", seen, "Lower RANKER_CACHE_MB or RANKER_WORKERS, or give the container more memory.", **data
        )
    if wanted > LARGE_SHARE * available:
        remedy = "Lower RANKER_CACHE_MB, for the workers and the model need memory besides."
        return warn("memory", seen, remedy, **data)
    return ok("memory", seen, **data)


def available_bytes(cgroup: Path) -> int:
    """Return the memory that could be taken now: of the machine, within the container's limit (cgroup v2 or v1).

    Pages of files that are not in use count as available, as Kubernetes counts them.
    """
    available = int(psutil.virtual_memory().available)
    for folder, limit, used, idle in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            taken = int((folder / used).read_text()) - int(stat[idle])
            available = min(available, int((folder / limit).read_text()) - taken)
        except (OSError, ValueError, KeyError):  # no such file, or "max"
            continue
    return max(0, available)
